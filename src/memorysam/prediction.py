"""From files or arrays to what a model takes, and from its probabilities to files; nothing here needs PyTorch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from memorysam.config import EvaluateSettings
from memorysam.data.raw import Image
from memorysam.data.readers import EXTENSIONS, as_stored, conform, read_image
from memorysam.data.split_index import require_unicode
from memorysam.data.transforms import resize_image
from memorysam.data.values import normalised
from memorysam.errors import DataError, InputError, did_you_mean, listing
from memorysam.evaluation import pictures
from memorysam.files import write_atomically, write_bytes
from memorysam.spec import Classes, Modality, Size, Task

Input = str | Path | NDArray[Any]


@dataclass(frozen=True)
class Prediction:
    """What the model says of one scene, at the size of its images."""

    labels: NDArray[np.uint8]  # [H, W], class ids
    probabilities: NDArray[np.float32]  # [C, H, W]
    classes: Classes
    picture: pictures.Picture
    """The first sensor, as people see it."""

    @classmethod
    def of(
        cls, labels: NDArray[np.uint8], probabilities: NDArray[np.float32], raw: Mapping[str, Image], task: Task
    ) -> "Prediction":
        """Return what was found of stored images: class ids `[H, W]` and probabilities `[C, H, W]`."""
        first = next(m for m in task.modalities if m.name in raw and m.role == "sensor")
        return cls(labels, probabilities, task.classes, pictures.as_picture(raw[first.name], first))

    @property
    def confidence(self) -> NDArray[np.float32]:
        """Probability of the chosen class `[H, W]`."""
        highest: NDArray[np.float32] = self.probabilities.max(axis=0)
        return highest

    @property
    def overlay(self) -> pictures.Picture:
        """The classes' colours over the picture."""
        return pictures.overlay(self.picture, self.labels, self.classes)

    def shares(self) -> dict[str, float]:
        """Return each class's share of the image, the largest first."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.classes)) / self.labels.size
        order = np.argsort(-counts, kind="stable")
        return {self.classes.names[i]: float(counts[i]) for i in order if counts[i] > 0}

    def save(self, folder: str | Path, stem: str, probabilities: bool = False) -> dict[str, Path]:
        """Write `<stem>_labels.png` (class ids), `<stem>_overlay.png`, and on request `<stem>_probabilities.npy`."""
        folder = Path(folder)
        files = {"labels": folder / f"{stem}_labels.png", "overlay": folder / f"{stem}_overlay.png"}
        for kind, content in (("labels", self.labels), ("overlay", self.overlay)):
            write_bytes(files[kind], pictures.encode_png(content))
        if probabilities:
            files["probabilities"] = folder / f"{stem}_probabilities.npy"
            write_atomically(files["probabilities"], self._save_probabilities)
        return files

    def _save_probabilities(self, path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, self.probabilities.astype(np.float16))


class Predicts(Protocol):
    """Whatever segments one scene: a model, or an exported file."""

    def predict(self, images: Mapping[str, Input], settings: EvaluateSettings | None = None) -> Prediction:
        """Segment one scene."""


def read_scene(images: Mapping[str, Input], task: Task) -> dict[str, Image]:
    """Read what are paths; return all in the task's order, with its channels: `[H, W, K]` each.

    Args:
        images: modality -> path, or array `[H, W]` or `[H, W, K]` of stored values.
        task: says which modalities there are.

    Raises:
        InputError, DataError: an unknown modality, a file that cannot be read, or images of different sizes.
    """
    known = {m.name: m for m in task.modalities}
    for name in images:
        if name not in known:
            raise InputError(f"this model knows no modality {name!r}", fix=did_you_mean(name, known))
    if not images:
        raise InputError("no image was given", expected=f"one or more of: {listing(known)}")
    raw = {name: _as_image(images[name], modality) for name, modality in known.items() if name in images}
    sizes = {name: f"{image.shape[0]}x{image.shape[1]}" for name, image in raw.items()}
    if len(set(sizes.values())) > 1:
        where = "; ".join(f"{name}: {images[name] if not _is_array(images[name]) else 'array'}" for name in raw)
        raise DataError(
            "images of different sizes: " + ", ".join(f"{name} {size}" for name, size in sizes.items()),
            where=where,
            expected="registered images of one size",
        )
    return raw


def prepared(raw: Mapping[str, Image], task: Task, settings: EvaluateSettings) -> dict[str, NDArray[np.float32]]:
    """Return normalised images `[1, K, H, W]` in the task's order, at the size at which `settings` show them."""
    images = {}
    for modality in task.modalities:
        if modality.name in raw:
            image = raw[modality.name]
            if settings.method in ("resize", "centre"):  # nothing of an image is left out
                image = resize_image(image, task.image_size, modality.interpolation)
            images[modality.name] = normalised(image, modality)[None]
    return images


