"""Linear layers at the speed of the machine.

PyTorch gives float32 matrix products on the CPU to MKL, which keeps its best kernels for Intel. oneDNN, which comes
with PyTorch as well, has good ones for all. The operator that `torch.compile` uses for linear layers gets there; where
a build lacks it, a 1x1 convolution over channels-last data does, which a matrix of rows is.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEWEST_ROWS = 64
"""With fewer, the way there costs more than it saves."""
LARGE = 1 << 24
"""Multiplications in one matrix product from which oneDNN is better than MKL in float32."""

_FUSED = hasattr(torch.ops.mkldnn, "_linear_pointwise")
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu}


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Do what `F.linear` does: `[..., in]` to `[..., out]`, in the same precision, with gradients."""
    rows = x.numel() // max(1, x.shape[-1])
    if not _reachable(x, weight, rows):
        # Flat: where rows do not lie side by side, each image would be multiplied with a copy of the weight of its own.
        return F.linear(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], weight.shape[0])
    flat = x.reshape(rows, -1)
    y: Tensor = (
        _Product.apply(flat, weight, bias)  # type: ignore[no-untyped-call]
        if _learns(x, weight, bias)
        else _through_onednn(flat, weight, bias)
    )
    return y.view(*x.shape[:-1], weight.shape[0])


class _Product(torch.autograd.Function):
    """`[rows, in]` to `[rows, out]`. Gradients of weights are products over many rows, which MKL does better."""

    @staticmethod
    def forward(ctx: "torch.autograd.function.FunctionCtx", x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _through_onednn(x, weight, bias)

    @staticmethod
    def backward(ctx: "torch.autograd.function.FunctionCtx", g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        wanted = ctx.needs_input_grad  # type: ignore[attr-defined]
        g = g.contiguous()
        dx = _through_onednn(g, weight.t(), None) if wanted[0] else None
        dw = g.t() @ x if wanted[1] else None
        return dx, dw, g.sum(dim=0) if wanted[2] else None


def linear_then(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    """A linear layer and GELU or ReLU; without gradients oneDNN does both in one pass, on the CPU.

    Args:
        x: `[..., in]`.
        weight: `[out, in]`.
        bias: `[out]`.
        activation: "gelu" or "relu".
    """
    rows = x.numel() // max(1, x.shape[-1])
    if not _FUSED or _learns(x, weight, bias) or not _reachable(x, weight, rows):
        return _ACTIVATIONS[activation](linear(x, weight, bias))
    return _through_onednn(x.reshape(rows, -1), weight, bias, activation).view(*x.shape[:-1], weight.shape[0])


def product(a: Tensor, b: Tensor, scale: float = 1.0) -> Tensor:
    """`scale` times `[N, Q, d]` times the transpose of `[N, L, d]`: `[N, Q, L]`, without gradients."""
    if not one_by_one(a, b):
        nothing = a.new_zeros(()).expand(a.shape[0], a.shape[1], b.shape[1])
        return torch.baddbmm(nothing, a, b.transpose(1, 2), beta=0.0, alpha=scale)
    a = a if scale == 1.0 else a * scale
    found = [_through_onednn(one, other, None) for one, other in zip(a, b, strict=True)]
    return torch.stack(found) if len(found) > 1 else found[0].unsqueeze(0)


def one_by_one(a: Tensor, b: Tensor) -> bool:
    """Whether `product` multiplies each `[Q, d]` with its `[L, d]` by itself."""
    return a.device.type == "cpu" and a.dtype == torch.float32 and a.shape[1] * b.shape[1] * a.shape[2] >= LARGE


def _reachable(x: Tensor, weight: Tensor, rows: int) -> bool:
    """Whether oneDNN is there for these tensors, and worth it."""
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):  # a graph shall hold for any batch
        return False
    known = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16) and weight.dtype == x.dtype
    return known and rows >= FEWEST_ROWS


def _learns(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def _through_onednn(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str = "none") -> Tensor:
    """`[rows, in]` to `[rows, out]`."""
    if not (weight.is_contiguous() or weight.t().is_contiguous()):
        weight = weight.contiguous()  # oneDNN takes a thousand times longer where there are gaps between the rows
    if _FUSED:
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, bias, activation, [], "none")
        return y
    return _through_convolution(x, weight, bias)


def _through_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    x = x.contiguous()
    image = x.view(1, len(x), 1, -1).permute(0, 3, 1, 2)  # [1, in, rows, 1], channels last
    y = F.conv2d(image, weight[:, :, None, None], bias)
    return y.permute(0, 2, 3, 1).reshape(len(x), -1)


class FastLinear(nn.Linear):
    """A linear layer that is computed by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """`[..., in]` to `[..., out]`, in the type of `x`."""
        return linear(x, *weights_in(self, x.dtype))


def weights_in(module: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias of a layer in a type; where they do not train, they are converted once.

    Under autocast, which converts by itself, they are returned as they are.
    """
    weight: Tensor = module.weight  # type: ignore[assignment]
    bias: Tensor | None = module.bias  # type: ignore[assignment]
    if weight.dtype == dtype or torch.is_autocast_enabled(weight.device.type):
        return weight, bias
    if weight.requires_grad:
        return weight.to(dtype), None if bias is None else bias.to(dtype)
    state = (dtype, weight.device, weight._version, weight.data_ptr())
    kept: Any = module.__dict__.get("_converted")
    if kept is None or kept[0] != state:
        kept = (state, weight.detach().to(dtype), None if bias is None else bias.detach().to(dtype))
        module.__dict__["_converted"] = kept
    return kept[1], kept[2]


def speed_up_linears(model: nn.Module) -> int:
    """Let every plain linear layer of a model be computed by `linear`, in place; return how many there are.

    Nothing else of them changes: parameters, names, hooks.
    """
    found = [module for module in model.modules() if type(module) is nn.Linear]
    for module in found:
        module.__class__ = FastLinear
    return len(found)
