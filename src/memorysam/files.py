"""Files that are either whole or not there: atomic writes, and a container of tensors with a header and a digest."""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from memorysam.errors import MemorySAMError, WeightsError

_KEY, _DIGEST = "memorysam", "sha256"


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step, durably.

    A reader sees the old file or the new one, also after a crash or a power cut. The temporary file lies in the target
    folder, because a rename across file systems is a copy.

    Raises:
        MemorySAMError: the folder cannot be written or the disk is full; the old file is then untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with writing_to(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write(temporary)
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def append_line(path: Path, line: str) -> None:
    """Add a line to a text file; not atomic, a reader must expect a last line that is cut off.

    Raises:
        MemorySAMError: it cannot be written.
    """
    with writing_to(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def make_folder(path: Path) -> None:
    """Create a folder and those above it; one that is there is fine.

    Raises:
        MemorySAMError: it cannot be created.
    """
    with writing_to(path):
        path.mkdir(parents=True, exist_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomically(path, lambda temporary: _write_all(temporary, text))


def write_json(path: Path, content: object) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors with a JSON header and a SHA-256 digest over both, atomically, as one safetensors file."""
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in sorted(tensors.items())}
    text = json.dumps(header, sort_keys=True)
    metadata = {_KEY: text, _DIGEST: _digest(plain, text)}
    write_atomically(path, lambda temporary: save_file(plain, temporary, metadata=metadata))


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
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if not _is_ours(metadata, path):
        return tensors, None
    if metadata[_DIGEST] != _digest(tensors, metadata[_KEY]):
        raise _changed(path)
    return tensors, _parse(path, metadata[_KEY])


def remove_leftovers(folder: Path) -> list[Path]:
    """Delete temporary files that an interrupted write left in `folder`; return what was deleted."""
    leftovers = [path for path in folder.glob(".*.tmp") if path.is_file()]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return leftovers


@contextlib.contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn what the system says against writing `path` into a message.

    Raises:
        MemorySAMError: it cannot be written, or the disk is full.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "os error 28" in str(error)
        raise MemorySAMError(
            "no space left on the disk" if full else f"this cannot be written: {error}",
            where=path,
            fix="free some space or choose another folder; what was saved before is still there",
        ) from None


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
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise WeightsError("the header of this checkpoint is damaged", where=path, fix="use another copy")
    return header


def _digest(tensors: Mapping[str, Tensor], header: str) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _write_all(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk. Folders cannot be opened on Windows; there the rename is all there is."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
