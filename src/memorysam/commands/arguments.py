"""What the verbs have in common."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from memorysam.config import Settings, packaged
from memorysam.errors import SettingsError
from memorysam.strict import build

T = TypeVar("T")

PLAIN = (tyro.conf.FlagCreatePairsOff,)
SETTINGS = "settings"
"""Field of a verb's arguments that holds a `Settings`; its options carry no prefix."""


def parse(kind: type[T], verb: str, argv: Sequence[str], description: str, default: T | None = None) -> T:
    """Turn arguments into a `kind`; exits with code 2 and a suggestion on an unknown option, with 0 after --help.

    Raises:
        SettingsError: a value that the settings do not allow.
    """
    known, _ = _parse(kind, verb, argv, description, default, unknown=False)
    return known


def parse_known(kind: type[T], verb: str, argv: Sequence[str], description: str) -> tuple[T, list[str]]:
    """Do the same, and return the words that are no options of `kind`."""
    return _parse(kind, verb, argv, description, None, unknown=True)


def _parse(
    kind: type[T], verb: str, argv: Sequence[str], description: str, default: T | None, unknown: bool
) -> tuple[T, list[str]]:
    fields: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    group = fields.get(SETTINGS)
    shape: Any = kind if group is None else _with_draft(kind, group, default)
    more: dict[str, Any] = {"return_unknown_args": True} if unknown else {}
    if default is not None:
        more["default"] = shape(**{name: getattr(default, name) for name in fields if name != SETTINGS})
    found = tyro.cli(shape, prog=f"memorysam {verb}", args=list(argv), description=description, config=PLAIN, **more)
    parsed, rest = found if unknown else (found, [])
    if group is None:
        return parsed, list(rest)
    values = {name: getattr(parsed, name) for name in fields}
    values[SETTINGS] = build(group, _as_dict(values[SETTINGS]), "the command line", spell=option)
    return kind(**values), list(rest)


def option(key: str) -> str:
    """Return the option that sets `key` of the settings."""
    return "--" + key.replace("_", "-")


def _with_draft(kind: Any, group: type[Settings], default: Any) -> Any:
    """Return `kind` with a draft of its settings.

    The parser gets plain classes of the same fields, for it would tell a value out of range in pydantic's words.
    """
    draft = _draft(group, group() if default is None else getattr(default, SETTINGS))
    words: Any = Annotated[type(draft), tyro.conf.arg(name=""), tyro.conf.FlagConversionOff]
    field = dataclasses.field(default_factory=lambda: draft)
    return dataclasses.make_dataclass(kind.__name__, [(SETTINGS, words, field)], bases=(kind,))


def _draft(group: type[Settings], values: Settings) -> Any:
    """Return a plain copy of settings, of a class whose fields have the settings' help texts."""
    fields: list[tuple[str, Any, Any]] = []
    for name, info in group.model_fields.items():
        value = getattr(values, name)
        if isinstance(value, Settings):
            value = _draft(type(value), value)
            words: Any = type(value)
        else:
            hint = "(default: none)" if value in ((), {}) else None
            told = " ".join((info.description or "").split())  # lines as long as the terminal's, not the file's
            words = Annotated[info.annotation, tyro.conf.arg(help=told, help_behavior_hint=hint)]
            if isinstance(value, dict):
                words = Annotated[words, _PAIRS]
        fields.append((name, words, dataclasses.field(default_factory=partial(_same, value))))
    made = dataclasses.make_dataclass(group.__name__, fields)
    made.__doc__ = group.__doc__
    return made()


def _pairs(words: list[str]) -> dict[str, str]:
    """Read `decoder 10 stem 2`; what follows a name is checked with the settings."""
    if len(words) % 2 or len(set(words[::2])) < len(words) // 2:
        raise ValueError("it takes names, each once and each with its value")
    return dict(zip(words[::2], words[1::2], strict=True))


_PAIRS: Any = tyro.constructors.PrimitiveConstructorSpec(
    nargs="*",
    metavar="[NAME VALUE ...]",
    instance_from_str=_pairs,
    is_instance=lambda value: isinstance(value, dict),
    str_from_instance=lambda value: [str(word) for pair in value.items() for word in pair],
)
"""A dictionary as one option. The parser would make one of each key that is there by default, and allow no other."""


def _same(value: T) -> T:
    return value


def _as_dict(draft: Any) -> dict[str, Any]:
    """Undo `_draft`."""
    values = {field.name: getattr(draft, field.name) for field in dataclasses.fields(draft)}
    return {name: _as_dict(value) if dataclasses.is_dataclass(value) else value for name, value in values.items()}


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
    known = packaged()
    chosen = name.as_posix().removesuffix(".yaml").removeprefix("configs/")
    if chosen in known:
        return known[chosen]
    raise SettingsError(
        "there is no such settings file",
        where=name,
        expected=f"a path, or one of: {', '.join(known)}",
        fix="name the file first, then the options" if str(name).startswith("-") else None,
    )
