"""SAM2's memory attention on `transformers`' modules and weights, with a forward of its own.

It computes what theirs computes, rotary positions as one product of complex numbers.

Shapes: `B` batch, `L` = `h*w` positions, `N` keys, `M` memories, `D` width (256 in SAM2).
"""

from typing import Any

import torch
from torch import Tensor, nn

from memorysam.models.attention import attention
from memorysam.models.linear import linear_then, weights_in
from memorysam.models.once import made_once


def attend(
    module: nn.Module, queries: Tensor, keys: Tensor, positions: Tensor, size: tuple[int, int], placeless: int
) -> Tensor:
    """Memory attention, `[B, L, D]` to the same.

    Args:
        module: a `Sam2VideoMemoryAttention`.
        queries: features, their positions added.
        keys: `M` memories of `L` keys each, then those without a place in the image, `[B, N, 64]`.
        positions: of the keys, `[1, N, 64]`.
        size: height and width of the image, in positions.
        placeless: how many keys have no place.
    """
    part: Any = module
    turns = turns_at(part.rotary_emb, size, queries.device)
    placed = keys + positions
    for layer in part.layers:
        x = layer.layer_norm1(queries)
        queries = _added(layer.dropout1(_attend(layer.self_attn, x, x, x, turns, 0)), queries)
        x = layer.layer_norm2(queries)
        queries = _added(layer.dropout2(_attend(layer.cross_attn_image, x, placed, keys, turns, placeless)), queries)
        x = layer.layer_norm3(queries)
        hidden = linear_then(x, *weights_in(layer.linear1, x.dtype), "relu")
        queries = _added(layer.dropout3(layer.linear2(layer.dropout(hidden))), queries)
    attended: Tensor = part.layer_norm(queries)
    return attended


def _added(fresh: Tensor, x: Tensor) -> Tensor:
    """Return the sum, in the place of `fresh` where no gradient wants it."""
    return fresh + x if fresh.requires_grad or fresh.dtype != x.dtype else fresh.add_(x)


def _attend(layer: nn.Module, query: Tensor, key: Tensor, value: Tensor, turns: Tensor, placeless: int) -> Tensor:
    """Attention of `[B, L, D]` to `[B, N, .]` with rotary positions, of which the last keys get none."""
    part: Any = layer
    heads = part.num_attention_heads
    q = rotate(part.q_proj(query).unflatten(2, (heads, -1)), turns)
    k = part.k_proj(key).unflatten(2, (heads, -1))
    v = part.v_proj(value).unflatten(2, (heads, -1))
    images = k.shape[1] - placeless
    k = torch.cat([rotate(k[:, :images], turns), k[:, images:]], dim=1) if placeless else rotate(k, turns)
    dropout = part.dropout_p if part.training else 0.0
    out = attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), part.scaling, dropout)
    attended: Tensor = part.o_proj(out.transpose(1, 2).flatten(2))
    return attended


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turn pairs of channels of `[B, M*L, heads, d]` by the angles of their position, in float32.

    Args:
        x: `M` times the `L` positions.
        turns: cosine and sine of the angles, `[L, d/2, 2]`.
    """
    pairs = x.float().reshape(x.shape[0], -1, turns.shape[0], x.shape[2], turns.shape[1], 2)
    turns = turns.unsqueeze(1)
    if torch.compiler.is_compiling() or type(x) is not Tensor:  # who traces this knows little of complex numbers
        (a, b), (cos, sin) = pairs.unbind(-1), turns.unbind(-1)
        turned = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1)
    else:
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(turns))
    return turned.to(x.dtype).reshape(x.shape)


def turns_at(rotary: nn.Module, size: tuple[int, int], device: torch.device) -> Tensor:
    """Return cosine and sine of the angle of each position of an image and each pair of channels: `[L, d/2, 2]`."""
    part: Any = rotary

    def make() -> Tensor:
        cos, sin = part(part.inv_freq, grid(*size, device))  # [1, L, d], each number twice
        return torch.stack([cos[0, :, ::2], sin[0, :, ::2]], dim=-1)

    return made_once(rotary, "_turns", [part.inv_freq], make, size, device)


def grid(h: int, w: int, device: torch.device) -> Tensor:
    """Return the (x, y) index of every position, row by row: `[h*w, 2]`, for rotary embeddings."""
    y, x = torch.meshgrid(torch.arange(h, device=device), torch.arange(w, device=device), indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=-1)
