"""What names of samples and links among the files may do elsewhere, though they do no harm here."""

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from memorysam.data.check_report import CheckReport
from memorysam.data.split_index import Index
from memorysam.data.template import folded
from memorysam.errors import listing


def judge_names(indices: Mapping[str, Index], root: Path, report: CheckReport) -> None:
    """Note names that are one on systems that take case and accents less strictly, and files that lie elsewhere."""
    alike: dict[str, set[str]] = defaultdict(set)
    for index in indices.values():
        for name in index.ids:
            alike[folded(name)].add(name)
    clashes = [" = ".join(map(repr, sorted(names))) for names in alike.values() if len(names) > 1]
    if clashes:
        report.notes.append(
            "samples whose names differ in case or the form of accents only, and are one on other systems, "
            f"{len(clashes)}: {listing(clashes, 3)}"
        )
    real = Path(os.path.realpath(root))
    paths = {path for index in indices.values() for files in index.files for path in files.values()}
    outside = sorted(path for path in paths if not Path(os.path.realpath(path)).is_relative_to(real))
    if outside:
        shown = (f"{path.relative_to(root)} -> {os.path.realpath(path)}" for path in outside)
        report.notes.append(
            f"files that lie outside the root, through links that are followed, {len(outside)}: {listing(shown, 3)}"
        )
