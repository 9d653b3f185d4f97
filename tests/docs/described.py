"""Blocks of YAML and JSON: read by what reads such files, and held against what is written."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from memorysam.config import RunSettings
from memorysam.data.check import check as look
from memorysam.data.folders import FolderDataset
from memorysam.errors import MemorySAMError
from memorysam.strict import build, read_yaml

from .blocks import ROOT, Block
from .stage import Stage
from .standins import described


def check(block: Block, stage: Stage) -> None:
    """Put a block where its title says and read it: settings as settings; of data, files are made and looked at too."""
    place = stage.home / (block.title or f"untitled/{block.line}/file.yaml")
    place.parent.mkdir(parents=True, exist_ok=True)
    if block.title and (ROOT / block.title).exists():
        here, there = yaml.safe_load(block.text), yaml.safe_load((ROOT / block.title).read_text())
        assert here == there, f"{block.at()}: {block.title} says something else"
    place.write_text(block.text)
    try:
        values = read_yaml(place)
        if "modalities" in values:
            _data(place, block, stage)
        else:
            build(RunSettings, values, block.at())
    except MemorySAMError as error:
        raise AssertionError(f"{block.at()}: {error}") from error


def _data(place: Path, block: Block, stage: Stage) -> None:
    if block.title:
        stage.provide([block.title])
    root = stage.home / "untitled" / str(block.line) / "data"
    described(place, root)
    report = look(FolderDataset.load(place, root))
    assert report.clean, f"{block.at()}: {report.text()}"


GAP = "..."


def with_gaps(block: Block) -> Any:
    """Read JSON in which `...` says that there is more."""
    text = re.sub(r"(?<=[,{\s])\.\.\.(?=\s*\})", f'"{GAP}": 0', block.text)
    text = re.sub(r"(?<=[,\[\s])\.\.\.(?=\s*\])", f'"{GAP}"', text)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise AssertionError(f"{block.at(error.lineno - 1)}: this is no JSON: {error.msg}") from None


def same_shape(said: Any, real: Any, where: str, path: str = "") -> None:
    """Raise where one has a key that the other lacks, or a value of another kind; `...` stands for any others."""
    if isinstance(said, dict) and isinstance(real, dict):
        lacking = sorted(set(said) - {GAP} - set(real))
        assert not lacking, f"{where}: there is no {path}{lacking[0]}"
        more = set() if GAP in said else set(real) - set(said)
        assert not more, f"{where}: {path}{min(more)} is left out"
        for key in set(said) - {GAP}:
            same_shape(said[key], real[key], where, f"{path}{key}.")
    elif isinstance(said, list) and isinstance(real, list):
        for one, other in zip([one for one in said if one != GAP], real, strict=False):
            same_shape(one, other, where, f"{path}[].")
    else:
        numbers = isinstance(said, int | float) and isinstance(real, int | float)
        same = numbers or type(said) is type(real) or None in (said, real)
        assert same, f"{where}: {path[:-1]} is {real!r}, no {type(said).__name__}"
