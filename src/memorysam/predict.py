"""One path in: a checkpoint and files, or arrays, to label maps."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from memorysam.config import EvaluateSettings
from memorysam.data.dataset import Image, normalise
from memorysam.data.readers import EXTENSIONS, as_stored, conform, read_image
from memorysam.data.transforms import resize_image
from memorysam.errors import DataError, InputError, did_you_mean, listing
from memorysam.evaluation import pictures
from memorysam.evaluation.inference import probabilities
from memorysam.files import write_atomically
from memorysam.models.base import Segmentation, SegmentationModel
from memorysam.spec import Classes, Modality, Size

Input = str | Path | NDArray[Any]


@dataclass(frozen=True)
class Prediction:
    """What the model says of one scene, at the size of its images."""

    labels: NDArray[np.uint8]  # [H, W], class ids
    probabilities: NDArray[np.float32]  # [C, H, W]
    classes: Classes
    picture: pictures.Picture
    """The first sensor, as people see it."""

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

    def save(self, folder: Path, stem: str, probabilities: bool = False) -> dict[str, Path]:
        """Write `<stem>_labels.png` (class ids), `<stem>_overlay.png`, and on request `<stem>_probabilities.npy`."""
        files = {"labels": folder / f"{stem}_labels.png", "overlay": folder / f"{stem}_overlay.png"}
        for kind, content in (("labels", self.labels), ("overlay", self.overlay)):
            data = pictures.encode_png(content)
            write_atomically(files[kind], lambda path, data=data: path.write_bytes(data))  # type: ignore[misc]
        if probabilities:
            files["probabilities"] = folder / f"{stem}_probabilities.npy"
            write_atomically(files["probabilities"], self._save_probabilities)
        return files

    def _save_probabilities(self, path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, self.probabilities.astype(np.float16))


class Predictor(nn.Module):
    """A model together with what turns files and arrays into its input.

    It is called like the model: `{modality: [B, K, H, W]}` in, `Segmentation` out. Whatever it does not have itself,
    it has from the model.

    Args:
        model: any segmentation model.
    """

    def __init__(self, model: SegmentationModel) -> None:
        super().__init__()
        self.model = model

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("model"), name)

    def forward(self, images: Mapping[str, Tensor]) -> Segmentation:
        """Segment normalised tensors; see the model."""
        output: Segmentation = self.model(images)
        return output

    def predict(self, images: Mapping[str, Input], settings: EvaluateSettings | None = None) -> Prediction:
        """Segment one scene.

        Args:
            images: any non-empty subset of the model's sensors, and the map of regions of a model that has one: paths,
                or arrays `[H, W]` or `[H, W, K]` of the values that a file would hold (colour in RGB order). All of
                one size.
            settings: whole image or windows, scales, flips.

        Raises:
            InputError, DataError: an unknown modality, a file that cannot be read, or images of different sizes.
        """
        settings = settings or EvaluateSettings()
        raw = self._read(images)
        height, width = next(iter(raw.values())).shape[:2]
        size: Size = (height, width)
        device = next(self.model.parameters()).device
        tensors = {}
        for modality in self.model.task.modalities:
            if modality.name in raw:
                image = raw[modality.name]
                if settings.method in ("resize", "centre"):  # nothing of an image is left out
                    image = resize_image(image, self.model.task.image_size, modality.interpolation)
                tensors[modality.name] = normalise(image, modality).unsqueeze(0).to(device)
        was_training = self.model.training
        self.model.eval()
        try:
            found = probabilities(self.model, tensors, size, settings)[0]
        finally:
            self.model.train(was_training)
        first = next(m for m in self.model.task.modalities if m.name in raw and m.role == "sensor")
        return Prediction(
            found.argmax(dim=0).to(torch.uint8).cpu().numpy(),
            found.cpu().numpy(),
            self.model.task.classes,
            pictures.as_picture(raw[first.name], first),
        )

    def _read(self, images: Mapping[str, Input]) -> dict[str, Image]:
        """Read what are paths; return all in the model's order, with its channels."""
        known = {m.name: m for m in self.model.task.modalities}
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


def predict_files(
    predictor: Predictor,
    inputs: Mapping[str, Path],
    out: Path,
    settings: EvaluateSettings | None = None,
    probabilities: bool = False,
) -> list[dict[str, Any]]:
    """Segment files, or folders whose files are matched by name; write the results into `out`.

    Returns:
        For each scene its name, its size, the files written and the share of each class.
    """
    results = []
    for stem, files in match(inputs).items():
        prediction = predictor.predict(files, settings)
        written = prediction.save(out, stem, probabilities)
        results.append(
            {
                "name": stem,
                "size": list(prediction.labels.shape),
                "files": {kind: str(path) for kind, path in written.items()},
                "shares": prediction.shares(),
            }
        )
    return results


def match(inputs: Mapping[str, Path]) -> dict[str, dict[str, Path]]:
    """Group files by scene: single files are one scene; in folders, files of one stem are.

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
    missing = [f"{inputs[name] / stem}.*" for stem in stems for name in found if stem not in found[name]]
    if missing:
        raise DataError(f"{len(missing)} files have no partner of the same name", where=listing(missing))
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
