"""Values from one process to another; their arrays in anonymous memory, whose descriptor goes through the connection.

Nothing lies in /dev/shm, which containers often limit to 64 MB: a process that writes more into it dies of a bus error.
Where there is no anonymous memory (it is Linux's `memfd_create`), arrays go through the connection itself.
"""

import io
import mmap
import os
import pickle
from collections.abc import Sequence
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

_ALIGN = 64


class _Pickler(pickle.Pickler):
    """Leaves the values of arrays and tensors out of the pickle, in buffers beside it."""

    def reducer_override(self, value: Any) -> Any:
        """Take tensors for the arrays that they are."""
        return (torch.from_numpy, (value.numpy(),)) if isinstance(value, Tensor) else NotImplemented


def give(theirs: "Connection[Any, Any]", value: Any) -> None:
    """Send a value; its arrays in anonymous memory where the system has that, else with it."""
    stream = io.BytesIO()
    buffers: list[pickle.PickleBuffer] = []
    _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(value)
    views = [buffer.raw() for buffer in buffers]
    descriptor = _in_memory(views) if views else None
    if descriptor is None:
        theirs.send((stream.getvalue(), None, [bytearray(view) for view in views]))
        return
    try:
        theirs.send((stream.getvalue(), [view.nbytes for view in views], None))
        reduction.send_handle(theirs, descriptor, 0)
    finally:
        os.close(descriptor)


def _in_memory(views: Sequence[memoryview]) -> int | None:
    """Write buffers one after the other into anonymous memory; None where there is none to be had."""
    try:
        descriptor = os.memfd_create("memorysam")
    except (AttributeError, OSError):  # not Linux, or forbidden
        return None
    try:
        with open(descriptor, "wb", closefd=False) as file:
            for view in views:
                file.write(view)
                file.write(bytes(-view.nbytes % _ALIGN))
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def take(ours: "Connection[Any, Any]") -> Any:
    """Receive what `give` sent; arrays stay where they are."""
    content, sizes, buffers = ours.recv()
    if sizes is not None:
        descriptor = reduction.recv_handle(ours)
        try:
            buffers = _mapped(descriptor, sizes)
        finally:
            os.close(descriptor)
    return pickle.loads(content, buffers=buffers)  # noqa: S301  from a process of our own


def _mapped(descriptor: int, sizes: Sequence[int]) -> list[memoryview]:
    """Return the buffers that lie in anonymous memory; it is freed with the last array that uses it."""
    total = os.fstat(descriptor).st_size
    if not total:
        return [memoryview(bytearray()) for _ in sizes]
    populate = getattr(mmap, "MAP_POPULATE", 0)
    memory = memoryview(mmap.mmap(descriptor, total, mmap.MAP_SHARED | populate))
    views, start = [], 0
    for size in sizes:
        views.append(memory[start : start + size])
        start += size + -size % _ALIGN
    return views
