"""memorysam demo."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memorysam.commands.arguments import parse, print_json

DESCRIPTION = """A tour in a few minutes, without a GPU, data or weights: train the micro MemorySAM on driving scenes that are
rendered as they are needed, evaluate all four sensors, each alone and by weather, predict, and write a page of pictures."""


@dataclass
class Arguments:
    """Arguments of `memorysam demo`."""

    out: Path = Path("demo")
    """Folder for everything."""
    minutes: float = 4.0
    """How long to train."""
    json: bool = False
    """Print JSON instead of words."""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    arguments: Arguments = parse(Arguments, "demo", argv, DESCRIPTION)
    from memorysam.demo import demo

    result = demo(arguments.out, arguments.minutes)
    if arguments.json:
        print_json(result)
    return 0
