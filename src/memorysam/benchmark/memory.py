"""The most memory that a call needs at once, beyond what is there before it."""

import ctypes
import ctypes.util
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from memorysam.benchmark.timing import Call, synchronize

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Followed(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the memory of all tensors that operations inside make, from there to where it is freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        """Bytes: there now, or already freed without that having been noticed; the most at once."""
        self._there: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note what an operation makes; what it returns in the memory of its inputs is nothing new."""
        result = self.run(func, args, kwargs or {})
        made = {t.untyped_storage()._cdata: t for t in tensors_in(result)}
        if made:
            for given in tensors_in((args, kwargs)):
                made.pop(given.untyped_storage()._cdata, None)
        for key, tensor in made.items():
            if key not in self._there:  # a weak reference keeps its key from being used again
                storage = tensor.untyped_storage()
                self._there[key] = (StorageWeakRef(storage), storage.nbytes())  # type: ignore[no-untyped-call]
                self.now += storage.nbytes()
        if self.now > self.peak:
            self.peak = max(self.peak, self.left())
        return result

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Compute an operation."""
        return func(*args, **kwargs)

    def left(self) -> int:
        """Return the bytes that are still there."""
        gone = [key for key, (reference, _) in self._there.items() if reference.expired()]  # type: ignore[no-untyped-call]
        for key in gone:
            self.now -= self._there.pop(key)[1]
        return self.now


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors of what operations take and return: PyTorch's own way through trees is many times slower."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def peak(call: Call, device: torch.device) -> int:
    """Return the bytes by which the memory of tensors grows at most during a call, on either device.

    On a GPU as PyTorch's allocator counts it; on a CPU by following each piece, compiled regions run as written.
    """
    gc.collect()
    if device.type != "cuda":
        followed = Followed()
        with torch.compiler.set_stance("force_eager"), followed:
            call()
        return followed.peak
    synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    synchronize(device)
    return int(torch.cuda.max_memory_allocated(device)) - before


def resident(call: Call, device: torch.device) -> int | None:
    """Return the bytes by which the process grows at most during a call that works on the CPU, as the system counts.

    That includes what libraries take for themselves, and what freed blocks leave between those in use.

    Returns:
        None on a GPU, and where the system does not tell.
    """
    gc.collect()
    _give_back()
    if device.type == "cuda" or not _reset_peak():
        return None
    before = _pages("VmRSS")
    call()
    return max(0, _pages("VmHWM") - before)


def _give_back() -> None:
    """Return freed memory to the system, where the C library knows how: it would hide what the next call needs."""
    trim = getattr(ctypes.CDLL(ctypes.util.find_library("c")), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _reset_peak() -> bool:
    """Let the system's record of the most pages start anew."""
    try:
        _RESET.write_text("5", encoding="ascii")
    except OSError:
        return False
    return _pages("VmHWM") > 0


def _pages(key: str) -> int:
    for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return 0
