"""memorysam demo."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from memorysam.commands.arguments import find_settings, parse, print_json
from memorysam.config import RunSettings
from memorysam.strict import build, read_yaml

DESCRIPTION = """A tour in a few minutes, without a GPU, data or weights: train the micro MemorySAM on driving scenes
that are rendered as they are needed, evaluate all four sensors, each alone and by weather, predict, and write a page of
pictures. Everything can be changed as for `memorysam train`."""


@dataclass
class Arguments:
    """Arguments of `memorysam demo`."""

    out: Path = Path("demo")
    """Folder for everything."""
    json: bool = False
    """Print JSON instead of words."""
    settings: RunSettings = field(default_factory=RunSettings)


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    path = find_settings(Path("demo.yaml"))
    default = Arguments(settings=build(RunSettings, read_yaml(path), path))
    arguments: Arguments = parse(Arguments, "demo", argv, DESCRIPTION, default)
    from memorysam.demo import demo, summary

    result = demo(arguments.settings, arguments.out)
    if arguments.json:
        print_json(result)
    elif result["finished"]:
        print(summary(result))
    else:
        print("the same command goes on where it stopped")
    return 0 if result["finished"] else 128 + (result["signal"] or 0)
