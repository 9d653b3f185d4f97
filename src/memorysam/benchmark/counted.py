"""The memory of a training step on a GPU, counted without one.

The step runs on tensors that have shapes and no values. Every piece of memory that PyTorch would take is noted, and
when it would be freed; the most that is there at once is the peak. What the GPU's libraries take, and what lies between
blocks, is not counted. Attention counts as the fused kernels do it, and bf16 as autocast on a GPU does it.
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from memorysam.benchmark.shapes import Shapes
from memorysam.models import tune
from memorysam.models.base import SegmentationModel


@dataclass(frozen=True)
class Need:
    """Bytes."""

    held: int
    """Weights, and two moments of each that trains."""
    step: int
    """The most that a step needs beyond them: what the forward pass keeps, gradients, intermediate results."""

    @property
    def total(self) -> int:
        """Both."""
        return self.held + self.step


def training_step(model: SegmentationModel, batch: int, precision: str = "fp32", checkpointing: bool = False) -> Need:
    """Count a training step with AdamW.

    Args:
        model: on any device; it is left as it is.
        batch: samples in one forward pass.
        precision: fp32, or bf16 for mixed precision.
        checkpointing: whether activations are computed again in the backward pass.
    """
    shadow = tune.for_training(deepcopy(model).to("meta")).train()
    shadow.recompute_activations(checkpointing)
    height, width = model.task.image_size
    images = {m.name: torch.zeros(batch, m.channels, height, width, device="meta") for m in model.task.modalities}
    labels = torch.zeros(batch, height, width, dtype=torch.long, device="meta")
    trained = [p for p in shadow.parameters() if p.requires_grad]
    held = _bytes([*shadow.parameters(), *shadow.buffers()]) + 2 * _bytes(trained)
    autocast = precision == "bf16"
    with _meta_knows_autocast(autocast), Shapes() as memory:
        with AsOnAGPU(autocast):
            output = shadow(images)
        # Which pixels are hard is not known; keeping all of them takes as much.
        loss = F.cross_entropy(output.at((height, width)), labels)
        loss = loss + sum(shadow.training_losses(output, labels).values())
        one = torch.ones_like(loss)
        with AsOnAGPU(autocast):  # what is computed again is so in the same way; `loss.backward()` would leave the mode
            engine: Any = torch.autograd.Variable._execution_engine
            engine.run_backward((loss,), (one,), False, False, (), allow_unreachable=True, accumulate_grad=True)
    return Need(held, memory.peak)


class AsOnAGPU(TorchFunctionMode):
    """Lets tensors without values be computed as on a GPU: attention and dropout by its kernels, autocast if asked for.

    Args:
        autocast: to bfloat16.
    """

    def __init__(self, autocast: bool) -> None:
        super().__init__()
        self.autocast = autocast
        self._weights: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace what differs."""
        given = kwargs or {}
        if self.autocast and func in _LOWER:
            args, given = tree_map_only(Tensor, self._lower, (args, given))
        elif self.autocast and func in _FULL:
            args, given = tree_map_only(Tensor, _full, (args, given))
        if func is F.scaled_dot_product_attention:
            return _Fused.apply(*args[:3])  # type: ignore[no-untyped-call]
        if func is F.dropout and _wanted(given, args, 2, "training", True):
            return torch.native_dropout(args[0], _wanted(given, args, 1, "p", 0.5), True)[0]
        return func(*args, **given)

    def _lower(self, tensor: Tensor) -> Tensor:
        """Convert to bfloat16; a weight that trains is converted once."""
        if tensor.dtype != torch.float32:
            return tensor
        if not (tensor.is_leaf and tensor.requires_grad):
            return tensor.to(torch.bfloat16)
        if id(tensor) not in self._weights:
            self._weights[id(tensor)] = (tensor, tensor.to(torch.bfloat16))
        return self._weights[id(tensor)][1]


class _Fused(torch.autograd.Function):
    """What a fused attention kernel keeps: its inputs, its output, and a number per query."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = q.new_empty((*q.shape[:-1], v.shape[-1]))
        ctx.save_for_backward(q, k, v, out, q.new_empty(q.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, ...]:
        q, k, v, _, _ = ctx.saved_tensors
        return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


@contextmanager
def _meta_knows_autocast(enabled: bool) -> Generator[None, None, None]:
    """Answer for the device without values, about whose autocast PyTorch refuses to speak. Not for several threads."""
    asked, context = torch.is_autocast_enabled, torch.autocast

    def is_enabled(device: str | None = None) -> bool:
        return enabled if device == "meta" else asked() if device is None else asked(device)

    def autocast(device: str, *args: Any, **kwargs: Any) -> AbstractContextManager[Any]:
        return nullcontext() if device == "meta" else context(device, *args, **kwargs)

    torch.is_autocast_enabled, torch.autocast = is_enabled, autocast  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        torch.is_autocast_enabled, torch.autocast = asked, context  # type: ignore[misc]


def _full(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def _wanted(kwargs: dict[str, Any], args: tuple[Any, ...], place: int, name: str, default: Any) -> Any:
    return kwargs.get(name, args[place] if len(args) > place else default)


def _bytes(tensors: list[Tensor] | list[nn.Parameter]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


_LOWER: set[Callable[..., Any]] = {
    F.linear, F.conv2d, F.conv_transpose2d, F.scaled_dot_product_attention,
    torch.conv2d, torch.conv_transpose2d, torch.matmul, torch.bmm, torch.mm, Tensor.matmul, Tensor.__matmul__,
}  # fmt: skip
"""What autocast computes in bfloat16 on a GPU, and"""
_FULL: set[Callable[..., Any]] = {F.layer_norm, F.softmax, torch.softmax, Tensor.softmax}
"""what in float32, as far as the method has it."""
