"""SAM2's Hiera encoder on `transformers`' modules and weights, with a forward of its own.

It computes what theirs computes, without what costs time and changes nothing: projections of padding, copies between
layouts, and a product of queries and keys whose result theirs throws away.

Shapes: `N` images, `H, W` the level's size in tokens, `K` its width, `w` the side of a window, `n` windows of an image.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from memorysam.models.attention import attention
from memorysam.models.linear import linear_gelu, weights_in


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
    size, tables = (x.shape[1], x.shape[2]), (found.pos_embed, found.pos_embed_window)
    if any(table.requires_grad for table in tables):
        made: Tensor = found._get_pos_embed(size).to(x.dtype)
        return made
    state = (size, x.dtype, *((table.device, table._version, table.data_ptr()) for table in tables))
    kept = found.__dict__.get("_position")
    if kept is None or kept[0] != state:
        kept = (state, found._get_pos_embed(size).detach().to(x.dtype).contiguous())
        found.__dict__["_position"] = kept
    position: Tensor = kept[1]
    return position


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
    hidden = linear_gelu(x, *weights_in(part.proj_in, x.dtype))
    mixed: Tensor = part.proj_out(hidden)
    return mixed


def attend(layer: nn.Module, x: Tensor, window: int) -> Tensor:
    """Attention within windows, or over the whole image for `window` 0; queries are pooled where the layer says so."""
    part: Any = layer
    n = len(x)
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
        side = window // stride[0] if stride else window
        empty = part.qkv.bias.chunk(3)
        sizes = (side, window, window)
        q_w, k_w, v_w = (to_windows(t, s, heads, e) for t, s, e in zip((q, k, v), sizes, empty, strict=True))
        out = attention(q_w, k_w, v_w, part.scale)
        out = from_windows(out, side, n, q.shape[1], q.shape[2])
    projected: Tensor = part.proj(out)
    return projected


def to_windows(x: Tensor, side: int, heads: int, empty: Tensor) -> Tensor:
    """`[N, H, W, K]` to `[N*n, heads, side*side, K/heads]`; where windows reach beyond the image stands `empty` `[K]`.

    `empty` is what the projection makes of zeros, its bias: tokens beyond the image take part in attention.
    """
    n, height, width, channels = x.shape
    down, right = -height % side, -width % side
    if down or right:
        filled = empty.to(x.dtype).expand(n, height + down, width + right, channels).clone()
        filled[:, :height, :width] = x
        x = filled
    rows, columns = x.shape[1] // side, x.shape[2] // side
    x = x.reshape(n, rows, side, columns, side, heads, channels // heads)
    return x.permute(0, 1, 3, 5, 2, 4, 6).reshape(n * rows * columns, heads, side * side, -1)


def from_windows(x: Tensor, side: int, n: int, height: int, width: int) -> Tensor:
    """Undo `to_windows`: `[N*n, heads, side*side, d]` to `[N, H, W, heads*d]`."""
    rows, columns = -(-height // side), -(-width // side)
    x = x.transpose(1, 2).reshape(n, rows, columns, side, side, -1).transpose(2, 3)
    return x.reshape(n, rows * side, columns * side, -1)[:, :height, :width]


def pooled(x: Tensor, stride: tuple[int, int]) -> Tensor:
    """Maximum over `stride` x `stride` tokens, `[N, H, W, K]`."""
    return F.max_pool2d(x.permute(0, 3, 1, 2), stride, stride).permute(0, 2, 3, 1)
