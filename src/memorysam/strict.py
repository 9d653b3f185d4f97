"""Strict reading: a YAML file with nothing executable in it, and values into typed settings.

Whatever is wrong becomes one error that names the place, what was expected, and the nearest known key.
"""

import reprlib
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from memorysam.errors import SettingsError, did_you_mean

# Dates and numbers that are none, and lists too deep, fail in ways of their own.
_NO_YAML = (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
_MOST_VALUES = 200_000
"""How many values a file may stand for. Aliases of aliases make billions of a few lines."""

_TOO_MANY = f"aliases in it stand for more than {_MOST_VALUES} values"
T = TypeVar("T", bound=BaseModel)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping; tags, duplicate keys and anything executable are errors.

    Raises:
        SettingsError: no such file, not YAML, not a mapping, or aliases that stand for more than fits into memory.
    """
    if not path.is_file():
        raise SettingsError("there is no such file", where=path, fix="give the path of a YAML file")
    try:
        # A subclass of the safe loader: it builds plain data only.
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506
    except OSError as error:
        raise SettingsError(f"this file cannot be read: {error.strerror}", where=path) from None
    except _NO_YAML as error:
        raise SettingsError(
            "this file is not valid YAML", where=path, expected="plain settings", fix=_shorten(str(error))
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError("this file does not hold settings", where=path, expected="lines of the form key: value")
    return content


def build(kind: type[T], values: Mapping[str, Any], where: object, spell: Callable[[str], str] | None = None) -> T:
    """Validate `values` into a `kind`.

    Args:
        kind: of settings.
        values: of its fields.
        where: they come from.
        spell: how a key is written there, if not as in a file.

    Raises:
        SettingsError: the first wrong key or value, with its place, what was expected and the nearest known key.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise _explain(kind, error, where, spell or (lambda key: f"key {key!r}")) from None


def _explain(
    kind: type[BaseModel], error: ValidationError, where: object, spell: Callable[[str], str]
) -> SettingsError:
    """Turn pydantic's report into one message about its first entry."""
    entries = error.errors(include_url=False)
    entry = entries[0]
    key = ".".join(str(part) for part in entry["loc"])
    more = f" (and {len(entries) - 1} more)" if len(entries) > 1 else ""
    place = f"{where}, {spell(key)}" if key else str(where)
    if entry["type"] == "extra_forbidden":
        known = _known_keys(kind, entry["loc"][:-1])
        return SettingsError(
            f"unknown setting {key!r}{more}", where=where, fix=did_you_mean(str(entry["loc"][-1]), known)
        )
    if entry["type"] == "missing":
        return SettingsError(f"setting {key!r} is missing{more}", where=where, fix=f"add {key}: ...")
    message = entry["msg"].removeprefix("Value error, ")
    return SettingsError(f"wrong value {reprlib.repr(entry['input'])}{more}", where=place, expected=message)


def _shorten(text: str) -> str:
    return text if len(text) <= 1000 else f"{text[:1000]} ..."


def _count(node: yaml.Node, counts: dict[int, int]) -> int:
    """Return how many values a node stands for, those of its aliases as often as they are named."""
    if id(node) not in counts:
        counts[id(node)] = _MOST_VALUES + 1  # until it is known: what contains itself has no end
        inner = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = (part for entry in inner for part in (entry if isinstance(entry, tuple) else (entry,)))
        counts[id(node)] = 1 + sum(_count(part, counts) for part in parts)
    return counts[id(node)]


def _known_keys(kind: Any, path: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the model at `path` below `kind` knows."""
    for part in path:
        field = getattr(kind, "model_fields", {}).get(part)
        if field is None:
            return []
        kind = field.annotation
    return [field.alias or name for name, field in getattr(kind, "model_fields", {}).items()]


class _StrictLoader(yaml.SafeLoader):
    """The safe loader, except that keys given twice, tags, zero bytes, and aliases without end are errors."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _count(node, {}) > _MOST_VALUES:
            raise yaml.constructor.ConstructorError(None, None, _TOO_MANY, node.start_mark)
        return node

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(None, None, f"the tag {event.tag!r} has no place here", event.start_mark)
        return super().compose_node(parent, index)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str) and "\0" in value:
            raise yaml.constructor.ConstructorError(None, None, "a zero byte in words", node.start_mark)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep)
