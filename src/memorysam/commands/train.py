"""memorysam train."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from memorysam.commands.arguments import find_settings, parse, print_json
from memorysam.config import RunSettings
from memorysam.strict import build, read_yaml

DESCRIPTION = """Train a model. CONFIG is a settings file (only what differs from the defaults needs to be in it) or the
name of one that comes with the package; every setting below can be changed on the command line.

  memorysam train configs/potholes.yaml --data.root ../shared/data/potholes
  memorysam train configs/potholes.yaml --data.root ../shared/data/potholes --resume

Ctrl-C saves and stops; --resume continues bit for bit. Several GPUs: accelerate launch -m memorysam train ..."""


@dataclass
class Arguments:
    """Arguments of `memorysam train`."""

    config: Annotated[Path, tyro.conf.Positional]
    """Settings file."""
    out: Path | None = None
    """Folder of the run; by default runs/ and the name of the settings file."""
    resume: bool = False
    """Continue the run in that folder."""
    allow_changes: bool = False
    """Continue although settings or data have changed since the run was saved."""
    json: bool = False
    """Print the result as JSON."""
    settings: RunSettings = field(default_factory=RunSettings)


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    asks_for_help = any(word in ("-h", "--help") for word in argv)
    if not argv or argv[0].startswith("-") or asks_for_help:
        parse(Arguments, "train", argv, DESCRIPTION)
    path = find_settings(Path(argv[0]))
    settings = build(RunSettings, read_yaml(path), path)
    default = Arguments(config=path, settings=settings)
    arguments: Arguments = parse(Arguments, "train", argv, DESCRIPTION, default)
    return _train(arguments, path)


def _train(arguments: Arguments, path: Path) -> int:
    from memorysam.training.loop import train

    out = arguments.out or Path("runs") / path.stem
    outcome = train(
        arguments.settings,
        out,
        resume=arguments.resume,
        allow_changes=arguments.allow_changes,
        beside=path.parent,
    )
    progress = outcome.progress
    if arguments.json:
        print_json({"folder": str(out), "finished": outcome.finished, **vars(progress)})
    elif outcome.finished:
        best = "" if progress.best is None else f"; best mIoU {progress.best:.2f} at step {progress.best_step}"
        print(f"finished after {progress.step} steps{best}\nrun folder: {out}\nnext: memorysam evaluate {out}")
    return 128 + outcome.signal if outcome.signal else 0
