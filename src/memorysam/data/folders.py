"""A user's own data: one dataset.yaml says where the files are, what they mean, and which samples make a split."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memorysam.data.dataset import Image, Raw
from memorysam.data.dataset_file import LABEL, LabelMap, Layout, read_layout
from memorysam.data.readers import conform, read_image, read_label
from memorysam.data.split_index import Index, index_split
from memorysam.data.transforms import resize_image
from memorysam.errors import DataError, SettingsError, did_you_mean, listing
from memorysam.spec import Classes, Modality, Size, select


class FolderSource:
    """One split of a `FolderDataset`: a `Source`.

    Args:
        modalities: that can be read.
        classes: of the labels.
        index: the samples and their files, none missing.
        label: how raw label values become class ids; None for data without labels.
        resized: modalities whose files may have another size than the rest.
    """

    def __init__(
        self,
        modalities: tuple[Modality, ...],
        classes: Classes,
        index: Index,
        label: LabelMap | None,
        resized: frozenset[str],
    ) -> None:
        self.modalities = modalities
        self.classes = classes
        self.ids: Sequence[str] = index.ids
        self._index = index
        self._label = label
        self._resized = resized

    def files(self, index: int) -> dict[str, Path]:
        """Return the files of a sample: modality, or `label` -> path."""
        return dict(self._index.files[index])

    def tags(self, index: int) -> dict[str, str]:
        """Return the fields of a sample's path and what the dataset file derives from them."""
        return dict(self._index.tags[index])

    def read(self, index: int, modalities: Sequence[str]) -> Raw:
        """Read the named modalities of a sample, and its label, all of one size.

        Raises:
            SettingsError: no such modality in this source.
            DataError: a file that is missing, damaged, of another size, or holds an unknown value; the file is named.
        """
        files = self._index.files[index]
        chosen = select(self.modalities, modalities)
        images = {m.name: conform(read_image(files[m.name]), m, files[m.name]) for m in chosen}
        label: NDArray[np.uint8] | None = None
        if self._label is not None:
            label = self._label.apply(read_label(files[LABEL], self._label.channel), files[LABEL])
        sizes: dict[str, Size] = {name: (image.shape[0], image.shape[1]) for name, image in images.items()}
        if label is not None:
            sizes[LABEL] = (label.shape[0], label.shape[1])
        require_one_size(sizes, files, self._resized)
        size = sizes[reference_of(sizes, self._resized)]
        resized: dict[str, Image] = {m.name: resize_image(images[m.name], size, m.interpolation) for m in chosen}
        return Raw(resized, label, self.ids[index], self.tags(index))


@dataclass(frozen=True)
class FolderDataset:
    """What a dataset.yaml says. Which files there are is looked up when a split is asked for."""

    layout: Layout
    root: Path
    """Folder of the data."""
    modalities: tuple[Modality, ...]

    @classmethod
    def load(cls, path: Path, root: Path | None = None) -> "FolderDataset":
        """Read a dataset file.

        Args:
            path: of the dataset.yaml.
            root: folder of the data; overrides the one in the file, which is relative to the file.

        Raises:
            SettingsError: what the file says is wrong or contradicts itself.
            DataError: there is no folder at the root.
        """
        layout = read_layout(path)
        keys = set(Modality.model_fields)
        modalities = tuple(Modality(**sensor.model_dump(include=keys)) for sensor in layout.sensors.values())
        return cls(layout, _existing_root(path, layout.root, root), modalities)

    @property
    def name(self) -> str:
        """What it is called."""
        return self.layout.name

    @property
    def classes(self) -> Classes:
        """In the order of their ids."""
        return self.layout.classes

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self.layout.lists)

    @property
    def resized(self) -> frozenset[str]:
        """Modalities whose files may have another size than the rest."""
        return frozenset(name for name, sensor in self.layout.sensors.items() if sensor.resize)

    def source(self, split: str, modalities: Sequence[str] | None = None) -> FolderSource:
        """Return the samples of a split; all of them have all files of the named modalities and of the label.

        Raises:
            SettingsError: no such split or modality.
            DataError: an empty split, a wrong list, or a missing file.
        """
        chosen = select(self.modalities, modalities)
        index = self.index(split, [m.name for m in chosen])
        if index.missing:
            counts = Counter(name for name, _ in index.missing)
            raise DataError(
                f"split {split!r} of {self.name} lacks files: {listing(f'{n} of {k}' for k, n in counts.items())}",
                where=listing((path for _, path in index.missing), 4),
                expected=f"files of every modality and the label for all {len(index.ids)} samples, named alike",
                fix="bring the files, correct the paths, or take the samples out of the split",
            )
        return FolderSource(chosen, self.classes, index, self.layout.label, self.resized)

    def index(self, split: str, modalities: Sequence[str]) -> Index:
        """Look up the files of a split, and which are missing.

        Raises:
            SettingsError: no such split.
            DataError: an empty split, or a wrong list.
        """
        layout = self.layout
        if split not in layout.lists:
            raise SettingsError(
                f"there is no split {split!r} in {self.name}",
                expected=listing(self.splits),
                fix=did_you_mean(split, self.splits),
            )
        templates = {name: t for name, t in layout.templates.items() if name in (*modalities, LABEL)}
        return index_split(self.root, split, layout.lists[split], templates, layout.fields, layout.tags)


def reference_of(sizes: Mapping[str, Size], resized: frozenset[str]) -> str:
    """Return whose size the others must have: the label's, else that of the first image that is not resized."""
    if LABEL in sizes:
        return LABEL
    return next((name for name in sizes if name not in resized), next(iter(sizes)))


def require_one_size(sizes: Mapping[str, Size], files: Mapping[str, Path], resized: frozenset[str]) -> None:
    """Refuse a sample whose files differ in size, except for modalities that are resized.

    Raises:
        DataError: names both files and both sizes.
    """
    reference = reference_of(sizes, resized)
    height, width = sizes[reference]
    for name, size in sizes.items():
        if size != (height, width) and name not in resized:
            raise DataError(
                f"the files of a sample have different sizes: {name} is {size[0]} x {size[1]}",
                where=files[name],
                expected=f"{height} x {width} (height x width), as {files[reference]}",
                fix=f"register the sensors, or set `resize: true` for {name} if it shows just the same view",
            )


def _existing_root(path: Path, written: Path | None, given: Path | None) -> Path:
    """Return the folder of the data."""
    if given is None and written is None:
        raise SettingsError(
            "nothing says where the data are",
            where=path,
            expected="`root: ...` in this file, relative to it, or a root given beside it",
            fix="add `root` to the file, or give the folder with --root (when training: data.root)",
        )
    root = given if given is not None else path.parent / (written or "")
    if not root.is_dir():
        said = "as the root that was given" if given is not None else f"as `root: {written}` in {path} says"
        raise DataError(
            "there is no folder here",
            where=root.absolute(),
            expected=f"the folder of the data, {said}",
            fix="correct the root, or bring the data there",
        )
    return root
