"""What the verbs have in common."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from memorysam.errors import SettingsError

T = TypeVar("T")

PLAIN = (tyro.conf.FlagCreatePairsOff,)


def parse(kind: Any, verb: str, argv: Sequence[str], description: str, default: Any = None) -> Any:
    """Turn arguments into a `kind`; exits with code 2 and a suggestion on a mistake, with 0 after --help."""
    more = {} if default is None else {"default": default}
    return tyro.cli(kind, prog=f"memorysam {verb}", args=list(argv), description=description, config=PLAIN, **more)


def print_json(content: object) -> None:
    """Print JSON and nothing else to standard output."""
    json.dump(content, sys.stdout, indent=2)
    sys.stdout.write("\n")


def find_settings(name: Path) -> Path:
    """Return the settings file of that path, or the packaged one of that name.

    Raises:
        SettingsError: neither exists.
    """
    if name.is_file():
        return name
    packaged = [Path(__file__).parents[1] / "configs", Path(__file__).parents[3] / "configs"]
    for folder in packaged:
        for candidate in (folder / name, folder / f"{name}.yaml"):
            if candidate.is_file():
                return candidate
    known = sorted({path.stem for folder in packaged for path in folder.glob("*.yaml")})
    raise SettingsError("there is no such settings file", where=name, expected=f"a path, or one of: {', '.join(known)}")
