"""Low-rank adaptation of the query and value rows of a fused qkv projection (paper Eq. 1-2)."""

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from memorysam.errors import InputError
from memorysam.models.linear import linear, weights_in


class _AdaptedLinear(nn.Linear):
    """The linear layer it adapts: `weight` and `bias` keep their names, so checkpoints of the base model load."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__(1, 1, device="meta")
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias

    @property
    def width(self) -> int:
        """Number of channels of q, of k and of v."""
        return self.out_features // 3


class Deltas(nn.Module):
    """Low-rank deltas of q and v; `A` (down) starts Kaiming-uniform, `B` (up) at zero: no difference at the start."""

    q_down: nn.Parameter
    q_up: nn.Parameter
    v_down: nn.Parameter
    v_up: nn.Parameter

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        fill_with_deltas(self, base, rank)


def fill_with_deltas(module: "Deltas | LoRAQKV", base: nn.Linear, rank: int) -> None:
    """Give a module the four matrices, named as in `LORA_TENSORS`."""
    width = base.out_features // 3
    new = base.weight.new_empty
    module.q_down = nn.Parameter(new(rank, base.in_features))
    module.q_up = nn.Parameter(torch.zeros_like(new(width, rank)))
    module.v_down = nn.Parameter(new(rank, base.in_features))
    module.v_up = nn.Parameter(torch.zeros_like(new(width, rank)))
    for down in (module.q_down, module.v_down):
        nn.init.kaiming_uniform_(down, a=math.sqrt(5))


def apply_deltas(qkv: Tensor, x: Tensor, deltas: "Deltas | LoRAQKV") -> Tensor:
    """Return `[..., 3 * width]` with `q += B_q A_q x` and `v += B_v A_v x`."""
    q, k, v = qkv.chunk(3, dim=-1)
    down = torch.cat([deltas.q_down, deltas.v_down]).to(x.dtype)
    q_low, v_low = linear(x, down).chunk(2, dim=-1)
    q = q + linear(q_low, deltas.q_up.to(x.dtype))
    v = v + linear(v_low, deltas.v_up.to(x.dtype))
    return torch.cat([q, k, v], dim=-1)


class LoRAQKV(_AdaptedLinear):
    """A fused projection to (q, k, v) with low-rank deltas on q and v.

    Args:
        base: the layer to adapt, `in_features` to `3 * width`; its tensors are taken over.
        rank: of the deltas.
    """

    q_down: nn.Parameter
    q_up: nn.Parameter
    v_down: nn.Parameter
    v_up: nn.Parameter

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__(base)
        fill_with_deltas(self, base, rank)
        self._unmerged: Tensor | None = None

    @property
    def merged(self) -> bool:
        """Whether the deltas are part of `weight`."""
        return self._unmerged is not None

    def forward(self, x: Tensor) -> Tensor:
        """Project `[..., in_features]` to `[..., 3 * width]`."""
        qkv = linear(x, *weights_in(self, x.dtype))
        return qkv if self.merged else apply_deltas(qkv, x, self)

    @torch.no_grad()
    def merge(self) -> None:
        """Add the deltas to `weight`: the same function, at the cost of the base layer alone."""
        if self.merged:
            return
        width = self.width
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


class LoRAExperts(_AdaptedLinear):
    """The same with one set of deltas per expert: equal shares of the batch go to the experts that are selected.

    Args:
        base: the layer to adapt.
        rank: of the deltas.
        names: of the experts.
    """

    def __init__(self, base: nn.Linear, rank: int, names: Sequence[str]) -> None:
        super().__init__(base)
        self.experts = nn.ModuleDict({name: Deltas(base, rank) for name in names})
        self.selected: tuple[str, ...] = tuple(names)

    def forward(self, x: Tensor) -> Tensor:
        """Project `[M * N, ..., in_features]`; share `m` of the first dimension belongs to the m-th selected expert."""
        qkv = linear(x, *weights_in(self, x.dtype))
        parts = (whole.reshape(len(self.selected), -1, *whole.shape[1:]).unbind() for whole in (qkv, x))
        shares = zip(*parts, self.selected, strict=True)
        experts = {name: cast("Deltas", self.experts[name]) for name in self.selected}
        return torch.cat([apply_deltas(base, own, experts[name]) for base, own, name in shares])


def add_lora(model: nn.Module, rank: int, target: str = "qkv") -> int:
    """Adapt every linear layer called `target` below `model`, in place; return how many there were."""
    return _adapt(model, target, lambda base: LoRAQKV(base, rank))


def add_experts(model: nn.Module, rank: int, names: Sequence[str], target: str = "qkv") -> int:
    """Adapt every linear layer called `target` with one expert per name, in place; return how many there were."""
    return _adapt(model, target, lambda base: LoRAExperts(base, rank, names))


def select_experts(model: nn.Module, names: Sequence[str]) -> None:
    """Let the next batches consist of one share per name, in this order."""
    for module in model.modules():
        if isinstance(module, LoRAExperts):
            module.selected = tuple(names)


def _adapt(model: nn.Module, target: str, make: Callable[[nn.Linear], nn.Linear]) -> int:
    found = [
        (parent, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if name == target and isinstance(child, nn.Linear) and not isinstance(child, _AdaptedLinear)
    ]
    for parent, child in found:
        setattr(parent, target, make(child))
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
