"""The page of all settings, made of the typed tree that reads them: name, default, what it does."""

from typing import Any, get_args, get_origin

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


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    files.append(File.generated(config, "settings.md", content=HEAD + "\n".join(_group("", RunSettings, 2))))
    return files


def _group(prefix: str, group: type[BaseModel], level: int) -> list[str]:
    lines: list[str] = []
    rows: list[str] = []
    deeper: list[str] = []
    for name, field in group.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            about = " ".join((kind.__doc__ or "").split())
            deeper += ["", f"{'#' * level} {prefix}{name}", "", about, ""]
            deeper += _group(f"{prefix}{name}.", kind, min(level + 1, 4))
        else:
            rows.append(f"| `{prefix}{name}` | {_cell(_default(field))} | {_cell(_kind(kind))} | {_words(field)} |")
    if rows:
        lines += ["", "| setting | default | values | what it does |", "| --- | --- | --- | --- |", *rows]
    return lines + deeper


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, tuple):
        value = list(value)
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _kind(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is None:
        return {"int": "whole number", "float": "number", "str": "text", "bool": "true, false", "NoneType": "none"}.get(
            getattr(kind, "__name__", ""), getattr(kind, "__name__", str(kind)).lower()
        )
    if getattr(origin, "__name__", "") == "Annotated":
        return _kind(parts[0])
    if getattr(origin, "__name__", "") == "Literal" or str(origin) == "typing.Literal":
        return ", ".join(map(str, parts))
    if origin in (tuple, list):
        inner = [_kind(part) for part in parts if part is not ...]
        return "list of " + ", ".join(dict.fromkeys(inner))
    if origin is dict:
        return f"{_kind(parts[0])}: {_kind(parts[1])}"
    return " or ".join(dict.fromkeys(_kind(part) for part in parts))


def _words(field: FieldInfo) -> str:
    return " ".join((field.description or "").split()).replace("|", "\\|").replace("{", "&#123;").replace("<", "&lt;")


def _cell(text: str) -> str:
    return f"`{text}`".replace("|", "\\|") if text else ""
