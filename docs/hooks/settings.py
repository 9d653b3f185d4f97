"""The page of all settings, made of the typed tree that reads them: name, default, values, what it does."""

from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from memorysam.config import RunSettings

HEAD = """# Settings

A settings file is YAML with what differs from the defaults; every setting can be changed on the command line by its
name, such as `memorysam train my.yaml --train.lr 1e-4`. An unknown name or a value of the wrong kind ends the command
with a message that names it.

This page is made of the code that reads them, `memorysam.config`.
"""
_NAMES = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path", NoneType: "none"}
_BOUNDS = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    files.append(File.generated(config, "settings.md", content=HEAD + "\n".join(_group("", RunSettings, 2))))
    return files


def _group(prefix: str, group: type[BaseModel], level: int) -> list[str]:
    """Return a list of definitions, with an anchor for each setting; groups within the group come last.

    Signatures of the API link to a group by the name of its class.
    """
    lines: list[str] = []
    deeper: list[str] = []
    for name, field in group.model_fields.items():
        path, kind = f"{prefix}{name}", field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            about = " ".join((kind.__doc__ or "").split())
            deeper += ["", f"[](){{#{kind.__module__}.{kind.__name__}}}", "", f"{'#' * level} {path}", "", about, ""]
            deeper += _group(f"{path}.", kind, min(level + 1, 4))
        else:
            values = " ".join([_kind(kind), *_bounds(field.metadata)])
            given = f"<small>{values}; default `{_default(field)}`</small>"
            lines += ["", f"<span id='{path}'></span>`{path}` {given}", f":   {_words(field)}"]
    return lines + deeper


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, tuple):
        value = list(value)
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _kind(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is None:
        return _NAMES[kind]
    if origin is Annotated:
        return " ".join([_kind(parts[0]), *_bounds(parts[1:])])
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin is tuple:
        inner = list(dict.fromkeys(_kind(part) for part in parts if part is not ...))
        return f"{'list' if ... in parts else f'{len(parts)} values'} ({', '.join(inner)})"
    if origin is dict:
        return f"{_kind(parts[0])}: {_kind(parts[1])}"
    return " or ".join(dict.fromkeys(_kind(part) for part in parts))


def _bounds(metadata: Any) -> list[str]:
    """Return what a number must keep to, in words."""
    said = []
    for one in metadata:
        said += _bounds(getattr(one, "metadata", ()))
        said += [f"{word} {getattr(one, key):g}" for key, word in _BOUNDS.items() if hasattr(one, key)]
    return said


def _words(field: FieldInfo) -> str:
    return " ".join((field.description or "").split()).replace("{", "&#123;").replace("<", "&lt;")
