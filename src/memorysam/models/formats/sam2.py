"""SAM2's files: in `transformers` format, Meta's `.pt` files of SAM 2.0 and 2.1, and the authors' MemorySAM release."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from memorysam.models.formats.rules import LORA, lora_rank, rename
from memorysam.models.formats.translated import Translated
from memorysam.models.sam2_sizes import BACKBONES, Backbone

# Meta's names to those of `transformers`, which are ours. Order matters: the first rule that fits is applied.
_THREE_LAYERS = r"(output_hypernetworks_mlps\.\d+|iou_prediction_head|pred_obj_score_head|object_pointer_proj)"
_META_PREFIXES = (
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.", "vision_encoder.neck."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (
        r"^sam_prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$",
        "shared_image_embedding.positional_embedding",
    ),
    (r"^sam_prompt_encoder\.(no_mask_embed|not_a_point_embed)\.", r"\1."),
)
_META_INNER = (
    (r"^(vision_encoder\.backbone\.patch_embed)\.proj\.", r"\1.projection."),
    (r"^(vision_encoder\.neck\.convs\.\d+)\.conv\.", r"\1."),
    (r"^(vision_encoder\.backbone\.blocks\.\d+\.mlp|mask_decoder\.transformer\.layers\.\d+\.mlp)\.layers\.0\.", r"\1.proj_in."),
    (r"^(vision_encoder\.backbone\.blocks\.\d+\.mlp|mask_decoder\.transformer\.layers\.\d+\.mlp)\.layers\.1\.", r"\1.proj_out."),
    (rf"{_THREE_LAYERS}\.layers\.0\.", r"\1.proj_in."),
    (rf"{_THREE_LAYERS}\.layers\.2\.", r"\1.proj_out."),
    (rf"{_THREE_LAYERS}\.layers\.1\.", r"\1.layers.0."),
    (r"^mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"^mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"^mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
    (r"^mask_decoder\.transformer\.norm_final_attn\.", "mask_decoder.transformer.layer_norm_final_attn."),
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"^memory_encoder\.fuser\.layers\.(\d+)\.gamma$", r"memory_encoder.memory_fuser.layers.\1.scale"),
    (r"^memory_encoder\.fuser\.layers\.(\d+)\.dwconv\.", r"memory_encoder.memory_fuser.layers.\1.depthwise_conv."),
    (r"^memory_encoder\.fuser\.layers\.(\d+)\.norm\.", r"memory_encoder.memory_fuser.layers.\1.layer_norm."),
    (r"^memory_encoder\.fuser\.layers\.(\d+)\.pwconv(\d)\.", r"memory_encoder.memory_fuser.layers.\1.pointwise_conv\2."),
    *(
        rule
        for i in range(4)  # convolution, norm and activation, four times; then the last convolution
        for rule in (
            (rf"^memory_encoder\.mask_downsampler\.encoder\.{3 * i}\.", f"memory_encoder.mask_downsampler.layers.{i}.conv."),
            (rf"^memory_encoder\.mask_downsampler\.encoder\.{3 * i + 1}\.", f"memory_encoder.mask_downsampler.layers.{i}.layer_norm."),
        )
    ),
    (r"^memory_encoder\.mask_downsampler\.encoder\.12\.", "memory_encoder.mask_downsampler.final_conv."),
    (r"^memory_attention\.norm\.", "memory_attention.layer_norm."),
    (r"\.out_proj\.(weight|bias)$", r".o_proj.\1"),
    (r"\.norm(\d)\.(weight|bias)$", r".layer_norm\1.\2"),
)  # fmt: skip
_META_UNUSED = re.compile(
    r"^(no_mem_pos_enc$|mask_downsample\.|sam_prompt_encoder\.(point_embeddings|mask_downscaling)\.)"
)
_HUB_UNUSED = re.compile(
    r"^(no_memory_positional_encoding$|mask_downsample\.|prompt_encoder\.(mask_embed|point_embed|shared_embedding)\.)"
)


def translate(state: Mapping[str, Tensor]) -> Translated | None:
    """Recognise a state dict and translate its names; None where it is none of these kinds."""
    if "vision_encoder.backbone.pos_embed" in state:
        return _from_hub(state)
    if "image_encoder.trunk.pos_embed" in state:
        return _from_meta(state)
    if "sam.image_encoder.trunk.pos_embed" in state:
        return _from_release(state)
    return None


def _from_hub(state: Mapping[str, Tensor]) -> Translated | None:
    unused = [name for name in state if _HUB_UNUSED.match(name)]
    tensors = {
        re.sub(r"^prompt_encoder\.", "", name): tensor for name, tensor in state.items() if not _HUB_UNUSED.match(name)
    }
    return _known_size("SAM2 (transformers)", tensors, unused)


def _from_meta(state: Mapping[str, Tensor]) -> Translated | None:
    unused = [name for name in state if _META_UNUSED.match(name)]
    tensors = {rename_meta(name): tensor for name, tensor in state.items() if not _META_UNUSED.match(name)}
    return _known_size("SAM2 (Meta)", tensors, unused)


def _from_release(state: Mapping[str, Tensor]) -> Translated | None:
    """The authors' release: Meta's names below `sam.`, with LoRA wrapped around each qkv."""
    unused = [name for name in state if _META_UNUSED.match(name.removeprefix("sam."))]
    tensors = {rename_release(name): tensor for name, tensor in state.items() if name not in unused}
    for name in [name for name in tensors if name.endswith((".q_up", ".v_up"))]:
        width = tensors[name.rsplit(".", 1)[0] + ".weight"].shape[0] // 3
        tensors[name] = _widen(tensors[name], width, at_end=name.endswith(".v_up"))
    found = _known_size("MemorySAM (authors' release)", tensors, unused)
    if found is not None:
        found.system, found.settings = "memorysam", {"lora_rank": lora_rank(tensors)}
        found.tensors = {f"sam2.{name}": tensor for name, tensor in tensors.items()}
    return found


def _widen(up: Tensor, width: int, at_end: bool) -> Tensor:
    """Pad with zero rows: at the three stage transitions the release adapts `in_features` of `width` channels only.

    The q delta reaches the first, the v delta the last of them.
    """
    missing = up.new_zeros(width - up.shape[0], up.shape[1])
    return torch.cat([missing, up] if at_end else [up, missing])


def rename_meta(name: str) -> str:
    """Return our name, within the SAM2 parts, of the tensor that Meta's files call `name`."""
    return rename(rename(name, _META_PREFIXES), _META_INNER)


def rename_release(name: str) -> str:
    """Return the same of the tensor that the authors' MemorySAM checkpoints call `name`."""
    return rename_meta(rename(name.removeprefix("sam."), LORA))


def _known_size(kind: str, tensors: dict[str, Tensor], unused: list[str]) -> Translated | None:
    """Find the backbone that these tensors belong to by their shapes; None where there is none."""
    prefix = "vision_encoder.backbone."
    embed = tensors[prefix + "pos_embed"].shape[1]
    blocks = {int(found[1]) for name in tensors if (found := re.match(rf"{re.escape(prefix)}blocks\.(\d+)\.", name))}
    newer = "occlusion_spatial_embedding_parameter" in tensors
    tokens = tensors.get("mask_decoder.mask_tokens.weight")

    def fits(sizes: Backbone) -> bool:
        return sizes.embed[0] == embed and sum(sizes.blocks) == len(blocks) and sizes.version_2_1 == newer

    names = [name for name, sizes in BACKBONES.items() if fits(sizes)]
    if not names or tokens is None:
        return None
    return Translated(kind, "sam2", names[0], tensors, masks=len(tokens) - 1, unused=unused)
