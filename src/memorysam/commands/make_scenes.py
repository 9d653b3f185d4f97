"""memorysam make-scenes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from memorysam.commands.arguments import parse, print_json
from memorysam.errors import SettingsError

DESCRIPTION = """Write driving scenes to disk in DELIVER's folder layout and label encoding, with a dataset.yaml.

  memorysam make-scenes data/scenes --train 200 --val 20 --test 20 --size 512"""


@dataclass
class Arguments:
    """Arguments of `memorysam make-scenes`."""

    out: Annotated[Path, tyro.conf.Positional]
    """Folder to write to."""
    train: int = 100
    """Number of training scenes."""
    val: int = 20
    """Number of validation scenes."""
    test: int = 20
    """Number of test scenes."""
    size: tuple[int, ...] = (1042,)
    """Height and width in pixels; one number for a square."""
    seed: int = 0
    """Another number, another world."""
    json: bool = False
    """Print JSON instead of words."""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    arguments: Arguments = parse(Arguments, "make-scenes", argv, DESCRIPTION)
    from memorysam.data.scenes import write_scenes
    from memorysam.training.progress import ProgressBar

    counts = {"train": arguments.train, "val": arguments.val, "test": arguments.test}
    sides = arguments.size
    if len(sides) not in (1, 2) or min(sides) < 32:
        raise SettingsError(f"wrong size {list(sides)}", where="--size", expected="one or two numbers, 32 or more")
    if min(counts.values()) < 0 or not any(counts.values()):
        raise SettingsError(f"wrong counts {counts}", expected="no negative number, and one above 0")
    with ProgressBar(sum(counts.values()), label="writing", unit="scene") as bar:
        write_scenes(arguments.out, counts, (sides[0], sides[-1]), arguments.seed, bar.report)
    if arguments.json:
        print_json({"folder": str(arguments.out), "counts": counts, "size": [sides[0], sides[-1]]})
    else:
        print(f"{sum(counts.values())} scenes in {arguments.out}\nnext: memorysam check-data {arguments.out}")
    return 0
