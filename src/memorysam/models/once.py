"""What follows from tensors that do not change: made once, and anew when they do."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

Made = TypeVar("Made")


def made_once(owner: nn.Module, name: str, tensors: Sequence[Tensor], make: Callable[[], Made], *more: object) -> Made:
    """Return what `make` makes of `tensors`; it is kept with `owner`, beside its parameters and never saved.

    Of tensors that may train it is made in every call: PyTorch's fused optimizers change them without a new version.

    Args:
        owner: that keeps it.
        name: under which it is kept.
        tensors: of which it is made; a change of any is noticed by its version and its place in memory.
        make: makes it.
        more: what else it depends on.
    """
    learns = any(tensor.requires_grad for tensor in tensors)
    traced = torch.compiler.is_compiling() or any(type(tensor) not in (Tensor, nn.Parameter) for tensor in tensors)
    if learns or traced or any(tensor.is_inference() for tensor in tensors):
        return make()
    mixed = torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")
    state = (more, mixed, [(tensor.data_ptr(), tensor._version, tensor.dtype, tensor.device) for tensor in tensors])
    kept = owner.__dict__.get(name)
    if kept is None or kept[0] != state:
        with torch.inference_mode(False), torch.no_grad():  # it may serve later calls that learn something else
            fresh = make()
        if any(type(leaf) is not Tensor for leaf in tree_leaves(fresh)):  # a stand-in, of who traces this
            return fresh
        owner.__dict__[name] = kept = (state, fresh)
    made: Made = kept[1]
    return made
