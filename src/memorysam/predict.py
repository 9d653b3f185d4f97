"""One path in: a checkpoint and files, or arrays, to label maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from memorysam.config import EvaluateSettings, ModelSettings, build
from memorysam.data.dataset import Image, normalise
from memorysam.data.readers import EXTENSIONS, conform, read_image
from memorysam.data.transforms import resize_image
from memorysam.errors import DataError, InputError, SettingsError, did_you_mean, listing
from memorysam.evaluation import pictures
from memorysam.evaluation.inference import probabilities
from memorysam.files import write_atomically
from memorysam.models import weights
from memorysam.models.base import Segmentation, SegmentationModel
from memorysam.spec import Classes, Colour, Modality, Size, Task, as_classes

Input = str | Path | NDArray[Any]


@dataclass(frozen=True)
class Prediction:
    """What the model says of one scene, at the size of its images."""

    labels: NDArray[np.uint8]  # [H, W], class ids
    probabilities: NDArray[np.float32]  # [C, H, W]
    classes: Classes
    picture: pictures.Picture
    """The first modality, as people see it."""

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
            images: any non-empty subset of the model's modalities: paths, or arrays `[H, W]` or `[H, W, K]` of the
                values that a file would hold (colour in RGB order). All of one size.
            settings: whole image or windows, scales, flips.

        Raises:
            InputError, DataError: an unknown modality, a file that cannot be read, or images of different sizes.
        """
        settings = settings or EvaluateSettings()
        raw = self._read(images)
        first = next(iter(raw.values()))
        size: Size = (first.shape[0], first.shape[1])
        device = next(self.model.parameters()).device
        tensors = {}
        for modality in self.model.task.modalities:
            if modality.name in raw:
                image = raw[modality.name]
                if settings.method == "resize":
                    image = resize_image(image, self.model.task.image_size, modality.interpolation)
                tensors[modality.name] = normalise(image, modality).unsqueeze(0).to(device)
        was_training = self.model.training
        self.model.eval()
        found = probabilities(self.model, tensors, size, settings)[0]
        self.model.train(was_training)
        return Prediction(
            found.argmax(dim=0).to(torch.uint8).cpu().numpy(),
            found.cpu().numpy(),
            self.model.task.classes,
            pictures.as_picture(first, next(m for m in self.model.task.modalities if m.name == next(iter(raw)))),
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


def load(
    path: str | Path,
    *,
    modalities: Sequence[str | Mapping[str, Any] | Modality] | None = None,
    classes: Sequence[str] | Mapping[str, Colour] | Classes | None = None,
    image_size: int | Size | None = None,
    device: str = "auto",
    verbose: bool = True,
    **settings: Any,
) -> Predictor:
    """Load a model, ready to predict.

    Args:
        path: a memorysam checkpoint or run folder; or a SAM2 or MemorySAM-release file, a folder or a Hub id.
        modalities: names, or mappings of `Modality` fields; needed only for files that do not carry them.
        classes: names, or names with colours; likewise.
        image_size: what the network sees; one number for a square, or height and width; likewise.
        device: "auto" takes a GPU where there is one.
        verbose: print what was loaded.
        settings: fields of `ModelSettings`, for files that do not carry them, such as `lora_rank=8`.

    Raises:
        WeightsError, SettingsError: see `models.weights.load`.
    """
    chosen_device = _device(device)
    file = weights.locate(path)
    carried = weights.carried_task(file)
    if carried is None and (modalities is None or classes is None):
        task = None
    else:
        task = _task(carried, modalities, classes, image_size)
    chosen = build(ModelSettings, settings, "load(...)") if settings or carried is None else None
    model, report = weights.load(file, task, chosen)
    if verbose:
        print(report)  # noqa: T201
    return Predictor(model.to(chosen_device).eval())


def _device(name: str) -> torch.device:
    """Return the device of that name.

    Raises:
        SettingsError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(
            f"the device {name!r} cannot be used here",
            where="device",
            expected="auto, cpu, or cuda where there is a GPU and a PyTorch built for it",
            fix=str(error).splitlines()[0],
        ) from None
    return device


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
    return conform(array, modality, Path("array"))


def _is_array(value: Input) -> bool:
    return not isinstance(value, (str, Path))


def _task(
    carried: Task | None,
    modalities: Sequence[str | Mapping[str, Any] | Modality] | None,
    classes: Sequence[str] | Mapping[str, Colour] | Classes | None,
    image_size: int | Size | None,
) -> Task:
    """Join what a file carries with what was given; what was given wins, and `weights.load` checks that it fits."""
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    known = {m.name: m for m in carried.modalities} if carried else {}
    values: dict[str, Any] = {
        "modalities": [known.get(m, m) if isinstance(m, str) else m for m in modalities]
        if modalities
        else list(known.values()),
        "classes": carried.classes if classes is None and carried else as_classes(classes or ()),
        "image_size": size or (carried.image_size if carried else (1024, 1024)),
    }
    return build(Task, values, "load(...)")
