"""SAM2's parts from `transformers`, and what each computes.

Every private detail of `transformers`' SAM2 that this package relies on is in this file, `sam2_sizes.py` and `formats`.
Shapes: `N` images (batch times modalities), `B` batch, `D` width (256 in SAM2), `h, w` a sixteenth of the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel, get_1d_sine_pe

from memorysam.models import hiera, mask_decoder, memory_attention
from memorysam.models.once import made_once
from memorysam.models.sam2_sizes import MEMORY_WIDTH, backbone, configuration

MAX_POINTERS = 16
NO_OBJECT = -1024.0


MEMORY_PARTS = (
    "memory_attention",
    "memory_encoder",
    "object_pointer_proj",
    "temporal_positional_encoding_projection_layer",
    "no_object_pointer",
    "memory_temporal_positional_encoding",
    "occlusion_spatial_embedding_parameter",
)
"""Parts of `SAM2` that methods without memory have no use for."""


@dataclass(frozen=True)
class Pyramid:
    """Features of `N` images at strides 4, 8 and 16, the finer two already narrowed for the mask decoder."""

    s4: Tensor  # [N, D/8, 4h, 4w]
    s8: Tensor  # [N, D/4, 2h, 2w]
    s16: Tensor  # [N, D, h, w]

    def split(self, count: int) -> list["Pyramid"]:
        """Undo the batching of `count` modalities."""
        levels = (level.reshape(count, -1, *level.shape[1:]).unbind() for level in (self.s4, self.s8, self.s16))
        return [Pyramid(*part) for part in zip(*levels, strict=True)]


@dataclass(frozen=True)
class Masks:
    """What the mask decoder says of one modality."""

    logits: Tensor  # [B, C, 4h, 4w]
    ious: Tensor  # [B, C], the decoder's estimate of each mask's IoU
    best: Tensor  # [B], the class whose mask has the highest estimate
    pointer: Tensor  # [B, D], SAM2's object pointer, made from that mask's token
    object_score: Tensor  # [B, 1]


@dataclass(frozen=True)
class Memory:
    """What is kept of one modality for the later ones."""

    features: Tensor  # [B, 64, h, w]
    pointer: Tensor  # [B, D]


class SAM2(nn.Module):
    """SAM2 without its prompts and its session: four stages that can be trained through.

    Parts that MemorySAM never uses (mask prompts, point prompts, mask down-sampling) are left out.

    Args:
        name: of the backbone.
        masks: number of masks that the decoder gives, SAM2's 3 or the number of classes `C`.
        dropout: in memory attention, while training.
        object_gate: SAM2's treatment of absent objects; see `decode`.
    """

    def __init__(self, name: str, masks: int, dropout: float = 0.1, object_gate: bool = False) -> None:
        super().__init__()
        self.name = name
        self.sizes = backbone(name)
        parts = Sam2VideoModel(configuration(self.sizes, masks, dropout))
        self.object_gate = object_gate
        self.recomputes = False
        self.vision_encoder = parts.vision_encoder
        self.memory_attention = parts.memory_attention
        self.memory_encoder = parts.memory_encoder
        self.mask_decoder = parts.mask_decoder
        self.object_pointer_proj = parts.object_pointer_proj
        self.temporal_positional_encoding_projection_layer = parts.temporal_positional_encoding_projection_layer
        self.no_memory_embedding = parts.no_memory_embedding  # [1, 1, D]
        self.no_object_pointer = parts.no_object_pointer  # [1, D]
        self.memory_temporal_positional_encoding = parts.memory_temporal_positional_encoding  # [7, 1, 1, 64]
        self.occlusion_spatial_embedding_parameter = parts.occlusion_spatial_embedding_parameter  # [1, 64] or None
        self.shared_image_embedding = parts.shared_image_embedding
        self.no_mask_embed = parts.prompt_encoder.no_mask_embed
        self.not_a_point_embed = parts.prompt_encoder.not_a_point_embed
        self._initialise()

    def _initialise(self) -> None:
        """Give fresh weights PyTorch's own scale, as in Meta's code: that of `transformers` is for wider models.

        What weights are loaded over is not affected; a new decoder head and a model from scratch are.
        """
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)):
                module.reset_parameters()
        for layer in self.memory_encoder.memory_fuser.layers:
            nn.init.constant_(layer.scale, 0.1)

    def drop_memory(self) -> None:
        """Remove what only a video needs, for methods without memory; `condition` without memories still works."""
        for name in MEMORY_PARTS:
            setattr(self, name, None)

    def recompute_activations(self, enabled: bool) -> None:
        """Trade time for memory: keep only each encoder block's input for the backward pass."""
        self.recomputes = enabled

    def encode(self, pixels: Tensor) -> Pyramid:
        """Image encoder with FPN neck: `[N, 3, H, W]` to a `Pyramid`. `H` and `W` are multiples of 32."""
        stages = self._stages(pixels)  # [N, H/4, W/4, .] to [N, H/32, W/32, .]
        neck = self.vision_encoder.neck
        # The neck's own forward also makes position maps for the whole batch; the method needs one, for one image.
        s32, s16, s8, s4 = (
            conv(stage.permute(0, 3, 1, 2)) for conv, stage in zip(neck.convs, stages[::-1], strict=True)
        )
        s16 = s16 + F.interpolate(s32.float(), scale_factor=2.0, mode="nearest").to(s16.dtype)
        return Pyramid(self.mask_decoder.conv_s0(s4), self.mask_decoder.conv_s1(s8), s16)

    def _stages(self, pixels: Tensor) -> list[Tensor]:
        """Hiera's levels. Mixed precision on the CPU is bfloat16 all through it, weights that do not train included."""
        recompute = self.recomputes and self.training and torch.is_grad_enabled()
        backbone = self.vision_encoder.backbone
        if pixels.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return hiera.stages(backbone, pixels.to(torch.bfloat16), recompute)
        return hiera.stages(backbone, pixels, recompute)

    def condition(self, features: Tensor, memories: Sequence[Memory]) -> Tensor:
        """Memory attention: `F3` of one modality `[B, D, h, w]` and what earlier ones left, to the same shape.

        Without memories, the "no memory" embedding is added instead. Object pointers enter as 64-wide tokens without
        rotary positions. All memories carry the temporal embedding of conditioning frames, the table's last row.
        """
        b, d, h, w = features.shape
        if not memories:
            return features + torch.reshape(self.no_memory_embedding, (1, d, 1, 1))
        position = self._sine(features, MEMORY_WIDTH) + self.memory_temporal_positional_encoding[-1].view(1, -1, 1, 1)
        pointers, pointer_positions = self._pointer_tokens([memory.pointer for memory in memories])
        maps = [memory.features.flatten(2).transpose(1, 2) for memory in memories]  # [B, hw, 64] each
        keys = torch.cat([*maps, pointers], dim=1)
        positions = position.flatten(2).transpose(1, 2)  # [1, hw, 64]
        positions = torch.cat([positions] * len(maps) + [pointer_positions], dim=1)
        queries = (features + 0.1 * self._sine(features, d)).flatten(2).transpose(1, 2)
        # Weights of bfloat16 take nothing else; mixed precision keeps the sum in float32.
        if self.memory_attention.layer_norm.weight.dtype == torch.bfloat16:
            queries, keys, positions = queries.bfloat16(), keys.bfloat16(), positions.bfloat16()
        conditioned = memory_attention.attend(
            self.memory_attention, queries, keys, positions, (h, w), pointers.shape[1]
        )
        return conditioned.transpose(1, 2).reshape(b, d, h, w)

    def decode(self, embedding: Tensor, pyramid: Pyramid) -> Masks:
        """Mask decoder without a prompt: an embedding `[B, D, h, w]` and the finer features, to `C` masks.

        With the object gate, where the object score is negative all logits become -1024 and the pointer is replaced.
        """
        b, d, h, w = embedding.shape
        logits, ious, tokens, object_score = mask_decoder.decode(
            self.mask_decoder,
            embedding + self.no_mask_embed.weight.view(1, d, 1, 1),
            self._dense_position(h, w).to(embedding.dtype),
            # An empty point and its padding, both labelled "not a point".
            self.not_a_point_embed.weight.expand(b, 2, -1),
            (pyramid.s4, pyramid.s8),
        )
        best = ious.argmax(dim=1)
        pointer = tokens[torch.arange(b, device=best.device), best]
        if self.object_pointer_proj is not None:
            pointer = self.object_pointer_proj(pointer)
        if self.object_gate:
            seen = object_score > 0
            logits = torch.where(seen[:, :, None, None], logits, torch.full_like(logits, NO_OBJECT))
            pointer = torch.where(seen, pointer, self.no_object_pointer.to(pointer.dtype))
        return Masks(logits, ious, best, pointer, object_score)

    def memorize(self, features: Tensor, masks: Masks) -> Memory:
        """Memory encoder: `F3` before memory attention and the most trusted mask, upsampled, to a `Memory`."""
        rows = torch.arange(masks.best.shape[0], device=masks.best.device)
        mask = masks.logits[rows, masks.best].unsqueeze(1).float()  # [B, 1, 4h, 4w]
        mask = F.interpolate(mask, scale_factor=4.0, mode="bilinear", align_corners=False)
        mask = (torch.sigmoid(mask) * 20.0 - 10.0).to(self.no_memory_embedding.dtype)
        encoder = self.memory_encoder
        fused = encoder.feature_projection(features) + encoder.mask_downsampler(mask)
        memory = encoder.projection(encoder.memory_fuser(fused))
        if self.object_gate and self.occlusion_spatial_embedding_parameter is not None:
            absent = (masks.object_score <= 0).to(memory.dtype)[:, :, None, None]
            memory = memory + absent * self.occlusion_spatial_embedding_parameter[..., None, None]
        return Memory(memory, masks.pointer)

    def _pointer_tokens(self, pointers: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Split `M` pointers `[B, D]` into `[B, M*D/64, 64]` tokens, with their positions `[1, M*D/64, 64]`."""
        b, d = pointers[0].shape
        per = d // MEMORY_WIDTH
        tokens = torch.stack(pointers, dim=1).reshape(b, len(pointers) * per, MEMORY_WIDTH)
        if not self.sizes.version_2_1:
            return tokens, tokens.new_zeros(1, tokens.shape[1], MEMORY_WIDTH)
        # Distance in frames, as a share of the longest one possible.
        distance = torch.arange(len(pointers), 0, -1, device=tokens.device, dtype=torch.float32)
        distance = distance / max(1, min(len(pointers) + 1, MAX_POINTERS) - 1)
        sine = get_1d_sine_pe(distance, dim=d).to(self.no_memory_embedding.dtype)
        positions = self.temporal_positional_encoding_projection_layer(sine)
        return tokens, positions.repeat_interleave(per, dim=0).unsqueeze(0)

    def _sine(self, like: Tensor, channels: int) -> Tensor:
        """Return SAM2's sine position map `[1, channels, h, w]`, in float32 whatever the features are in."""
        sine = self.memory_encoder.position_encoding
        shape = torch.Size((1, channels, *like.shape[-2:]))

        def make() -> Tensor:
            position: Tensor = sine.build_sine_position_embedding(
                shape, like.device, torch.float32, channels // 2, normalize=True, scale=sine.scale
            )
            return position

        return made_once(sine, f"_sine_{channels}", [], make, shape, like.device)

    def _dense_position(self, h: int, w: int) -> Tensor:
        """Return the decoder's random-Fourier position map `[1, D, h, w]` of pixel centres."""
        table = self.shared_image_embedding.positional_embedding

        def make() -> Tensor:
            y = (torch.arange(h, device=table.device) + 0.5) / h
            x = (torch.arange(w, device=table.device) + 0.5) / w
            grid = torch.stack([x.expand(h, w), y[:, None].expand(h, w)], dim=-1)
            position: Tensor = self.shared_image_embedding(grid)
            return position.permute(2, 0, 1).unsqueeze(0)

        return made_once(self.shared_image_embedding, "_dense", [table], make, h, w)
