"""Browsing a data set: which samples, what is in them, what they look like; for a page and for a sheet of pictures."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memorysam.data.dataset import Source
from memorysam.data.raw import Raw
from memorysam.errors import DataError, did_you_mean, listing
from memorysam.evaluation import pictures
from memorysam.spec import IGNORE

Picture = pictures.Picture


@dataclass(frozen=True)
class Filter:
    """Which samples are wanted."""

    tags: tuple[tuple[str, str], ...] = ()
    """Names and values; all must hold."""
    class_name: str | None = None
    """A class that must be in the label."""


class Browser:
    """One split of a data set, looked at sample by sample. Labels that were read are remembered as counts.

    Args:
        source: the split.
        names: modalities that are shown.
    """

    def __init__(self, source: Source, names: tuple[str, ...]) -> None:
        self.source, self.names = source, names
        self._counts: dict[int, NDArray[np.int64]] = {}

    def __len__(self) -> int:
        return len(self.source.ids)

    def read(self, index: int) -> Raw:
        """Read a sample.

        Raises:
            DataError: a file that cannot be read.
        """
        raw = self.source.read(index, self.names)
        self._counts[index] = self._count(raw)
        return raw

    def index_of(self, id_: str) -> int:
        """Return where a sample is.

        Raises:
            DataError: there is none of that name.
        """
        ids = list(self.source.ids)
        if id_ in ids:
            return ids.index(id_)
        if len(close := [i for i, name in enumerate(ids) if id_ and id_ in name]) == 1:
            return close[0]
        raise DataError(f"there is no sample {id_!r}", fix=did_you_mean(id_, ids) if len(ids) < 2000 else None)

    def tag_values(self) -> dict[str, list[str]]:
        """Return the values of each tag, without tags that are different for every sample."""
        values: dict[str, set[str]] = {}
        for index in range(len(self)):
            for key, value in self.source.tags(index).items():
                values.setdefault(key, set()).add(value)
        return {key: sorted(found) for key, found in sorted(values.items()) if 1 < len(found) <= max(2, len(self) // 2)}

    def following(self, index: int, wanted: Filter, step: int = 1) -> int | None:
        """Return the next sample that is wanted, from `index` on, in the direction of `step`; None if there is none.

        Raises:
            DataError: an unknown class, or a label that cannot be read.
        """
        while 0 <= index < len(self):
            if self.fits(index, wanted):
                return index
            index += step
        return None

    def fits(self, index: int, wanted: Filter) -> bool:
        """Say whether a sample is wanted; its label is read only where that decides."""
        tags = self.source.tags(index)
        if any(tags.get(name) != value for name, value in wanted.tags):
            return False
        if wanted.class_name is None:
            return True
        names = self.source.classes.names
        if wanted.class_name not in names:
            raise DataError(f"there is no class {wanted.class_name!r}", expected=listing(names, 40))
        if index not in self._counts:
            self._counts[index] = self._count(self.source.read(index, ()))
        return bool(self._counts[index][names.index(wanted.class_name)] > 0)

    def matching(self, wanted: Filter, start: int = 0) -> Iterator[int]:
        """Yield all samples that are wanted, in order."""
        index = self.following(start, wanted)
        while index is not None:
            yield index
            index = self.following(index + 1, wanted)

    def shares(self, raw: Raw) -> list[tuple[str, tuple[int, int, int], float]]:
        """Return name, colour and share of each class in the label, largest first; pixels without a class last."""
        counts = self._count(raw)
        total = max(1, int(counts.sum()))
        classes = self.source.classes
        order = [int(i) for i in np.argsort(-counts[: len(classes)], kind="stable") if counts[i] > 0]
        found = [(classes.names[i], classes.colors[i], float(counts[i] / total)) for i in order]
        return found + ([("no class", (0, 0, 0), float(counts[-1] / total))] if counts[-1] else [])

    def pictures_of(self, raw: Raw, strength: float = 0.55, base: str | None = None) -> dict[str, Picture]:
        """Return a picture of each modality, of the label, and of the label over `base`, the first sensor."""
        modalities = {m.name: m for m in self.source.modalities}
        shown = {name: pictures.as_picture(raw.images[name], modalities[name]) for name in self.names}
        if raw.label is None:
            return shown
        sensors = [name for name in self.names if modalities[name].role == "sensor"]
        under = shown[base if base in shown else (sensors or list(self.names))[0]]
        classes = self.source.classes
        colours = pictures.overlay(under, raw.label, classes, strength)
        known = (raw.label != IGNORE)[:, :, None]
        over = np.where(known, colours, under).astype(np.uint8)
        return {**shown, "label": pictures.colourise(raw.label, classes), "overlay": over}

    def sheet(self, indices: Mapping[int, object] | list[int], height: int = 128) -> Picture:
        """Return the pictures of several samples, a row each."""
        rows = []
        titles: list[str] = []
        for index in indices:
            raw = self.read(index)
            shown = self.pictures_of(raw)
            titles = list(shown)
            tags = ", ".join(v for k, v in raw.tags.items() if k in self._told)
            rows.append((f"{raw.id}{'  ' + tags if tags else ''}", list(shown.values())))
        return pictures.sheet(rows, titles, height)

    @property
    def _told(self) -> set[str]:
        return set(self.tag_values())

    def _count(self, raw: Raw) -> NDArray[np.int64]:
        """Count the pixels of each class, and last those without one: `[C + 1]`."""
        classes = len(self.source.classes)
        if raw.label is None:
            return np.zeros(classes + 1, np.int64)
        counts = np.bincount(raw.label.ravel(), minlength=IGNORE + 1)
        return np.append(counts[:classes], counts[classes:].sum())
