"""memorysam check-data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from memorysam.commands.arguments import parse, print_json

DESCRIPTION = """Read every file of a data set and report what is wrong: damaged files, missing partners, sizes, types,
label values outside the map. Exit code 0 only if there is nothing wrong, 1 if there is.

  memorysam check-data configs/datasets/potholes.yaml --root ../shared/data/potholes"""


@dataclass
class Arguments:
    """Arguments of `memorysam check-data`."""

    dataset: Annotated[Path, tyro.conf.Positional]
    """A dataset.yaml, or a folder that holds one."""
    root: Path | None = None
    """Folder of the data; overrides the one in the file."""
    json: bool = False
    """Print JSON instead of words."""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    arguments: Arguments = parse(Arguments, "check-data", argv, DESCRIPTION)
    from memorysam.data.catalog import find_yaml
    from memorysam.data.check import check
    from memorysam.data.folders import FolderDataset
    from memorysam.training.progress import ProgressBar

    dataset = FolderDataset.load(find_yaml(str(arguments.dataset)), arguments.root)
    with ProgressBar(1, label="reading", unit="file") as bar:
        report = check(dataset, bar.report)
    if arguments.json:
        print_json(report.as_dict())
    else:
        print(report.text())
    return 0 if report.clean else 1