def size_of(raw: Mapping[str, Image]) -> Size:
    """Return the height and width of a scene."""
    height, width = next(iter(raw.values())).shape[:2]
    return height, width


def predict_files(
    predictor: Predicts,
    inputs: Mapping[str, Path],
    out: Path,
    settings: EvaluateSettings | None = None,
    probabilities: bool = False,
    skip: Callable[[str, DataError], None] | None = None,
) -> list[dict[str, Any]]:
    """Segment files, or folders whose files are matched by name; write the results into `out`.

    Args:
        predictor: a model, or an exported file.
        inputs: modality -> file or folder.
        out: folder for what is written.
        settings: whole image or windows, scales, flips.
        probabilities: whether they are written too.
        skip: told of each scene that cannot be read, which is then left out; None raises instead.

    Returns:
        For each scene its name, its size, the files written and the share of each class.

    Raises:
        DataError: a scene that cannot be read, or none that can.
    """
    results = []
    scenes = match(inputs, skip)
    for stem, files in scenes.items():
        try:
            prediction = predictor.predict(files, settings)
        except DataError as error:
            if skip is None:
                raise
            skip(stem, error)
            last = error
            continue
        written = prediction.save(out, stem, probabilities)
        results.append(
            {
                "name": stem,
                "size": list(prediction.labels.shape),
                "files": {kind: str(path) for kind, path in written.items()},
                "shares": prediction.shares(),
            }
        )
    if not results:
        raise DataError(f"none of {len(scenes)} scenes can be read; of the last: {last.what}", where=last.where)
    return results


def match(
    inputs: Mapping[str, Path], skip: Callable[[str, DataError], None] | None = None
) -> dict[str, dict[str, Path]]:
    """Group files by scene: single files are one scene; in folders, files of one stem are.

    Args:
        inputs: modality -> file or folder.
        skip: told of each file without its partner, whose scene is then left out; None raises instead.

    Raises:
        DataError: something missing, a mixture of files and folders, or a file without its partner.
    """
    for path in inputs.values():
        if not path.exists():
            raise DataError("there is no such file or folder", where=path)
    folders = [path.is_dir() for path in inputs.values()]
    if not any(folders):
        return {next(iter(inputs.values())).stem: dict(inputs)}
    if not all(folders):
        raise DataError(
            "files and folders are mixed", where=listing(inputs.values()), expected="either of them for all"
        )
    found = {
        name: {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in EXTENSIONS}
        for name, folder in inputs.items()
    }
    stems = sorted({stem for files in found.values() for stem in files})
    missing = {
        stem: [f"{inputs[name] / stem}.*" for name in found if stem not in found[name]]
        for stem in stems
        if not all(stem in files for files in found.values())
    }
    if missing:
        if skip is None or len(missing) == len(stems):
            absent = [path for paths in missing.values() for path in paths]
            raise DataError(f"{len(absent)} files have no partner of the same name", where=listing(absent))
        for stem, paths in missing.items():
            skip(stem, DataError("there is no such file", where=listing(paths)))
    stems = [require_unicode(stem, next(iter(inputs.values()))) for stem in stems if stem not in missing]
    if not stems:
        raise DataError(
            "no images here", where=listing(inputs.values()), expected=f"files ending in {listing(EXTENSIONS)}"
        )
    return {stem: {name: files[stem] for name, files in found.items()} for stem in stems}


def _as_image(value: Input, modality: Modality) -> Image:
    if isinstance(value, (str, Path)):
        return conform(read_image(Path(value)), modality, Path(value))
    array = np.asarray(value)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.dtype.kind not in "uif":
        raise InputError(
            f"{modality.name!r} is an array of shape {list(array.shape)} and type {array.dtype}",
            expected="[height, width] or [height, width, channels] of numbers",
        )
    return conform(as_stored(array, Path("array")), modality, Path("array"))


def _is_array(value: Input) -> bool:
    return not isinstance(value, (str, Path))
