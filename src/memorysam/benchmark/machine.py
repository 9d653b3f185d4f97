"""What the machine is, and what it can do at most: measured in the same run as everything that is compared with it."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from memorysam.benchmark.timing import Call, alone, fastest

SIDES = (2048, 4096)
"""Of the square matrices whose product is timed."""
COPIED = 2**28
"""Bytes that are copied."""
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def describe(device: torch.device) -> dict[str, Any]:
    """Say what everything was measured on."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cuda = device.type == "cuda"
    return {
        "device": device.type,
        "cpu": _cpu_name(),
        "cores": threads,
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "memory_bytes": _memory(),
        "gpu": torch.cuda.get_device_name(device) if cuda else None,
        "gpu_memory_bytes": torch.cuda.get_device_properties(device).total_memory if cuda else None,
        "blas": _blas(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def limits(device: torch.device, precisions: Sequence[str]) -> dict[str, Any]:
    """Measure the rate of matrix products in each precision, and of copies.

    Returns:
        For each precision `flops_per_s`, with the `way` and the `side` at which it was reached; `copy_bytes_per_s`,
        reading and writing together.
    """
    found: dict[str, Any] = {}
    for precision in precisions:
        best: dict[str, Any] = {"flops_per_s": 0.0}
        for side in SIDES:
            x, weight = (torch.randn(side, side, device=device, dtype=TYPES[precision]) for _ in range(2))
            with torch.inference_mode():
                way, seconds = fastest(product_ways(x, weight), device)
            if 2 * side**3 / seconds > best["flops_per_s"]:
                best = {"flops_per_s": 2 * side**3 / seconds, "way": way, "side": side}
        found[precision] = best
    return {**found, "copy_bytes_per_s": copy_rate(device)}


def copy_rate(device: torch.device) -> float:
    """Measure the bytes per second of copies, reading and writing together."""
    source = torch.zeros(COPIED, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / alone(lambda: target.copy_(source), device)


def product_ways(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> dict[str, Call]:
    """Return the ways that PyTorch has to multiply rows `[N, in]` with weights `[out, in]`.

    On a CPU, `F.linear` leads to MKL in float32, and a 1x1 convolution over channels-last data to oneDNN.
    """
    ways: dict[str, Call] = {"F.linear": lambda: F.linear(x, weight, bias)}
    if x.device.type == "cpu":
        image = x.reshape(1, len(x), 1, x.shape[1]).permute(0, 3, 1, 2)
        kernel = weight[:, :, None, None]
        ways["1x1 convolution, channels last"] = lambda: F.conv2d(image, kernel, bias)
    return ways


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _blas() -> str:
    parts = [("MKL", torch.backends.mkl.is_available()), ("oneDNN", torch.backends.mkldnn.is_available())]  # type: ignore[no-untyped-call]
    return ", ".join(name for name, there in parts if there) or "unknown"
