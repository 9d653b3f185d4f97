"""A user's own data: one dataset.yaml says where the files are, what they mean, and which samples make a split."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from memorysam.data.cache import FOLDER, Shelf
from memorysam.data.dataset_file import Layout, read_layout
from memorysam.data.dataset_keys import INVALID, LABEL
from memorysam.data.folder_source import FolderSource
from memorysam.data.split_index import Index, index_split
from memorysam.errors import DataError, SettingsError, did_you_mean, listing
from memorysam.spec import Classes, Modality, select

Cache = Path | Literal["auto", "off"]


@dataclass(frozen=True)
class FolderDataset:
    """What a dataset.yaml says. Which files there are is looked up when a split is asked for."""

    layout: Layout
    root: Path
    """Folder of the data."""
    modalities: tuple[Modality, ...]
    cache: Path | None = None
    """Folder of decoded arrays that may be used."""
    incomplete: bool = False
    """Whether samples may lack files; they are told when they are read."""

    @classmethod
    def load(
        cls, path: Path, root: Path | None = None, cache: Path | Literal["auto", "off"] = "off"
    ) -> "FolderDataset":
        """Read a dataset file.

        Args:
            path: of the dataset.yaml.
            root: folder of the data; overrides the one in the file, which is relative to the file. Without either, it
                is the file's, if folders that it names lie there.
            cache: folder of decoded arrays, or the one in the root if there is one.

        Raises:
            SettingsError: what the file says is wrong or contradicts itself.
            DataError: there is no folder at the root.
        """
        layout = read_layout(path)
        keys = set(Modality.model_fields)
        modalities = tuple(Modality(**sensor.model_dump(include=keys)) for sensor in layout.sensors.values())
        existing = _existing_root(path, layout, root)
        folder = existing / FOLDER if cache == "auto" else None if cache == "off" else cache
        return cls(layout, existing, modalities, folder)

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
        if index.missing and not self.incomplete:
            counts = Counter(name for name, _ in index.missing)
            raise DataError(
                f"split {split!r} of {self.name} lacks files: {listing(f'{n} of {k}' for k, n in counts.items())}",
                where=listing((f"{path}{index.instead(path)}" for _, path in index.missing), 4),
                expected=f"files of every modality and the label for all {len(index.ids)} samples, named alike",
                fix="bring the files, correct the paths, or take the samples out of the split",
            )
        shelves = {} if self.cache is None or not self.cache.is_dir() else self.shelves(self.cache, split, chosen)
        return FolderSource(chosen, self.classes, index.with_expected(), self.layout, ignore_invalid, shelves)

    def shelves(self, folder: Path, split: str, modalities: Sequence[Modality]) -> dict[str, Shelf]:
        """Return the shelves of a split in a cache."""
        kinds = [*(m.name for m in modalities), LABEL, INVALID]
        return {kind: Shelf(folder, f"{split}.{kind}", self.recipe(kind)) for kind in kinds}

    def recipe(self, kind: str) -> str:
        """Return a short name of how an array is made of its files: another way, another name."""
        layout = self.layout
        sensor = layout.sensors.get(kind)
        parts = [layout.crop, sensor.model_dump_json() if sensor else (kind, layout.label, layout.invalid)]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

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


def _beside(path: Path, layout: Layout) -> bool:
    """Whether the folders that a dataset file names lie beside it."""
    first = {template.text.split("/")[0] for template in layout.templates.values()}
    return any("{" not in name and (path.parent / name).is_dir() for name in first)


def _existing_root(path: Path, layout: Layout, given: Path | None) -> Path:
    """Return the folder of the data: the one given, the one written, or that of the file where its data lie there."""
    written = layout.root
    if given is None and written is None and not _beside(path, layout):
        raise SettingsError(
            "nothing says where the data are",
            where=path,
            expected="folders beside this file, `root: ...` in it, relative to it, or a root that is given",
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
