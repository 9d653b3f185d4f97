"""memorysam cache."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from memorysam.commands.arguments import parse, print_json
from memorysam.errors import SettingsError

DESCRIPTION = """Decode a data set once, into memory-mapped arrays with checksums, from which training and evaluation
then read. Takes several times the space of the files. May be interrupted and started again; a file that changes later
is read itself.

  memorysam cache deliver --root data/DELIVER
  memorysam cache my/dataset.yaml --out fast-disk/cache

With --out, training is told by --data.cache; without, it finds the cache in the folder of the data."""


@dataclass
class Arguments:
    """Arguments of `memorysam cache`."""

    dataset: Annotated[str, tyro.conf.Positional]
    """A dataset.yaml, a folder that holds one, or the name of one that comes with the package."""
    root: Path | None = None
    """Folder of the data; overrides the one in the file."""
    out: Path | None = None
    """Folder of the cache; by default in the folder of the data."""
    splits: tuple[str, ...] = ()
    """Which parts; all by default."""
    modalities: tuple[str, ...] = ()
    """Which modalities; by default those that are used where none are named."""
    on_bad: Literal["error", "skip"] = "error"
    """What becomes of a sample that cannot be read: an error, or it is left out and told."""
    skip_share: float = 0.001
    """At most this share of a split may be left out, rounded up to whole samples."""
    json: bool = False
    """Print JSON instead of words."""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    arguments = parse(Arguments, "cache", argv, DESCRIPTION)
    from memorysam.data.cache import FOLDER
    from memorysam.data.cache_writer import write_cache
    from memorysam.data.catalog import find_yaml
    from memorysam.data.folders import FolderDataset
    from memorysam.training.progress import ProgressBar

    dataset = FolderDataset.load(find_yaml(arguments.dataset), arguments.root)
    if not 0 <= arguments.skip_share <= 1:
        raise SettingsError(f"wrong value {arguments.skip_share}", where="--skip-share", expected="0 to 1")
    share = arguments.skip_share if arguments.on_bad == "skip" else None
    folder = arguments.out or dataset.root / FOLDER
    with ProgressBar(1, label="decoding", unit="array") as bar:
        report = write_cache(dataset, folder, arguments.splits, arguments.modalities or None, bar.report, share)
    if arguments.json:
        print_json({**vars(report), "folder": str(report.folder)})
    else:
        for one in report.skipped:
            print(f"left out: {one['id']} of {one['split']}: {one['what']}")
        print(f"{report.made} arrays decoded, {report.kept} were there; {report.bytes / 1e9:.2f} GB in {report.folder}")
        if arguments.out is not None:
            print(f"next: memorysam train ... --data.cache {report.folder}")
    return 0
