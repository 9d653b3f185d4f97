"""SAM2's mask decoder on `transformers`' modules and weights, with a forward of its own.

It computes what theirs computes: the small networks of all masks as one batch, upscaling as linear layers over rows of
channels, and sums with positions once where theirs makes them twice.

Shapes: `B` batch, `C` masks, `T` tokens, `L` = `h*w` positions, `D` width (256 in SAM2).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memorysam.models.attention import attention
from memorysam.models.linear import linear
from memorysam.models.once import made_once


def decode(
    decoder: nn.Module, image: Tensor, position: Tensor, prompt: Tensor, finer: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Masks of images, one prompt each; the mask that `transformers` keeps for a single answer is left out.

    Args:
        decoder: a `Sam2VideoMaskDecoder` with `C + 1` mask tokens.
        image: embeddings with those of a dense prompt, `[B, D, h, w]`.
        position: of the image, `[1, D, h, w]`.
        prompt: sparse prompt, `[B, P, D]`.
        finer: features `[B, D/8, 4h, 4w]` and `[B, D/4, 2h, 2w]`.

    Returns:
        Logits `[B, C, 4h, 4w]`, estimates of their IoU `[B, C]`, tokens `[B, C, D]`, object score `[B, 1]`.
    """
    part: Any = decoder
    b, _, h, w = image.shape
    own = torch.cat([part.obj_score_token.weight, part.iou_token.weight, part.mask_tokens.weight])
    tokens = torch.cat([own.expand(b, -1, -1), prompt.to(own.dtype)], dim=1)
    tokens, image = two_way(part.transformer, tokens, _rows(image), _rows(position))
    masks = tokens[:, 2 : 2 + part.num_mask_tokens]
    fine = upscale(decoder, image.view(b, h, w, -1), *finer)
    weights = hyper_networks(part.output_hypernetworks_mlps, masks)[:, 1:]
    logits = weights @ fine.flatten(1, 2).transpose(1, 2)
    ious: Tensor = part.iou_prediction_head(tokens[:, 1])
    score: Tensor = part.pred_obj_score_head(tokens[:, 0])
    return logits.view(b, -1, *fine.shape[1:3]), ious[:, 1:], masks[:, 1:], score


def _rows(image: Tensor) -> Tensor:
    """`[B, K, H, W]` to `[B, H*W, K]`."""
    return image.flatten(2).transpose(1, 2)


def two_way(transformer: nn.Module, tokens: Tensor, image: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens `[B, T, D]` and image `[B, L, D]`, each attending to the other; `position` `[1, L, D]` is the image's."""
    part: Any = transformer
    start = tokens
    placed = image + position
    for layer in part.layers:
        if layer.skip_first_layer_pe:
            tokens = _attend(layer.self_attn, tokens, tokens, tokens)
        else:
            asking = tokens + start
            tokens = tokens + _attend(layer.self_attn, asking, asking, tokens)
        tokens = layer.layer_norm1(tokens)
        tokens = layer.layer_norm2(tokens + _attend(layer.cross_attn_token_to_image, tokens + start, placed, image))
        tokens = layer.layer_norm3(tokens + layer.mlp(tokens))
        image = layer.layer_norm4(image + _attend(layer.cross_attn_image_to_token, placed, tokens + start, tokens))
        placed = image + position
    last = _attend(part.final_attn_token_to_image, tokens + start, placed, image)
    return part.layer_norm_final_attn(tokens + last), image


def _attend(layer: nn.Module, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of `[B, Q, D]` to `[B, L, D]`, projected to fewer channels and back."""
    part: Any = layer
    q, k, v = (
        project(x).unflatten(2, (part.num_attention_heads, part.head_dim)).transpose(1, 2)
        for project, x in ((part.q_proj, query), (part.k_proj, key), (part.v_proj, value))
    )
    attended: Tensor = part.o_proj(attention(q, k, v, part.scaling).transpose(1, 2).flatten(2))
    return attended


def upscale(decoder: nn.Module, image: Tensor, s4: Tensor, s8: Tensor) -> Tensor:
    """`[B, h, w, D]` and finer features to `[B, 4h, 4w, D/8]`."""
    part: Any = decoder
    norm = part.upscale_layer_norm
    x = _doubled(part.upscale_conv1, image, s8)
    x = F.gelu(F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps))
    return F.gelu(_doubled(part.upscale_conv2, x, s4))


def _doubled(convolution: nn.Module, x: Tensor, finer: Tensor) -> Tensor:
    """Transposed convolution, 2 x 2 with stride 2, and a sum: `[B, h, w, K]` and `[B, J, 2h, 2w]` to `[B, 2h, 2w, J]`.

    Its patches do not overlap: each is a linear layer's answer to one position.
    """
    part: Any = convolution
    b, h, w, _ = x.shape
    weight = part.weight.permute(2, 3, 1, 0).flatten(0, 2)  # [4J, K]
    patches = linear(x, weight).view(b, h, w, 2, 2, -1).transpose(2, 3)  # [B, h, 2, w, 2, J]
    finer = finer.permute(0, 2, 3, 1)
    summed = finer.reshape(patches.shape) + patches
    doubled: Tensor = (summed + part.bias).reshape(finer.shape)
    return doubled


def hyper_networks(networks: nn.ModuleList, tokens: Tensor) -> Tensor:
    """One network for each token: `[B, C, D]` to `[B, C, D/8]`."""
    layers = _stacked(networks)
    x = tokens.transpose(0, 1)
    for i, (weight, bias) in enumerate(layers):
        x = torch.baddbmm(bias, x, weight.transpose(1, 2))
        x = F.relu(x) if i + 1 < len(layers) else x
    return x.transpose(0, 1)


def _stacked(networks: nn.ModuleList) -> list[tuple[Tensor, Tensor]]:
    """Weights `[C, out, in]` and biases `[C, 1, out]` of each layer of all networks; made once where nobody learns."""
    found: Any = networks
    layers = list(zip(*([m.proj_in, *m.layers, m.proj_out] for m in found), strict=True))

    def stack() -> list[tuple[Tensor, Tensor]]:
        weights = [torch.stack([part.weight for part in layer]) for layer in layers]
        biases = [torch.stack([part.bias for part in layer]).unsqueeze(1) for layer in layers]
        return list(zip(weights, biases, strict=True))

    tensors = [tensor for layer in layers for part in layer for tensor in (part.weight, part.bias)]
    return made_once(networks, "_stacked", tensors, stack)
