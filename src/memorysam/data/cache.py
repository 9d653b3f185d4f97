"""Decoded samples in memory-mapped files: decoding PNG is most of the work of reading, and is the same in every epoch.

For each split and each kind of array there are two files: `<split>.<kind>.bin` holds the arrays one after the other,
`<split>.<kind>.jsonl` one line for each of them, written after its array. An interrupted run is continued behind the
last line; what lies beyond it is overwritten. A line holds a checksum, and the size and time of the files that the
array was made of: an array whose files have changed, or that has itself, is not used.
"""

import json
import math
import mmap
import os
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from memorysam.errors import DataError
from memorysam.files import make_folder, writing_to

FOLDER = ".memorysam_cache"
"""Name of the cache in the folder of the data."""

_FORMAT = 2
Array = NDArray[Any]
Stamp = list[list[Any]]
"""Name, size and time of modification of every file that an array is made of."""


@dataclass(frozen=True)
class Entry:
    """Where one array is, and what it was made of."""

    id: str
    offset: int
    shape: tuple[int, ...]
    dtype: str
    crc: int
    stamp: Stamp

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def stamp(paths: Sequence[Path]) -> Stamp:
    """Return what tells whether files have changed; of one that cannot be looked at, that."""
    return [[path.name, *_size_and_time(path)] for path in paths]


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        now = path.stat()
    except OSError:  # who reads it says what is wrong with it
        return -1, -1
    return now.st_size, now.st_mtime_ns


@dataclass
class Shelf:
    """All arrays of one split and one kind, for reading. It travels to worker processes; each maps the file itself.

    Args:
        folder: of the cache.
        name: of split and kind.
        recipe: of how the arrays are made; arrays made otherwise are not used.
    """

    folder: Path
    name: str
    recipe: str
    entries: dict[str, Entry] = field(default_factory=dict)
    _map: mmap.mmap | None = None
    _checked: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.entries = {entry.id: entry for entry in read_entries(self.folder / f"{self.name}.jsonl", self.recipe)}

    def get(self, sample: str, paths: Sequence[Path]) -> Array | None:
        """Return the array of a sample, read-only; None if there is none that is still right."""
        entry = self.entries.get(sample)
        try:
            if entry is None or entry.stamp != stamp(paths):
                return None
            if self._map is None:
                with (self.folder / f"{self.name}.bin").open("rb") as file:
                    self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):  # gone, or empty; who reads the source itself says what is wrong with it
            return None
        data = memoryview(self._map)[entry.offset : entry.offset + entry.size]
        if sample not in self._checked:
            if len(data) < entry.size or _checksum(data, entry.shape, entry.dtype) != entry.crc:
                return None
            self._checked.add(sample)
        return np.frombuffer(data, np.dtype(entry.dtype)).reshape(entry.shape)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None, "_checked": set()}


def fill(
    folder: Path,
    name: str,
    recipe: str,
    samples: Mapping[str, Sequence[Path]],
    make: Callable[[str], Array],
    progress: Callable[[], None],
    skip: Callable[[str, DataError], None] | None = None,
) -> tuple[int, int]:
    """Make and keep every array that is not there yet. Several processes may do so at once: they take turns.

    Args:
        folder: of the cache.
        name: of split and kind.
        recipe: of how arrays are made.
        samples: id -> the files that its array is made of.
        make: makes the array of a sample.
        progress: called after each sample.
        skip: told of each array that cannot be made, which is then left out; None raises instead.

    Returns:
        How many arrays were made, and how many were there.

    Raises:
        DataError: a sample that cannot be read.
        MemorySAMError: the cache cannot be written, or the disk is full.
    """
    make_folder(folder)
    lines, data = folder / f"{name}.jsonl", folder / f"{name}.bin"
    made = kept = 0
    with FileLock(folder / f"{name}.lock"):
        entries = {entry.id: entry for entry in read_entries(lines, recipe)} if data.exists() else {}
        there = data.stat().st_size if entries else 0
        valid = {
            id_
            for id_, entry in entries.items()
            if id_ in samples and entry.offset + entry.size <= there and entry.stamp == stamp(samples[id_])
        }
        if not entries or len(valid) < len(entries):  # of another recipe, or with arrays that nobody will use again
            _begin(lines, data, recipe, [entries[id_] for id_ in entries if id_ in valid])
        end = max((entry.offset + entry.size for entry in entries.values() if entry.id in valid), default=0)
        with writing_to(data), data.open("r+b") as arrays, lines.open("a", encoding="utf-8") as index:
            for id_, paths in samples.items():
                if id_ in valid:
                    kept += 1
                else:
                    try:
                        before = stamp(paths)
                        array = np.ascontiguousarray(make(id_))
                    except DataError as error:
                        if skip is None:
                            raise
                        skip(id_, error)
                        progress()
                        continue
                    checksum = _checksum(array.data, array.shape, array.dtype.str)
                    entry = Entry(id_, end, array.shape, array.dtype.str, checksum, before)
                    arrays.seek(end)
                    arrays.write(array.data)
                    arrays.flush()  # not forced onto the disk: after a power cut the checksum tells
                    index.write(json.dumps(vars(entry)) + "\n")
                    index.flush()
                    end += entry.size
                    made += 1
                progress()
    return made, kept


def read_entries(path: Path, recipe: str) -> list[Entry]:
    """Return the whole lines of an index, none if it is missing or of another recipe."""
    try:
        first, *rest = path.read_text(encoding="utf-8").splitlines(keepends=True)
        if json.loads(first) != {"format": _FORMAT, "recipe": recipe}:
            return []
    except (OSError, ValueError, RecursionError):
        return []
    entries = []
    for line in rest:
        try:
            content = json.loads(line)
            entries.append(_entry(content))
        except (ValueError, TypeError, KeyError, RecursionError):
            break  # cut off in the middle
        if not line.endswith("\n"):
            entries.pop()
    return entries


def _entry(content: dict[str, Any]) -> Entry:
    """Return an entry from a line.

    Raises:
        ValueError, TypeError, KeyError: it is none.
    """
    entry = Entry(**{**content, "shape": tuple(content["shape"])})
    numbers = (*entry.shape, entry.offset, entry.crc)
    whole = all(type(number) is int and 0 <= number < 2**48 for number in numbers)
    # Only what is simple reaches NumPy, which takes other words for expressions.
    if not whole or not isinstance(entry.id, str) or re.fullmatch("[<>|][buif][0-9]{1,2}", entry.dtype) is None:
        raise ValueError("this is no array")
    np.dtype(entry.dtype)
    return entry


def _checksum(data: memoryview, shape: tuple[int, ...], dtype: str) -> int:
    """Return a checksum over the bytes of an array and over how they are to be read."""
    return zlib.crc32(f"{dtype} {shape}".encode(), zlib.crc32(data))


def _begin(lines: Path, data: Path, recipe: str, keep: Sequence[Entry]) -> None:
    """Write an index anew, with the arrays that may stay where they are."""
    temporary = lines.with_suffix(f".{os.getpid()}.tmp")
    with writing_to(lines):
        content = [{"format": _FORMAT, "recipe": recipe}, *map(vars, keep)]
        temporary.write_text("".join(json.dumps(line) + "\n" for line in content), encoding="utf-8")
        if not keep:  # a new file, never a shorter one: a process that has the old one mapped would die of it
            data.unlink(missing_ok=True)
        temporary.replace(lines)
        data.touch()
