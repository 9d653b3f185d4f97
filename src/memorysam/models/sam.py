"""SAM's parts from `transformers`: their sizes, their construction, and what each computes.

Every private detail of `transformers`' SAM that this package relies on is in this file and in `cwsam_adapters.py`.
Shapes: `N` images (batch times modalities), `E` width of the encoder, `D` width of the decoder (256 in SAM), `T` mask
tokens, `h, w` a sixteenth of the image.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers.models.sam.configuration_sam import (
    SamConfig,
    SamMaskDecoderConfig,
    SamPromptEncoderConfig,
    SamVisionConfig,
)
from transformers.models.sam.modeling_sam import SamModel

from memorysam.models.base import Segmentation
from memorysam.spec import Size

PATCH = 16
"""Side of a token in pixels."""


@dataclass(frozen=True)
class Backbone:
    """Sizes of one SAM variant. The defaults are what all of Meta's have in common."""

    embed: int
    blocks: int
    heads: int
    global_blocks: tuple[int, ...]
    """Blocks that attend to the whole image; the others to windows."""
    window: int = 14
    width: int = 256
    decoder_heads: int = 8
    decoder_mlp: int = 2048


BACKBONES: dict[str, Backbone] = {
    "sam-b": Backbone(768, 12, 12, (2, 5, 8, 11)),
    "sam-l": Backbone(1024, 24, 16, (5, 11, 17, 23)),
    "sam-h": Backbone(1280, 32, 16, (7, 15, 23, 31)),
    "micro": Backbone(96, 4, 4, (1, 3), window=4, width=64, decoder_heads=4, decoder_mlp=256),
}


@dataclass(frozen=True)
class Frame:
    """What a system makes of one modality."""

    embedding: Tensor  # [B, D, h, w], of the image encoder
    logits: Tensor  # [B, C, 4h, 4w]
    ious: Tensor  # [B, T], the decoder's estimate of each mask's IoU
    upscaled: Tensor  # [B, D/8, 4h, 4w], what the masks are read from

    def split(self, names: Collection[str]) -> dict[str, "Frame"]:
        """Undo the batching of modalities, `M*B` images to `M` times `B`, in the order of `names`."""
        fields = (self.embedding, self.logits, self.ious, self.upscaled)
        parts = zip(*(field.reshape(len(names), -1, *field.shape[1:]).unbind() for field in fields), strict=True)
        return {name: Frame(*part) for name, part in zip(names, parts, strict=True)}


def fuse(frames: Mapping[str, Frame]) -> Segmentation:
    """Average logits and stride-4 features over the modalities."""
    logits = torch.stack([frame.logits for frame in frames.values()]).mean(dim=0)
    features = torch.stack([frame.upscaled for frame in frames.values()]).mean(dim=0)
    return Segmentation(logits, features, dict(frames))


