"""Making a model fast for what it is about to do, without changing what it computes."""

import ctypes
import sys

import torch

from memorysam.models.base import SegmentationModel
from memorysam.models.lora import merge_lora

_ANGLES = ("positional_embedding", "inv_freq")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # of glibc's malloc.h


def for_inference(model: SegmentationModel, precision: str = "fp32") -> SegmentationModel:
    """Prepare a model, in place, for predictions and nothing else: it must neither be trained nor saved afterwards.

    Args:
        model: on its device.
        precision: fp32, or bf16 for weights and activations of bfloat16.
    """
    keep_freed_memory()
    merge_lora(model)
    model.eval().requires_grad_(False)  # so that what follows from the weights is made once
    return to_bfloat16(model) if precision == "bf16" else model


def for_training(model: SegmentationModel) -> SegmentationModel:
    """Prepare a model, in place, for training."""
    keep_freed_memory()
    return model


def to_bfloat16(model: SegmentationModel) -> SegmentationModel:
    """Convert weights in place, except those that positions are computed from: their angles need more digits."""
    exact = {name: buffer.clone() for name, buffer in model.named_buffers() if any(part in name for part in _ANGLES)}
    model.to(torch.bfloat16)
    for name, buffer in exact.items():
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, buffer)
    return model


def keep_freed_memory() -> None:
    """Let the process keep large blocks that it has freed, for the next activations of the same size.

    By default glibc gives blocks above 32 MB back to the system at once, and a layer's output is then fetched anew,
    page by page, each time: on a CPU that is slower than computing it. Nothing happens but on Linux with glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return
    if not mallopt(_M_MMAP_THRESHOLD, 1 << 30):  # some versions allow no more than 32 MB
        mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
