"""Files that are either whole or not there: atomic writes, and what the system says against them in our words."""

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from safetensors import SafetensorError

from memorysam.errors import MemorySAMError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
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
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def write_json(path: Path, content: object) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def remove_leftovers(folder: Path) -> list[Path]:
    """Delete temporary files that an interrupted write left in `folder`; return what was deleted."""
    # safetensors writes into one of its own, which it names .tmp and six letters.
    leftovers = [path for pattern in (".*.tmp", ".tmp??????") for path in folder.glob(pattern) if path.is_file()]
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


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk. Folders cannot be opened on Windows; there the rename is all there is."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