class SAM(nn.Module):
    """SAM without its prompts: the stages of which systems are made.

    Left out, because nothing here is ever prompted: point embeddings and mask down-sampling. Image sizes need not be
    square. Position tables have the size of `image_size`; for images of another size they are interpolated.

    Args:
        name: of the backbone.
        masks: number `T` of mask tokens: SAM's 4 or the number of classes.
        image_size: height and width of the images that the position tables are for, multiples of 16.
    """

    def __init__(self, name: str, masks: int, image_size: Size) -> None:
        super().__init__()
        self.name = name
        self.sizes = BACKBONES[name]
        parts = SamModel(_config(self.sizes, masks))
        self.vision_encoder = parts.vision_encoder
        self.mask_decoder = parts.mask_decoder
        self.no_mask_embed = parts.prompt_encoder.no_mask_embed
        self.positional_embedding: Tensor
        self.register_buffer("positional_embedding", torch.randn(2, self.sizes.width // 2))
        self.recomputes = False
        self._tables(image_size)
        self._initialise()

    def _tables(self, image_size: Size) -> None:
        """Give the position tables the size of the image; like SAM's, they start at zero."""
        h, w = (side // PATCH for side in image_size)
        self.vision_encoder.pos_embed = nn.Parameter(torch.zeros(1, h, w, self.sizes.embed))
        for i in self.sizes.global_blocks:
            attention = self.vision_encoder.layers[i].attn
            attention.rel_pos_h = nn.Parameter(torch.zeros(2 * h - 1, self.sizes.embed // self.sizes.heads))
            attention.rel_pos_w = nn.Parameter(torch.zeros(2 * w - 1, self.sizes.embed // self.sizes.heads))

    def _initialise(self) -> None:
        """Give fresh weights PyTorch's own scale, as in Meta's code; `transformers` has almost zero in the encoder."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)):
                module.reset_parameters()

    @property
    def blocks(self) -> nn.ModuleList:
        """The encoder's transformer blocks: `[N, h, w, E]` to the same."""
        blocks: nn.ModuleList = self.vision_encoder.layers
        return blocks

    def run(self, function: Callable[..., Tensor], *inputs: Any) -> Tensor:
        """Call one block; where time is traded for memory, only its inputs are kept for the backward pass."""
        if self.recomputes and self.training and torch.is_grad_enabled():
            result: Tensor = checkpoint(function, *inputs, use_reentrant=False)
            return result
        return function(*inputs)

    def encode(self, pixels: Tensor) -> Tensor:
        """Image encoder: `[N, 3, H, W]` to embeddings `[N, D, h, w]`."""
        tokens = self.patches(pixels)
        tokens = tokens + self.position(*tokens.shape[1:3])
        for block in self.blocks:
            tokens = self.run(block, tokens)
        return self.neck(tokens)

    def patches(self, pixels: Tensor) -> Tensor:
        """One token per 16 x 16 pixels, without position: `[N, 3, H, W]` to `[N, h, w, E]`."""
        tokens: Tensor = self.vision_encoder.patch_embed.projection(pixels)
        return tokens.permute(0, 2, 3, 1)

    def position(self, h: int, w: int) -> Tensor:
        """Absolute positions of the encoder's tokens: `[1, h, w, E]`."""
        return _resized_map(self.vision_encoder.pos_embed, h, w)

    def neck(self, tokens: Tensor) -> Tensor:
        """`[N, h, w, E]` to the embedding `[N, D, h, w]`."""
        embedding: Tensor = self.vision_encoder.neck(tokens)
        return embedding

    def dense_position(self, h: int, w: int) -> Tensor:
        """Random-Fourier position map of the decoder, of token centres: `[1, D, h, w]`, always float32."""
        matrix = self.positional_embedding.float()
        x = (torch.arange(w, device=matrix.device) + 0.5) * (2 / w) - 1
        y = (torch.arange(h, device=matrix.device) + 0.5) * (2 / h) - 1
        # Written out: as a matrix product, mixed precision would round the angles.
        angles = 2 * math.pi * (x[None, :, None] * matrix[0] + y[:, None, None] * matrix[1])
        return torch.cat([angles.sin(), angles.cos()], dim=-1).permute(2, 0, 1).unsqueeze(0)

    def source(self, embedding: Tensor) -> Tensor:
        """What the decoder attends to: the embedding with the "no mask" prompt, `[N, D, h, w]`."""
        source: Tensor = embedding + self.no_mask_embed.weight.view(1, -1, 1, 1)
        return source

    def attend(self, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Two-way transformer: the IoU token `[N, D]`, mask tokens `[N, T, D]`, and the image `[N, D, h, w]`."""
        n, d, h, w = source.shape
        decoder = self.mask_decoder
        tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).expand(n, 1, -1, -1)
        queries, keys = decoder.transformer(
            point_embeddings=tokens,
            image_embeddings=source,
            # Weights of bfloat16 take nothing else.
            image_positional_embeddings=self.dense_position(h, w).to(decoder.iou_token.weight.dtype),
            attention_similarity=None,
        )
        image: Tensor = keys.squeeze(1).transpose(1, 2).reshape(n, d, h, w)
        return queries[:, 0, 0], queries[:, 0, 1:], image

    def upscale(self, image: Tensor) -> Tensor:
        """`[N, D, h, w]` to `[N, D/8, 4h, 4w]`."""
        decoder = self.mask_decoder
        image = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(image)))
        upscaled: Tensor = decoder.activation(decoder.upscale_conv2(image))
        return upscaled

    def kernels(self, tokens: Tensor) -> Tensor:
        """Hyper-networks: the first `t` mask tokens `[N, t, D]`, each by its own, to `[N, t, D/8]`."""
        networks = self.mask_decoder.output_hypernetworks_mlps
        each = [networks[i](token) for i, token in enumerate(tokens.unbind(dim=1))]
        return torch.stack(each, dim=1)

    def ious(self, iou_token: Tensor) -> Tensor:
        """`[N, D]` to the IoU estimates `[N, T]`, which are in no loss of any system here."""
        estimates: Tensor = self.mask_decoder.iou_prediction_head(iou_token)
        return estimates

    def fit(self, name: str, tensor: Tensor, size: torch.Size) -> Tensor:
        """Return a position table that was made for another image size at `size`; any other tensor as it is.

        Args:
            name: of the tensor below this module.
            tensor: of another shape.
            size: the shape needed.
        """
        if name == "vision_encoder.pos_embed" and tensor.ndim == 4:
            return _resized_map(tensor, size[1], size[2])
        table = re.fullmatch(r"vision_encoder\.layers\.(\d+)\.attn\.rel_pos_[hw]", name)
        if table and int(table[1]) in self.sizes.global_blocks and tensor.ndim == 2:
            return F.interpolate(tensor.T.float().unsqueeze(0), size=size[0], mode="linear")[0].T.to(tensor.dtype)
        return tensor


def _resized_map(table: Tensor, h: int, w: int) -> Tensor:
    """Resize `[1, ., ., E]` to `[1, h, w, E]`, bilinearly and in float32."""
    if table.shape[1:3] == (h, w):
        return table
    resized = F.interpolate(table.float().permute(0, 3, 1, 2), size=(h, w), mode="bilinear", align_corners=False)
    return resized.permute(0, 2, 3, 1).to(table.dtype)


def _config(sizes: Backbone, masks: int) -> SamConfig:
    """Return `transformers`' configuration, for the smallest image: the position tables are replaced."""
    vision = SamVisionConfig(
        hidden_size=sizes.embed,
        num_hidden_layers=sizes.blocks,
        num_attention_heads=sizes.heads,
        global_attn_indexes=list(sizes.global_blocks),
        window_size=sizes.window,
        output_channels=sizes.width,
        num_pos_feats=sizes.width // 2,
        image_size=PATCH,
        patch_size=PATCH,
    )
    decoder = SamMaskDecoderConfig(
        hidden_size=sizes.width,
        num_attention_heads=sizes.decoder_heads,
        mlp_dim=sizes.decoder_mlp,
        num_multimask_outputs=masks - 1,
        iou_head_hidden_dim=sizes.width,
        layer_norm_eps=1e-5,  # Meta's; `transformers` has 1e-6
    )
    return SamConfig(
        vision_config=vision,
        prompt_encoder_config=SamPromptEncoderConfig(hidden_size=sizes.width, image_size=PATCH, patch_size=PATCH),
        mask_decoder_config=decoder,
    )
