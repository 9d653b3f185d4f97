"""Batch norm over several processes: one set of running statistics."""

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


def running_statistics(model: nn.Module) -> dict[str, Tensor]:
    """Return the running means and variances of a model's batch norms, by name."""
    return {
        f"{name}.{key}": buffer
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm)
        for key, buffer in module.named_buffers(recurse=False)
        if buffer.is_floating_point()
    }


@torch.no_grad()
def share_statistics(model: nn.Module) -> None:
    """Average the running statistics over all ranks, which each saw other samples, so that all ranks score one model.

    To be called after every step, whatever else happens there: then a resumed run repeats it bit for bit.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return
    tensors = list(running_statistics(model).values())
    if not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))
