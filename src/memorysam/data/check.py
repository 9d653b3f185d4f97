"""The dataset doctor: reads every file of a data set and tells all that is wrong, not only what comes first."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from memorysam.data.check_report import CheckReport, LabelFacts, ModalityFacts
from memorysam.data.dataset_file import LABEL, LabelMap
from memorysam.data.folders import FolderDataset, require_one_size
from memorysam.data.readers import EXTENSIONS, conform, read_image, read_label, stored_kind
from memorysam.data.split_index import Index, unlisted
from memorysam.errors import DataError, listing
from memorysam.spec import Modality, Size

_THREADS = 2
_FAR = 10
"""A declared range so many times wider than the values is probably a mistake."""


@dataclass
class _Sample:
    """What was found in the files of one sample."""

    sizes: dict[str, Size] = field(default_factory=dict)
    images: dict[str, ModalityFacts] = field(default_factory=dict)
    label: dict[int, int] = field(default_factory=dict)
    """Raw value -> pixels."""
    problems: list[tuple[str, str]] = field(default_factory=list)
    """Kind, and file with reason."""
    misnamed: list[str] = field(default_factory=list)


def check(dataset: FolderDataset, progress: Callable[[int, int], None] | None = None) -> CheckReport:
    """Read every file of every split.

    Args:
        dataset: to look at.
        progress: called with the number of files read and their total.

    Returns:
        All that was found; problems of the data do not raise.
    """
    report = CheckReport(dataset.name, str(dataset.root))
    report.modalities = {m.name: ModalityFacts() for m in dataset.modalities}
    if dataset.layout.label is not None:
        report.label = {raw: LabelFacts(name) for raw, name in dataset.layout.label.names.items()}
    indices = _indices(dataset, report)
    _find_leaks(dataset, indices, report)
    jobs = [(split, files) for split, index in indices.items() for files in index.files]
    done, total = 0, sum(len(files) for _, files in jobs)
    misnamed: list[str] = []
    occurring: dict[str, set[str | None]] = {split: set() for split in indices}
    with ThreadPoolExecutor(_THREADS) as pool:
        samples = pool.map(lambda job: _examine(dataset, job[1]), jobs)
        for (split, files), sample in zip(jobs, samples, strict=True):
            _merge(sample, report)
            misnamed += sample.misnamed
            occurring[split] |= {report.label[raw].name for raw in sample.label}
            done += len(files)
            if progress is not None:
                progress(done, total)
    if misnamed:
        report.notes.append(f"files that are not what their names say, {len(misnamed)}: {listing(misnamed, 3)}")
    for split, names in occurring.items():
        never = [name for name in dataset.classes.names if name not in names]
        if never and dataset.layout.label is not None:
            report.notes.append(f"classes that never occur in {split}: {listing(never, 40)}")
    for modality in dataset.modalities:
        _judge_range(modality, report)
    return report


def _indices(dataset: FolderDataset, report: CheckReport) -> dict[str, Index]:
    """Return the files of each usable split; count samples and tags, and name what is missing."""
    indices = {}
    for split in dataset.splits:
        try:
            index = indices[split] = dataset.index(split, [m.name for m in dataset.modalities])
        except DataError as error:
            report.problem("splits that cannot be used", f"{split}: {_told(error, dataset.root)}")
            continue
        report.splits[split] = len(index.ids)
        tags: dict[str, Counter[str]] = defaultdict(Counter)
        for sample in index.tags:
            for tag, value in sample.items():
                tags[tag][value] += 1
        report.tags[split] = {tag: dict(sorted(counts.items())) for tag, counts in tags.items()}
        for name, path in index.missing:
            report.problem("missing files", f"{_short(path, dataset.root)} ({name})")
    return indices


def _find_leaks(dataset: FolderDataset, indices: Mapping[str, Index], report: CheckReport) -> None:
    """Find files that are in several splits, and samples that are in none."""
    homes: dict[Path, list[str]] = defaultdict(list)
    for split, index in indices.items():
        for files in index.files:
            if files:
                homes[next(iter(files.values()))].append(split)
    for path, splits in homes.items():
        if len(splits) > 1:
            report.problem("samples in several splits", f"{_short(path, dataset.root)}: {', '.join(splits)}")
    layout = dataset.layout
    by_list = not any("split" in template.fields for template in layout.templates.values())
    if by_list and len(indices) == len(dataset.splits):
        listed = {name for index in indices.values() for name in index.ids}
        rest = unlisted(dataset.root, layout.templates, layout.fields, listed)
        if rest:
            report.notes.append(f"samples on the disk that are in no split, {len(rest)}: {listing(rest, 3)}")


def _examine(dataset: FolderDataset, files: Mapping[str, Path]) -> _Sample:
    """Read all files of one sample."""
    sample = _Sample()
    modalities = {m.name: m for m in dataset.modalities}
    for name, path in files.items():
        try:
            if name in modalities:
                _examine_image(path, modalities[name], sample, dataset.root)
            elif dataset.layout.label is not None:
                _examine_label(path, dataset.layout.label, sample, dataset.root)
            if (kind := stored_kind(path)) != EXTENSIONS[path.suffix.lower()]:
                sample.misnamed.append(f"{_short(path, dataset.root)} holds a {kind}")
        except DataError as error:
            sample.problems.append(("files that cannot be used", _told(error, dataset.root)))
    if sample.sizes:
        try:
            require_one_size(sample.sizes, files, dataset.resized)
        except DataError as error:
            sample.problems.append(("files of different size", _told(error, dataset.root)))
    return sample


def _examine_image(path: Path, modality: Modality, sample: _Sample, root: Path) -> None:
    image = read_image(path)
    height, width, channels = image.shape
    sample.sizes[modality.name] = (height, width)
    facts = sample.images[modality.name] = ModalityFacts(1)
    facts.sizes[f"{height} x {width}"] = facts.types[str(image.dtype)] = facts.channels[channels] = 1
    image = conform(image, modality, path)
    facts.low, facts.high, facts.values = float(image.min()), float(image.max()), image.size
    low, high = sorted((modality.low, modality.high))
    # An image that is centred on itself has no fixed range to leave.
    if modality.zero == "low" and not low <= facts.low <= facts.high <= high:
        facts.outside = int(np.count_nonzero((image < low) | (image > high)))
        if image.dtype.kind == "u":
            sample.problems.append(
                (
                    "values outside the declared range",
                    f"{_short(path, root)}: {facts.low:g} to {facts.high:g}, declared {low:g} to {high:g}",
                )
            )


def _examine_label(path: Path, label: LabelMap, sample: _Sample, root: Path) -> None:
    raw = read_label(path, label.channel)
    sample.sizes[LABEL] = (raw.shape[0], raw.shape[1])
    if raw.dtype in (np.uint8, np.uint16):
        counts = np.bincount(raw.ravel())
        sample.label = {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    else:
        sample.label = dict(zip(*(part.tolist() for part in np.unique(raw, return_counts=True)), strict=True))
    unknown = [f"{v} ({n} pixels)" for v, n in sample.label.items() if v not in label.names]
    if unknown:
        told = f"{_short(path, root)}: {listing(unknown)}"
        sample.problems.append(("label values that are no class", told))


def _merge(sample: _Sample, report: CheckReport) -> None:
    """Count a sample in."""
    for kind, line in sample.problems:
        report.problem(kind, line)
    for name, facts in sample.images.items():
        report.modalities[name].add(facts)
    for raw, pixels in sample.label.items():
        facts_of_raw = report.label.setdefault(raw, LabelFacts(None))
        facts_of_raw.pixels += pixels
        facts_of_raw.images += 1


def _judge_range(modality: Modality, report: CheckReport) -> None:
    """Add advice where the declared range obviously does not fit the values."""
    facts, name = report.modalities[modality.name], modality.name
    low, high = sorted((modality.low, modality.high))
    if not facts.values or modality.zero == "median":
        return
    if facts.outside:
        share = 100 * facts.outside / facts.values
        best = {"uint8": 255, "uint16": 65535}.get("/".join(facts.types), facts.high)
        report.advice.append(
            f"{name}: {share:.3g} % of the values lie outside low: {low:g}, high: {high:g}; they go from {facts.low:g} "
            f"to {facts.high:g}. Set low: {min(low, facts.low):g}, high: {max(best, facts.high):g}"
        )
    elif facts.high - low < (high - low) / _FAR:
        report.advice.append(
            f"{name}: the values reach {facts.high:g}, far from high: {high:g}; a model would see next to nothing. "
            f"Set high to the largest value that the sensor can give"
        )


def _short(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _told(error: DataError, root: Path) -> str:
    """Return an error as one line."""
    where = _short(error.where, root) if isinstance(error.where, Path) else str(error.where)
    return f"{where}: {error.what}"
