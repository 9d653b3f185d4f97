"""SAM2's variants: their sizes, and `transformers`' configuration of each."""

from dataclasses import dataclass, replace

from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig, Sam2VisionConfig
from transformers.models.sam2_video.configuration_sam2_video import (
    Sam2VideoConfig,
    Sam2VideoMaskDecoderConfig,
    Sam2VideoPromptEncoderConfig,
)

from memorysam.errors import SettingsError, did_you_mean

MEMORY_WIDTH = 64
"""Channels of a memory token; `transformers` fixes it in memory attention."""

TEMPORAL_SLOTS = 7


@dataclass(frozen=True)
class Backbone:
    """Sizes of one SAM2 variant. The defaults are what all of Meta's have in common."""

    embed: tuple[int, ...]
    heads: tuple[int, ...]
    blocks: tuple[int, ...]
    global_blocks: tuple[int, ...]
    windows: tuple[int, ...] = (8, 4, 14, 7)
    background: int = 7
    width: int = 256
    attention_layers: int = 4
    attention_mlp: int = 2048
    decoder_heads: int = 8
    decoder_mlp: int = 2048
    fuser_mlp: int = 1024
    version_2_1: bool = True
    """SAM 2.1 adds temporal positions to object pointers and an embedding for absent objects."""


def _meta(first: int, heads: int, blocks: tuple[int, ...], global_blocks: tuple[int, ...], **rest: object) -> Backbone:
    doubled = [2**i for i in range(4)]
    return Backbone(
        tuple(first * d for d in doubled),
        tuple(heads * d for d in doubled),
        blocks,
        global_blocks,
        **rest,  # type: ignore[arg-type]
    )


_SIZES = {
    "tiny": _meta(96, 1, (1, 2, 7, 2), (5, 7, 9)),
    "small": _meta(96, 1, (1, 2, 11, 2), (7, 10, 13)),
    "base-plus": _meta(112, 2, (2, 3, 16, 3), (12, 16, 20), background=14),
    "large": _meta(144, 2, (2, 6, 36, 4), (23, 33, 43), windows=(8, 4, 16, 8)),
}
_MICRO = Backbone(
    embed=(32, 64, 128, 192), heads=(1, 2, 4, 6), blocks=(1, 1, 2, 1), global_blocks=(3,), windows=(8, 4, 8, 4),
    width=64, attention_layers=2, attention_mlp=256, decoder_heads=4, decoder_mlp=256, fuser_mlp=128,
)  # fmt: skip

BACKBONES: dict[str, Backbone] = {
    **{f"sam2-{size}": replace(sizes, version_2_1=False) for size, sizes in _SIZES.items()},
    **{f"sam2.1-{size}": sizes for size, sizes in _SIZES.items()},
    "micro": _MICRO,
}


def backbone(name: str) -> Backbone:
    """Return the sizes of a named backbone.

    Raises:
        SettingsError: an unknown name.
    """
    if name not in BACKBONES:
        raise SettingsError(
            f"there is no backbone {name!r}", expected=", ".join(BACKBONES), fix=did_you_mean(name, BACKBONES)
        )
    return BACKBONES[name]


def configuration(sizes: Backbone, masks: int, dropout: float) -> Sam2VideoConfig:
    """Return `transformers`' configuration. Image sizes in it matter to none of the parts that are used."""
    width = sizes.width
    vision = Sam2VisionConfig(
        backbone_config=Sam2HieraDetConfig(
            hidden_size=sizes.embed[0],
            num_attention_heads=sizes.heads[0],
            blocks_per_stage=list(sizes.blocks),
            embed_dim_per_stage=list(sizes.embed),
            num_attention_heads_per_stage=list(sizes.heads),
            window_size_per_stage=list(sizes.windows),
            global_attention_blocks=list(sizes.global_blocks),
            window_positional_embedding_background_size=[sizes.background, sizes.background],
        ),
        backbone_channel_list=list(sizes.embed[::-1]),
        fpn_hidden_size=width,
    )
    decoder = Sam2VideoMaskDecoderConfig(
        hidden_size=width,
        num_attention_heads=sizes.decoder_heads,
        mlp_dim=sizes.decoder_mlp,
        num_multimask_outputs=masks,
        iou_head_hidden_dim=width,
    )
    return Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(hidden_size=width),
        mask_decoder_config=decoder,
        num_maskmem=TEMPORAL_SLOTS,
        enable_occlusion_spatial_embedding=sizes.version_2_1,
        enable_temporal_pos_encoding_for_object_pointers=sizes.version_2_1,
        memory_attention_hidden_size=width,
        memory_attention_num_layers=sizes.attention_layers,
        memory_attention_feed_forward_hidden_size=sizes.attention_mlp,
        memory_attention_dropout=dropout,
        memory_attention_rope_dropout=dropout,
        memory_encoder_hidden_size=width,
        memory_encoder_output_channels=MEMORY_WIDTH,
        mask_downsampler_embed_dim=width,
        memory_fuser_embed_dim=width,
        memory_fuser_intermediate_dim=sizes.fuser_mlp,
    )
