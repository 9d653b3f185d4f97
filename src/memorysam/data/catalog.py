"""From a name or a path to a data set."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from memorysam.config import DataSettings, packaged
from memorysam.data.dataset import Source
from memorysam.data.folders import FolderDataset
from memorysam.data.scenes import ScenesSource
from memorysam.errors import DataError, did_you_mean, listing
from memorysam.spec import Classes, Modality, Size, Task, select

SCENES = "scenes"


class DataSet(Protocol):
    """All splits of a data set."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """All that it has."""

    @property
    def usual(self) -> tuple[str, ...]:
        """Names of those that are taken where none are named."""

    @property
    def classes(self) -> Classes:
        """In the order of their ids."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of its parts."""

    def source(self, split: str, modalities: Sequence[str] | None = None, *, ignore_invalid: bool = False) -> Source:
        """Return one split, for the named modalities.

        Args:
            split: its name.
            modalities: names; the usual ones for None.
            ignore_invalid: whether pixels that the data set calls invalid lose their label.

        Raises:
            DataError: an unknown split or modality, or files that are missing.
        """


@dataclass(frozen=True)
class Scenes:
    """The procedural world, rendered as it is read; nothing lies on the disk.

    Args:
        counts: number of train, val and test scenes.
        size: height and width of the images.
        seed: of the world.
    """

    counts: tuple[int, int, int]
    size: Size
    seed: int = 0
    name: str = SCENES
    splits: tuple[str, ...] = ("train", "val", "test")

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The four sensors."""
        return ScenesSource("train", 1, self.size).modalities

    @property
    def usual(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(modality.name for modality in self.modalities)

    @property
    def classes(self) -> Classes:
        """What is on the streets."""
        return ScenesSource("train", 1, self.size).classes

    def source(
        self,
        split: str,
        modalities: Sequence[str] | None = None,  # noqa: ARG002  sensors are rendered as they are read
        *,
        ignore_invalid: bool = False,  # noqa: ARG002  everything is valid
    ) -> Source:
        """Return one split."""
        if split not in self.splits:
            raise DataError(f"{self.name} has no split {split!r}", fix=did_you_mean(split, self.splits))
        return ScenesSource(split, self.counts[self.splits.index(split)], self.size, self.seed)


def resolve(settings: DataSettings, beside: Path | None = None) -> DataSettings:
    """Make paths absolute, so that a checkpoint still knows its data when it is used from elsewhere.

    Args:
        settings: `dataset` is 'scenes' or the path of a dataset.yaml.
        beside: folder against which a relative path is tried first, that of the file it stands in.

    Raises:
        DataError: there is no such dataset.yaml.
    """
    root = None if settings.root is None else settings.root.absolute()
    if isinstance(settings.cache, Path):
        settings = settings.model_copy(update={"cache": settings.cache.absolute()})
    if settings.dataset == SCENES:
        return settings.model_copy(update={"root": root})
    found = find_yaml(settings.dataset, beside)
    known = found == packaged("datasets").get(settings.dataset)
    return settings.model_copy(update={"dataset": settings.dataset if known else str(found.absolute()), "root": root})


def open_dataset(settings: DataSettings, size: Size) -> DataSet:
    """Open the data set that `settings` name; scenes are rendered at `size`.

    Raises:
        DataError, SettingsError: nothing there, or not usable.
    """
    if settings.dataset == SCENES:
        return Scenes(settings.scenes, size, settings.scenes_seed)
    found = FolderDataset.load(find_yaml(settings.dataset), settings.root, settings.cache)
    return replace(found, incomplete=settings.on_bad == "skip")


def agree(task: Task, dataset: DataSet, names: Sequence[str]) -> None:
    """Raise if a model and a data set do not speak of the same classes and sensors.

    Raises:
        DataError: says what either side has.
    """
    if task.classes.names != dataset.classes.names:
        raise DataError(
            f"the model and the data set {dataset.name!r} have different classes",
            where=f"model, {len(task.classes)}: {listing(task.classes.names, 30)}",
            expected=f"data, {len(dataset.classes)}: {listing(dataset.classes.names, 30)}",
            fix="use the data set that the model was trained for, or train a model for this one",
        )
    theirs = {m.name: m for m in dataset.modalities}
    for ours in select(task.modalities, names):
        if ours.name not in theirs:
            raise DataError(f"the data set {dataset.name!r} has no modality {ours.name!r}", expected=listing(theirs))
        for key in ("role", "channels", "low", "high"):
            mine, other = getattr(ours, key), getattr(theirs[ours.name], key)
            if mine != other:
                raise DataError(f"modality {ours.name!r}: {key} is {mine} in the model and {other} in {dataset.name!r}")


def find_yaml(name: str, beside: Path | None = None) -> Path:
    """Return the path of a dataset.yaml, or say where it was looked for.

    Args:
        name: of a file, of a folder that holds a dataset.yaml, or of a data set that comes with the package.
        beside: folder that is tried first.

    Raises:
        DataError: it is in none of the places.
    """
    places = [folder / name for folder in (beside, Path()) if folder is not None]
    known = packaged("datasets")
    if name in known:
        places.append(known[name])
    for place in places:
        if place.is_dir() and (place / "dataset.yaml").is_file():
            return place / "dataset.yaml"
        if place.is_file():
            return place
    raise DataError(
        f"there is no data set {name!r}",
        where=", ".join(str(place) for place in places),
        expected=f"a dataset.yaml, a folder that holds one, {SCENES!r}, or one of: {', '.join(known)}",
        fix=did_you_mean(name, [*known, SCENES]),
    )
