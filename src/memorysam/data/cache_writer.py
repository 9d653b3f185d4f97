"""Filling the cache of a data set."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from memorysam.data.cache import fill
from memorysam.data.folder_source import FolderSource
from memorysam.data.folders import FolderDataset
from memorysam.data.skipping import Skips, told
from memorysam.errors import DataError
from memorysam.files import make_folder
from memorysam.spec import select


@dataclass(frozen=True)
class CacheReport:
    """What became of the cache."""

    folder: Path
    made: int
    kept: int
    bytes: int
    """Size of all arrays."""
    skipped: list[dict[str, str]]
    """`split`, `id`, and `what` is wrong with it: samples that cannot be read."""


def write_cache(
    dataset: FolderDataset,
    folder: Path,
    splits: Sequence[str] = (),
    modalities: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    skip_share: float | None = None,
) -> CacheReport:
    """Decode every sample once and keep its arrays; what is there and still right is left alone.

    Args:
        dataset: whose files are read.
        folder: of the cache.
        splits: names; all for none.
        modalities: names; the usual ones for None.
        progress: called with the number of arrays done and their total.
        skip_share: of the samples of a split may be left out if they cannot be read; None raises at the first.

    Raises:
        DataError: a sample that cannot be read, or more of them than may be left out; or not enough space.
        MemorySAMError: the cache cannot be written.
    """
    make_folder(folder)
    chosen = select(dataset.modalities, modalities or dataset.usual)
    names = [modality.name for modality in chosen]
    dataset = replace(dataset, incomplete=skip_share is not None)
    sources = {split: dataset.source(split, names) for split in splits or dataset.splits}
    skips = {split: Skips(len(source.ids), skip_share or 0.0) for split, source in sources.items()}
    jobs = [(split, kind) for split, source in sources.items() for kind in source.kinds()]
    total = sum(len(sources[split].ids) for split, _ in jobs)
    shelves = {split: dataset.shelves(folder, split, chosen) for split in sources}
    _require_space(folder, sources, {(split, kind): len(shelves[split][kind].entries) for split, kind in jobs})
    done = made = kept = 0

    def step() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    for split, kind in jobs:
        source = sources[split]
        places = {id_: index for index, id_ in enumerate(source.ids)}
        files = {id_: source.files_of(index, kind) for id_, index in places.items()}
        new, old = fill(
            folder,
            f"{split}.{kind}",
            dataset.recipe(kind),
            files,
            partial(_make, source, kind, places),
            step,
            None if skip_share is None else partial(_skip, skips[split]),
        )
        made, kept = made + new, kept + old
    size = sum(path.stat().st_size for path in folder.glob("*.bin"))
    skipped = [{"split": split, **one} for split, left_out in skips.items() for one in left_out.as_list()]
    return CacheReport(folder, made, kept, size, skipped)


def _skip(skips: Skips, sample: str, error: DataError) -> None:
    skips.add(sample, told(error))


def _make(source: FolderSource, kind: str, places: Mapping[str, int], id_: str) -> NDArray[Any]:
    return source.make(places[id_], kind)


def _require_space(folder: Path, sources: dict[str, FolderSource], held: dict[tuple[str, str], int]) -> None:
    """Raise if the arrays will not fit, going by the first sample of each split that can be read."""
    needed = 0
    for (split, kind), there in held.items():
        source = sources[split]
        needed += max(0, len(source.ids) - there) * _size(source, kind)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"decoded, these data take about {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free",
            where=folder,
            fix="choose another folder with --out, or fewer splits or modalities",
        )


def _size(source: FolderSource, kind: str) -> int:
    """Return the bytes of the first array that can be made; 0 if none can, of which whoever makes them will tell."""
    for index in range(len(source.ids)):
        try:
            return source.make(index, kind).nbytes
        except DataError:
            continue
    return 0
