"""One split of a user's data: from the files of a sample, or from the cache, to its arrays."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memorysam.data.cache import Shelf
from memorysam.data.dataset import Image, Raw
from memorysam.data.dataset_file import Layout
from memorysam.data.dataset_keys import INVALID, LABEL, part_keys
from memorysam.data.readers import conform, read_image, read_label
from memorysam.data.split_index import Index
from memorysam.data.transforms import resize_image
from memorysam.errors import DataError
from memorysam.spec import IGNORE, Classes, Modality, Size, select


class FolderSource:
    """One split of a `FolderDataset`: a `Source`.

    Args:
        modalities: that can be read.
        classes: of the labels.
        index: the samples and their files, none missing.
        layout: how files are read.
        ignore_invalid: whether pixels without a valid measurement lose their label.
        shelves: decoded arrays by kind (a modality, the label, the mask), where there is a cache.
    """

    def __init__(
        self,
        modalities: tuple[Modality, ...],
        classes: Classes,
        index: Index,
        layout: Layout,
        ignore_invalid: bool = False,
        shelves: Mapping[str, Shelf] | None = None,
    ) -> None:
        self.modalities = modalities
        self.classes = classes
        self.ids: Sequence[str] = index.ids
        self._index = index
        self._layout = layout
        self._ignore_invalid = ignore_invalid
        self._shelves = shelves or {}

    def files(self, index: int) -> dict[str, Path]:
        """Return the files of a sample: modality, or `label` -> path."""
        return dict(self._index.files[index])

    def tags(self, index: int) -> dict[str, str]:
        """Return the fields of a sample's path and what the dataset file derives from them."""
        return dict(self._index.tags[index])

    def read(self, index: int, modalities: Sequence[str]) -> Raw:
        """Read the named modalities of a sample, and its label, all of one size; without names, the label alone.

        Raises:
            SettingsError: no such modality in this source.
            DataError: a file that is missing, damaged, of another size, or holds an unknown value; the file is named.
        """
        files, layout = self._index.files[index], self._layout
        chosen = select(self.modalities, modalities) if modalities else ()
        images = {m.name: self.array(index, m.name) for m in chosen}
        label: NDArray[np.uint8] | None = None if layout.label is None else self.array(index, LABEL)
        sizes: dict[str, Size] = {name: (image.shape[0], image.shape[1]) for name, image in images.items()}
        if label is not None:
            sizes[LABEL] = (label.shape[0], label.shape[1])
        require_one_size(sizes, files, layout.resized)
        size = sizes[reference_of(sizes, layout.resized)]
        if label is not None and self._ignore_invalid and layout.invalid and layout.invalid.modality in modalities:
            label = np.where(require_size(self.array(index, INVALID), size, files[INVALID]), np.uint8(IGNORE), label)
        resized: dict[str, Image] = {m.name: resize_image(images[m.name], size, m.interpolation) for m in chosen}
        return Raw(resized, label, self.ids[index], self.tags(index))

    def array(self, index: int, kind: str) -> NDArray[Any]:
        """Return one array of a sample, from the cache where it holds it: a modality, the label, or the mask.

        Raises:
            DataError: a file that is missing, damaged, or does not fit.
        """
        shelf = self._shelves.get(kind)
        found = None if shelf is None else shelf.get(self.ids[index], self.files_of(index, kind))
        return self.make(index, kind) if found is None else found

    def files_of(self, index: int, kind: str) -> list[Path]:
        """Return the files that an array of a sample is made of."""
        sensors = self._layout.sensors
        keys = part_keys(kind, len(sensors[kind].paths)) if kind in sensors else [kind]
        return [self._index.files[index][key] for key in keys]

    def make(self, index: int, kind: str) -> NDArray[Any]:
        """Read and decode one array of a sample.

        Raises:
            DataError: a file that is missing, damaged, or does not fit.
        """
        files, layout = self._index.files[index], self._layout
        if kind == INVALID:
            return read_invalid(files, layout)
        if kind == LABEL and layout.label is not None:
            return layout.label.apply(read_raw_label(files, layout), files[LABEL])
        return read_modality(files, next(m for m in self.modalities if m.name == kind), layout)

    def kinds(self) -> list[str]:
        """Return what there is of each sample: its modalities, its label, its mask."""
        return [m.name for m in self.modalities] + [key for key in (LABEL, INVALID) if key in self._index.files[0]]

    @property
    def cached(self) -> int:
        """Number of samples of which the cache holds every array, as far as can be said without looking."""
        if not set(self.kinds()) <= set(self._shelves):
            return 0
        return sum(all(id_ in self._shelves[kind].entries for kind in self.kinds()) for id_ in self.ids)


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


def read_invalid(files: Mapping[str, Path], layout: Layout) -> NDArray[np.bool_]:
    """Return where nothing valid was measured, `[H, W]`.

    Raises:
        DataError: a mask that is missing or damaged.
    """
    mask: NDArray[np.bool_] = layout.crop.apply(read_image(files[INVALID]), files[INVALID]).max(axis=2) > 0
    return mask


def require_size(mask: NDArray[Any], size: Size, path: Path) -> NDArray[np.bool_]:
    """Return a mask after checking its size.

    Raises:
        DataError: another size.
    """
    if mask.shape != size:
        raise DataError(
            f"this mask is {mask.shape[0]} x {mask.shape[1]}", where=path, expected=f"{size[0]} x {size[1]}"
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
