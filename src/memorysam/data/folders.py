"""A user's own data: one dataset.yaml says where the files are, what they mean, and which samples make a split."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memorysam.data.dataset import Image, Raw
from memorysam.data.dataset_file import Layout, read_layout
from memorysam.data.dataset_keys import INVALID, LABEL, part_keys
from memorysam.data.readers import conform, read_image, read_label
from memorysam.data.split_index import Index, index_split
from memorysam.data.transforms import resize_image
from memorysam.errors import DataError, SettingsError, did_you_mean, listing
from memorysam.spec import IGNORE, Classes, Modality, Size, select


class FolderSource:
    """One split of a `FolderDataset`: a `Source`.

    Args:
        modalities: that can be read.
        classes: of the labels.
        index: the samples and their files, none missing.
        layout: how files are read.
        ignore_invalid: whether pixels without a valid measurement lose their label.
    """

    def __init__(
        self,
        modalities: tuple[Modality, ...],
        classes: Classes,
        index: Index,
        layout: Layout,
        ignore_invalid: bool = False,
    ) -> None:
        self.modalities = modalities
        self.classes = classes
        self.ids: Sequence[str] = index.ids
        self._index = index
        self._layout = layout
        self._ignore_invalid = ignore_invalid

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
        files, layout = self._index.files[index], self._layout
        chosen = select(self.modalities, modalities)
        images = {m.name: read_modality(files, m, layout) for m in chosen}
        label: NDArray[np.uint8] | None = None
        if layout.label is not None:
            label = layout.label.apply(read_raw_label(files, layout), files[LABEL])
        sizes: dict[str, Size] = {name: (image.shape[0], image.shape[1]) for name, image in images.items()}
        if label is not None:
            sizes[LABEL] = (label.shape[0], label.shape[1])
        require_one_size(sizes, files, layout.resized)
        size = sizes[reference_of(sizes, layout.resized)]
        if label is not None and self._ignore_invalid and layout.invalid and layout.invalid.modality in modalities:
            label[read_invalid(files, size, layout)] = IGNORE
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
    def usual(self) -> tuple[str, ...]:
        """Names of the modalities that are taken where none are named."""
        return tuple(name for name, sensor in self.layout.sensors.items() if not sensor.optional)

    def source(
        self, split: str, modalities: Sequence[str] | None = None, *, ignore_invalid: bool = False
    ) -> FolderSource:
        """Return the samples of a split; all of them have all files of the named modalities and of the label.

        Args:
            split: its name.
            modalities: names; the usual ones for None.
            ignore_invalid: whether pixels that the mask of the data set calls invalid lose their label.

        Raises:
            SettingsError: no such split or modality.
            DataError: an empty split, a wrong list, or a missing file.
        """
        chosen = select(self.modalities, modalities or self.usual)
        index = self.index(split, [m.name for m in chosen])
        if index.missing:
            counts = Counter(name for name, _ in index.missing)
            raise DataError(
                f"split {split!r} of {self.name} lacks files: {listing(f'{n} of {k}' for k, n in counts.items())}",
                where=listing((path for _, path in index.missing), 4),
                expected=f"files of every modality and the label for all {len(index.ids)} samples, named alike",
                fix="bring the files, correct the paths, or take the samples out of the split",
            )
        return FolderSource(chosen, self.classes, index, self.layout, ignore_invalid)

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
        templates = {key: layout.templates[key] for key in layout.keys(modalities)}
        return index_split(self.root, split, layout.lists[split], templates, layout.fields, layout.tags)


def read_modality(files: Mapping[str, Path], modality: Modality, layout: Layout) -> Image:
    """Read the files of a modality, cut and stacked, with the channels that it should have, as `[H, W, K]`.

    Raises:
        DataError: a file that is missing, damaged, or does not fit.
    """
    return conform(stack_modality(files, modality, layout), modality, files[modality.name])


def stack_modality(files: Mapping[str, Path], modality: Modality, layout: Layout) -> Image:
    """Read the files of a modality, cut and stacked, as they are.

    Raises:
        DataError: a file that is missing, damaged, or does not fit.
    """
    paths = [files[key] for key in part_keys(modality.name, len(layout.sensors[modality.name].paths))]
    parts = [layout.crop.apply(read_image(path), path) for path in paths]
    for part, path in zip(parts, paths, strict=True):
        if part.shape[:2] != parts[0].shape[:2] or part.dtype != parts[0].dtype:
            raise DataError(
                f"the files of {modality.name} differ: {_shape(part)} and {_shape(parts[0])}",
                where=path,
                expected=f"the size and type of {paths[0]}",
            )
    return np.ascontiguousarray(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2))


def read_raw_label(files: Mapping[str, Path], layout: Layout) -> NDArray[Any]:
    """Read the raw values of a label, cut, as `[H, W]`.

    Raises:
        DataError: a file that is missing, damaged, or does not fit.
    """
    channel = None if layout.label is None else layout.label.channel
    return layout.crop.apply(read_label(files[LABEL], channel), files[LABEL])


def read_invalid(files: Mapping[str, Path], size: Size, layout: Layout) -> NDArray[np.bool_]:
    """Return where nothing valid was measured, `[H, W]`.

    Raises:
        DataError: a mask that is damaged or of another size.
    """
    mask: NDArray[np.bool_] = layout.crop.apply(read_image(files[INVALID]), files[INVALID]).max(axis=2) > 0
    if mask.shape != size:
        raise DataError(
            f"this mask is {mask.shape[0]} x {mask.shape[1]}", where=files[INVALID], expected=f"{size[0]} x {size[1]}"
        )
    return mask


def _shape(image: Image) -> str:
    return f"{image.shape[0]} x {image.shape[1]} {image.dtype}"


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
