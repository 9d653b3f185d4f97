"""Low-rank adaptation of the query and value rows of a fused qkv projection (paper Eq. 1-2)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memorysam.errors import InputError


class LoRAQKV(nn.Linear):
    """A fused projection to (q, k, v) with low-rank deltas on q and v: `q += B_q A_q x`, `v += B_v A_v x`.

    It is the linear layer it adapts: `weight` and `bias` keep their names, so checkpoints of the base model load.
    `A` starts Kaiming-uniform, `B` at zero: at the start the layer computes what the base layer computes.

    Args:
        base: the layer to adapt, `in_features` to `3 * width`; its tensors are taken over.
        rank: of the deltas.
    """

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__(1, 1, device="meta")
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        width = base.out_features // 3
        new = base.weight.new_empty
        self.q_down = nn.Parameter(new(rank, base.in_features))
        self.q_up = nn.Parameter(torch.zeros_like(new(width, rank)))
        self.v_down = nn.Parameter(new(rank, base.in_features))
        self.v_up = nn.Parameter(torch.zeros_like(new(width, rank)))
        for down in (self.q_down, self.v_down):
            nn.init.kaiming_uniform_(down, a=math.sqrt(5))
        self._unmerged: Tensor | None = None

    @property
    def merged(self) -> bool:
        """Whether the deltas are part of `weight`."""
        return self._unmerged is not None

    def forward(self, x: Tensor) -> Tensor:
        """Project `[..., in_features]` to `[..., 3 * width]`."""
        qkv = F.linear(x, self.weight, self.bias)
        if self.merged:
            return qkv
        q, k, v = qkv.chunk(3, dim=-1)
        q = q + F.linear(F.linear(x, self.q_down), self.q_up)
        v = v + F.linear(F.linear(x, self.v_down), self.v_up)
        return torch.cat([q, k, v], dim=-1)

    @torch.no_grad()
    def merge(self) -> None:
        """Add the deltas to `weight`: the same function, at the cost of the base layer alone."""
        if self.merged:
            return
        width = self.out_features // 3
        self._unmerged = self.weight.detach().clone()
        self.weight[:width] += self.q_up @ self.q_down
        self.weight[2 * width :] += self.v_up @ self.v_down

    @torch.no_grad()
    def unmerge(self) -> None:
        """Restore `weight` exactly."""
        if self._unmerged is not None:
            self.weight.copy_(self._unmerged)
            self._unmerged = None


LORA_TENSORS = ("q_down", "q_up", "v_down", "v_up")
"""Names of the tensors that `LoRAQKV` adds to a layer."""


def add_lora(model: nn.Module, rank: int, target: str = "qkv") -> int:
    """Adapt every linear layer called `target` below `model`, in place; return how many there were."""
    found = [
        (parent, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if name == target and isinstance(child, nn.Linear) and not isinstance(child, LoRAQKV)
    ]
    for parent, child in found:
        setattr(parent, target, LoRAQKV(child, rank))
    return len(found)


def lora_layers(model: nn.Module) -> list[LoRAQKV]:
    """Return all adapted layers."""
    return [module for module in model.modules() if isinstance(module, LoRAQKV)]


def merge_lora(model: nn.Module) -> None:
    """Merge every adapted layer. For inference: the merged weights are not what a checkpoint should hold."""
    for layer in lora_layers(model):
        layer.merge()


def unmerge_lora(model: nn.Module) -> None:
    """Undo `merge_lora`, exactly."""
    for layer in lora_layers(model):
        layer.unmerge()


def require_unmerged(model: nn.Module, purpose: str) -> None:
    """Raise where merged weights would be trained or saved.

    Raises:
        InputError: a layer is merged.
    """
    if any(layer.merged for layer in lora_layers(model)):
        raise InputError(
            f"the model's LoRA weights are merged, which would be lost in {purpose}",
            fix="call unmerge_lora(model) first",
        )
