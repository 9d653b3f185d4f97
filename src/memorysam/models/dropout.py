"""Dropout at the speed of the machine.

On the CPU, PyTorch draws each element's number by itself. Four numbers of 16 bits from each draw of 64 do as well.

Masks come from a seed that is drawn from the global generator, so that a saved generator repeats them.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_STEPS = 1 << 16


def draw_seed() -> int:
    """Return a seed for `keep_mask`, from the global generator of the CPU."""
    return int(torch.randint(1 << 62, ()).item())


def keep_mask(shape: torch.Size, p: float, seed: int, dtype: torch.dtype) -> Tensor:
    """Return, on the CPU, `1 / (1 - p)` for what is kept and 0 for what is dropped; `p` is met to 1/65536."""
    generator = torch.Generator().manual_seed(seed)
    count = math.prod(shape)
    draws = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(1 << 63), None, generator=generator)
    numbers = draws.view(torch.int16)[:count].view(shape)  # from -32768
    dropped = round(p * _STEPS)
    return (numbers >= dropped - _STEPS // 2).to(dtype).mul_(_STEPS / (_STEPS - dropped))


class FastDropout(nn.Dropout):
    """Dropout by `keep_mask`."""

    def forward(self, x: Tensor) -> Tensor:
        """Drop a share of the elements in training, and scale the others up for it."""
        if not self.training or self.p == 0.0:
            return x
        if x.device.type != "cpu" or self.p == 1.0 or torch.compiler.is_compiling():
            return F.dropout(x, self.p, training=True)
        return x * keep_mask(x.shape, self.p, draw_seed(), x.dtype)


def speed_up_dropout(model: nn.Module) -> int:
    """Let every plain dropout of a model be computed by `keep_mask`, in place; return how many there are."""
    found = [module for module in model.modules() if type(module) is nn.Dropout]
    for module in found:
        module.__class__ = FastDropout
    return len(found)
