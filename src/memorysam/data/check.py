"""The dataset doctor: reads every file of a data set and tells all that is wrong, not only what comes first."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from memorysam.data.check_names import judge_names
from memorysam.data.check_report import CheckReport, LabelFacts, ModalityFacts
from memorysam.data.check_values import angle_of, judge_angle, judge_range
from memorysam.data.dataset_file import LabelMap
from memorysam.data.dataset_keys import INVALID, LABEL, part_keys
from memorysam.data.folder_source import (
    read_invalid,
    read_raw_label,
    reference_of,
    require_one_size,
    require_size,
    stack_modality,
)  # fmt: skip
from memorysam.data.folders import FolderDataset
from memorysam.data.readers import EXTENSIONS, conform, stored_kind
from memorysam.data.split_index import Index, unlisted
from memorysam.errors import DataError, listing
from memorysam.spec import Modality, Size

_THREADS = 2


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
    _compare(dataset, report)
    _find_leaks(dataset, indices, report)
    judge_names(indices, dataset.root, report)
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
        judge_range(modality, report)
        judge_angle(modality, report)
    return report


def _indices(dataset: FolderDataset, report: CheckReport) -> dict[str, Index]:
    """Return the files of each usable split; count samples and tags, and name what is missing."""
    indices = {}
    for split in dataset.splits:
        try:
            index = indices[split] = _without_absent(
                dataset, dataset.index(split, [m.name for m in dataset.modalities])
            )
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
            report.problem("missing files", f"{_short(path, dataset.root)} ({name}{index.instead(path)})")
    return indices


def _without_absent(dataset: FolderDataset, index: Index) -> Index:
    """Forget that files are missing where a modality is optional and has none at all."""
    lacking = Counter(name for name, _ in index.missing)
    absent = {name for name in lacking if name not in dataset.usual and lacking[name] == len(index.ids)} - {LABEL}
    return replace(index, absent=[{n: p for n, p in one.items() if n not in absent} for one in index.absent])


def _compare(dataset: FolderDataset, report: CheckReport) -> None:
    """Compare the number of samples with what the authors of the data set say."""
    for split, said in dataset.layout.published.items():
        counts = {"samples": (report.splits.get(split, 0), said.samples)}
        for tag, values in said.tags.items():
            here = report.tags.get(split, {}).get(tag, {})
            counts |= {f"{tag} {value}": (here.get(value, 0), count) for value, count in values.items()}
        report.published[split] = counts


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
    sample, layout = _Sample(), dataset.layout

    def attempt(kind: str, work: Callable[[], object]) -> None:
        try:
            work()
        except DataError as error:
            sample.problems.append((kind, _told(error, dataset.root)))

    for modality in dataset.modalities:
        if all(key in files for key in part_keys(modality.name, len(layout.sensors[modality.name].paths))):
            attempt("files that cannot be used", partial(_examine_image, files, modality, sample, dataset))
    if layout.label is not None and LABEL in files:
        attempt("files that cannot be used", partial(_examine_label, files, layout.label, sample, dataset))
    if sample.sizes:
        attempt("files of different size", lambda: require_one_size(sample.sizes, files, layout.resized))
        if INVALID in files:
            size = sample.sizes[reference_of(sample.sizes, layout.resized)]
            attempt(
                "files that cannot be used", lambda: require_size(read_invalid(files, layout), size, files[INVALID])
            )
    for path in files.values():
        attempt("files that cannot be used", partial(_examine_name, path, sample, dataset.root))
    sample.problems = list(dict.fromkeys(sample.problems))
    return sample


def _examine_name(path: Path, sample: _Sample, root: Path) -> None:
    if (kind := stored_kind(path)) not in (None, EXTENSIONS.get(path.suffix.lower())):  # what cannot be read is told
        sample.misnamed.append(f"{_short(path, root)} holds a {kind}")


def _examine_image(files: Mapping[str, Path], modality: Modality, sample: _Sample, dataset: FolderDataset) -> None:
    path, root = files[modality.name], dataset.root
    image = stack_modality(files, modality, dataset.layout)
    height, width, channels = image.shape
    sample.sizes[modality.name] = (height, width)
    facts = sample.images[modality.name] = ModalityFacts(1)
    facts.sizes[f"{height} x {width}"] = facts.types[str(image.dtype)] = facts.channels[channels] = 1
    image = conform(image, modality, path)
    facts.low, facts.high, facts.values = float(image.min()), float(image.max()), image.size
    facts.angle = angle_of(image)
    low, high = sorted(modality.range_of(image.dtype))
    # An image that is centred on itself has no fixed range to leave, nor have numbers of regions.
    if modality.role == "sensor" and modality.zero == "low" and not low <= facts.low <= facts.high <= high:
        facts.outside = int(np.count_nonzero((image < low) | (image > high)))
        if image.dtype.kind == "u":
            sample.problems.append(
                (
                    "values outside the declared range",
                    f"{_short(path, root)}: {facts.low:g} to {facts.high:g}, declared {low:g} to {high:g}",
                )
            )


def _examine_label(files: Mapping[str, Path], label: LabelMap, sample: _Sample, dataset: FolderDataset) -> None:
    path, root = files[LABEL], dataset.root
    raw = read_raw_label(files, dataset.layout)
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


def _short(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _told(error: DataError, root: Path) -> str:
    """Return an error as one line."""
    where = _short(error.where, root) if isinstance(error.where, Path) else str(error.where)
    return f"{where}: {error.what}"
