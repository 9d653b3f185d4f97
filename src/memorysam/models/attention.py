"""Scaled dot-product attention at the speed of the machine.

On a GPU, PyTorch's own is the best there is. On the CPU its kernel pays off in float32 only, in training and for long
sequences, as long as heads are narrow: elsewhere, and for bfloat16 always, two matrix products with a softmax between
them are up to four times faster.
Scores are never kept for the backward pass, and never more than `LARGEST` of them are there at once.

Shapes: `N` batch, `A` heads, `Q` queries, `L` keys, `d` width of a head.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.configuration_utils import PretrainedConfig
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from memorysam.models.dropout import draw_seed, keep_mask
from memorysam.models.linear import one_by_one, product

NAME = "memorysam"
"""By which `transformers` knows it."""
LONG = 512
"""From this many keys on, PyTorch's kernel is better in float32, unless heads are wide."""
WIDE, WIDE_TO_LEARN = 96, 128
"""How wide that is, without and with gradients."""
FEW = 64
"""With fewer keys, PyTorch's softmax is up to ten times faster across rows than along them."""
LARGEST = 1 << 25
"""Scores that are held at once."""


def attention(q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float = 0.0, last: int = 1) -> Tensor:
    """`[N, A, Q, d]`, `[N, A, L, d]`, `[N, A, L, d]` to `[N, A, Q, d]`.

    Args:
        q: queries.
        k: keys.
        v: values.
        scale: of the scores.
        dropout: of the weights.
        last: how many keys the last one stands for, all of them like it, with values like its value.
    """
    learns = torch.is_grad_enabled() and q.requires_grad
    # PyTorch's kernel knows no dropout: then it, too, makes matrix products.
    better = (k.shape[2] >= LONG or learns) and q.shape[3] < (WIDE_TO_LEARN if learns else WIDE) and not dropout
    plain = q.device.type != "cpu" or (q.dtype == torch.float32 and better)
    plain = plain or q.dtype not in (torch.float32, torch.bfloat16) or not q.dtype == k.dtype == v.dtype
    if plain or torch.compiler.is_compiling():
        return F.scaled_dot_product_attention(q, k, v, _more(q, k, last), dropout, scale=scale)
    n, heads, queries, _ = q.shape
    flat = (t.reshape(n * heads, t.shape[2], t.shape[3]) for t in (q, k, v))
    options = scale, dropout, draw_seed() if dropout else 0, last
    out: Tensor = _Products.apply(*flat, *options)  # type: ignore[no-untyped-call]
    return out.view(n, heads, queries, -1)


def _more(q: Tensor, k: Tensor, last: int) -> Tensor | None:
    """Return what is added to the scores so that the last key counts `last` times, `[1, 1, 1, L]`."""
    if last == 1:
        return None
    return F.pad(q.new_full((1,), math.log(last)), (k.shape[2] - 1, 0)).view(1, 1, 1, -1)


def for_transformers(
    module: nn.Module,  # noqa: ARG001
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Do the same, called as `transformers` calls its attention; the answer is `[N, Q, A, d]`."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if attention_mask is not None:
        out = F.scaled_dot_product_attention(query, key, value, attention_mask, dropout, scale=scale)
    else:
        out = attention(query, key, value, scale, dropout)
    return out.transpose(1, 2).contiguous(), None


def use_own_attention(model: nn.Module) -> None:
    """Let all of `transformers`' attention below a model be computed by `for_transformers`."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, for_transformers)
    for module in model.modules():
        config = getattr(module, "config", None)
        if isinstance(config, PretrainedConfig):
            config._attn_implementation = NAME


class _Products(torch.autograd.Function):
    """Attention `[NA, Q, d]` by matrix products; the backward pass makes the scores again."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float, seed: int, last: int
    ) -> Tensor:
        out = q.new_empty(*q.shape[:2], v.shape[2])
        for i, (rows, columns) in enumerate(_pieces(q, k)):
            shares = _shares(q[rows, columns], k[rows], scale, last)
            if dropout:
                shares *= keep_mask(shares.shape, dropout, seed + i, shares.dtype)
            out[rows, columns] = product(shares, v[rows].transpose(1, 2))
        ctx.save_for_backward(q, k, v, out)
        ctx.options = scale, dropout, seed, last
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out = ctx.saved_tensors
        scale, dropout, seed, last = ctx.options
        dq = torch.empty_like(q)
        dk, dv = torch.zeros_like(k), torch.zeros_like(v)
        for i, (rows, columns) in enumerate(_pieces(q, k)):
            shares, g = _shares(q[rows, columns], k[rows], scale, last), gradients[0][rows, columns]
            slope = product(g, v[rows])
            kept = shares
            if dropout:
                mask = keep_mask(shares.shape, dropout, seed + i, shares.dtype)
                kept, slope = shares * mask, slope.mul_(mask)
            dv[rows] += product(kept.transpose(1, 2), g.transpose(1, 2))
            along = (g.float() * out[rows, columns].float()).sum(dim=-1, keepdim=True)
            slope.sub_(along.to(g.dtype)).mul_(shares)
            dq[rows, columns] = product(slope, k[rows].transpose(1, 2), scale)
            dk[rows] += product(slope.transpose(1, 2), q[rows, columns].transpose(1, 2), scale)
        return dq, dk, dv, None, None, None, None


def _shares(q: Tensor, k: Tensor, scale: float, last: int) -> Tensor:
    """Softmax over the keys, `[NA, Q, L]`."""
    few = k.shape[1] < FEW
    scores = product(k, q, scale).transpose(1, 2) if few else product(q, k, scale)
    if last > 1:
        scores[..., -1] += math.log(last)
    return torch.softmax(scores.transpose(1, 2), dim=1).transpose(1, 2) if few else torch.softmax(scores, dim=-1)


def _pieces(q: Tensor, k: Tensor) -> list[tuple[slice, slice]]:
    """Cut the batch, and if need be the queries, so that no piece has more scores than `LARGEST`.

    What is multiplied one by one is a piece of its own, or its scores would be copied together.
    """
    batch, queries, keys = q.shape[0], q.shape[1], k.shape[1]
    columns = max(1, min(queries, LARGEST // keys))
    rows = max(1, LARGEST // (keys * columns)) if columns == queries and not one_by_one(q, k) else 1
    return [
        (slice(i, i + rows), slice(j, j + columns)) for i in range(0, batch, rows) for j in range(0, queries, columns)
    ]
