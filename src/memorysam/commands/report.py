"""memorysam report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from memorysam.commands.arguments import parse, print_json
from memorysam.errors import SettingsError

DESCRIPTION = """Write a page about a run, finished or under way: curves, scores of its best model by class and by tag,
confusion, its worst and best images, settings, environment. One file that needs no other, to open in a browser.

  memorysam report runs/potholes
  memorysam report runs/potholes --images 0 --out here.html

Curves and confusion are drawn where matplotlib is installed: pip install 'memorysam[figures]'"""


@dataclass
class Arguments:
    """Arguments of `memorysam report`."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of the run."""
    out: Path | None = None
    """The page; by default RUN/report.html."""
    images: int = 4
    """How many of the worst and of the best images are shown; 0 leaves the scoring out, and the page takes a second."""
    split: str | None = None
    """What is scored; by default the validation split of the run."""
    workers: int = 2
    """Processes that read; 0 reads in this one."""
    device: str = "auto"
    """auto, cpu, cuda."""
    json: bool = False
    """Print JSON instead of words."""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    arguments: Arguments = parse(Arguments, "report", argv, DESCRIPTION)
    from memorysam.experiments.run_report import Choice, run_report

    for name in ("images", "workers"):
        if getattr(arguments, name) < 0:
            raise SettingsError(
                f"wrong value {getattr(arguments, name)}", where=f"--{name}", expected="a number from 0"
            )
    path = arguments.out or arguments.run / "report.html"
    choice = Choice(arguments.split, arguments.images, arguments.workers, arguments.device)
    facts = run_report(arguments.run, path, choice)
    if arguments.json:
        print_json({"report": str(path), **facts})
    else:
        print(f"written to {path}   (open it in a browser)")
    return 0
