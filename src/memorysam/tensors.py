"""A container of tensors: one safetensors file with a JSON header and a digest over both."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from memorysam.errors import WeightsError
from memorysam.files import write_atomically

_KEY, _DIGEST = "memorysam", "sha256"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors with a JSON header and a SHA-256 digest over both, atomically, as one safetensors file."""
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in sorted(tensors.items())}
    text = json.dumps(header, sort_keys=True)
    metadata = {_KEY: text, _DIGEST: digest(plain, text)}

    def write(temporary: Path) -> None:
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file(plain, temporary, metadata=metadata)
        temporary.chmod(mode)  # safetensors would leave a file that nobody else of a group can read

    write_atomically(path, write)


def read_header(path: Path) -> dict[str, Any] | None:
    """Return the header of a file of `write_tensors`, or None for another safetensors file.

    Raises:
        WeightsError: no readable safetensors file.
    """
    with _open(path) as file:
        metadata = file.metadata() or {}
    return _parse(path, metadata[_KEY]) if _is_ours(metadata, path) else None


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Return the tensors and the header (None for another safetensors file), after checking the digest.

    Raises:
        WeightsError: not readable, truncated, or changed since it was written.
    """
    with _open(path) as file:
        metadata = file.metadata() or {}
        try:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, RuntimeError, TypeError) as error:  # a type of numbers that PyTorch does not have
            raise WeightsError(f"the tensors of this file cannot be read: {error}", where=path) from None
    if not _is_ours(metadata, path):
        return tensors, None
    if metadata[_DIGEST] != digest(tensors, metadata[_KEY]):
        raise _changed(path)
    return tensors, _parse(path, metadata[_KEY])


def _open(path: Path) -> Any:
    if not path.is_file():
        raise WeightsError("there is no such file", where=path)
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            "this is not a whole safetensors file", where=path, expected="a checkpoint that was written to its end",
            fix=f"use another copy ({error})",
        ) from None  # fmt: skip


def _is_ours(metadata: Mapping[str, str], path: Path) -> bool:
    if (_KEY in metadata) != (_DIGEST in metadata):
        raise _changed(path)
    return _KEY in metadata


def _changed(path: Path) -> WeightsError:
    return WeightsError(
        "this checkpoint has changed since it was written: its digest does not match",
        where=path,
        fix="use another copy, or the previous checkpoint of the run",
    )


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise WeightsError("the header of this checkpoint is damaged", where=path, fix="use another copy")
    return header


def digest(tensors: Mapping[str, Tensor], header: str = "") -> str:
    """Return the SHA-256, in hexadecimal, over a text and over the names, types, shapes and values of tensors."""
    found = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
