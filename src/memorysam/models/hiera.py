"""SAM2's Hiera encoder on `transformers`' modules and weights, with a forward of its own.

It computes what theirs computes, without what costs time and changes nothing: padding, copies between layouts, and a
product of queries and keys whose result theirs throws away.

Windows that reach beyond the image see tokens of zeros there. Those are all alike once projected, so that one of them
with its number stands for all; and nobody asks for what they attend to.

Shapes: `N` images, `H, W` the level's size in tokens, `K` its width, `n` windows of an image.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from memorysam.models.attention import attention
from memorysam.models.linear import linear_then, weights_in
from memorysam.models.once import made_once


def stages(backbone: nn.Module, pixels: Tensor, recompute: bool = False) -> list[Tensor]:
    """Four levels `[N, H, W, K]` at strides 4 to 32, finest first, of images `[N, 3, H, W]`.

    Args:
        backbone: a `Sam2HieraDetModel`.
        pixels: height and width are multiples of 32.
        recompute: keep only each block's input for the backward pass.
    """
    found: Any = backbone
    convolution = found.patch_embed.projection
    weight, bias = weights_in(convolution, pixels.dtype)
    pixels = pixels.contiguous(memory_format=torch.channels_last)  # or all that follows would be copied to it
    x = F.conv2d(pixels, weight, bias, convolution.stride, convolution.padding).permute(0, 2, 3, 1)
    x = x + _position(backbone, x)
    levels = []
    for i, layer in enumerate(found.blocks):
        x = checkpoint(block, layer, x, use_reentrant=False) if recompute else block(layer, x)
        if i in found.stage_ends:
            levels.append(x)
    return levels


def _position(backbone: nn.Module, x: Tensor) -> Tensor:
    """Positions `[1, H, W, K]` of tokens `[N, H, W, K]`, in their type; where they do not train, they are made once."""
    found: Any = backbone
    size, dtype = (x.shape[1], x.shape[2]), x.dtype

    def make() -> Tensor:
        position: Tensor = found._get_pos_embed(size).to(dtype)
        return position.contiguous()

    return made_once(backbone, "_position", [found.pos_embed, found.pos_embed_window], make, size, dtype)


def block(layer: nn.Module, x: Tensor) -> Tensor:
    """One `Sam2MultiScaleBlock`: `[N, H, W, K]` to the same, or to half the size where it pools."""
    part: Any = layer
    normed = part.layer_norm1(x)
    shortcut = x if part.dim == part.dim_out else pooled(part.proj(normed), part.query_stride)
    x = _added(attend(part.attn, normed, part.window_size), shortcut)
    return _added(mix(part.mlp, part.layer_norm2(x)), x)


def _added(fresh: Tensor, x: Tensor) -> Tensor:
    """Return the sum, in the place of `fresh` where no gradient wants it."""
    return fresh + x if fresh.requires_grad else fresh.add_(x)


def mix(mlp: nn.Module, x: Tensor) -> Tensor:
    """The block's MLP, `[N, H, W, K]`."""
    part: Any = mlp
    hidden = linear_then(x, *weights_in(part.proj_in, x.dtype), "gelu")
    mixed: Tensor = part.proj_out(hidden)
    return mixed


def attend(layer: nn.Module, x: Tensor, window: int) -> Tensor:
    """Attention within windows, or over the whole image for `window` 0; queries are pooled where the layer says so."""
    part: Any = layer
    n = x.shape[0]
    qkv = part.qkv(x)
    q, k, v = qkv.chunk(3, dim=-1)
    heads = part.num_attention_heads
    stride = part.query_stride
    if stride:
        q = pooled(q, stride)
    if window == 0:
        q_h, k_h, v_h = (t.reshape(n, -1, heads, t.shape[-1] // heads).transpose(1, 2) for t in (q, k, v))
        out = attention(q_h, k_h, v_h, part.scale).transpose(1, 2).reshape(q.shape)
    else:
        out = _attend_in_windows(layer, q, k, v, window)
    projected: Tensor = part.proj(out)
    return projected


def _attend_in_windows(layer: nn.Module, q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Attention `[N, H, W, K]` within windows of `window` x `window` keys; queries may be fewer, `[N, H/s, W/s, K]`."""
    part: Any = layer
    height, width = k.shape[1:3]
    stride = height // q.shape[1]
    beyond = part.qkv.bias.to(q.dtype).view(3, 1, part.num_attention_heads, 1, -1)  # what becomes of zeros
    rows = []
    for top, bottom, high in _runs(height, window):
        row = []
        for left, right, wide in _runs(width, window):
            inside = (slice(None), slice(top, bottom), slice(left, right))
            asking = (slice(None), slice(top // stride, bottom // stride), slice(left // stride, right // stride))
            q_w = to_windows(q[asking], high // stride, wide // stride, part.num_attention_heads)
            k_w, v_w = (to_windows(t[inside], high, wide, part.num_attention_heads) for t in (k, v))
            missing = window**2 - high * wide
            if missing:
                k_w, v_w = (
                    torch.cat([t, e.expand(t.shape[0], -1, -1, -1)], 2) for t, e in ((k_w, beyond[1]), (v_w, beyond[2]))
                )
            out = attention(q_w, k_w, v_w, part.scale, last=max(1, missing))
            row.append(from_windows(out, high // stride, wide // stride, q[asking].shape))
        rows.append(row[0] if len(row) == 1 else torch.cat(row, dim=2))
    return rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)


def _runs(length: int, window: int) -> list[tuple[int, int, int]]:
    """Start, end and size of windows of one size that follow each other: the whole ones, and what is left."""
    whole = length - length % window
    runs = [(0, whole, window), (whole, length, length - whole)]
    return [run for run in runs if run[0] < run[1]]


def to_windows(x: Tensor, high: int, wide: int, heads: int) -> Tensor:
    """`[N, H, W, K]`, which windows of `high` x `wide` fill, to `[N*n, heads, high*wide, K/heads]`."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height // high, high, width // wide, wide, heads, channels // heads)
    return x.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, heads, high * wide, channels // heads)


def from_windows(x: Tensor, high: int, wide: int, shape: tuple[int, ...]) -> Tensor:
    """Undo `to_windows`, to `shape`."""
    n, height, width, _ = shape
    x = x.transpose(1, 2).reshape(n, height // high, width // wide, high, wide, -1)
    return x.transpose(2, 3).reshape(shape)


def pooled(x: Tensor, stride: tuple[int, int]) -> Tensor:
    """Maximum over `stride` x `stride` tokens, `[N, H, W, K]`."""
    return F.max_pool2d(x.permute(0, 3, 1, 2), stride, stride).permute(0, 2, 3, 1)
