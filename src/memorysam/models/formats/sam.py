"""SAM's files: in `transformers` format, Meta's `.pth` files, and the releases of SAMed and CWSAM."""

import re
from collections.abc import Mapping

from torch import Tensor

from memorysam.errors import WeightsError
from memorysam.models.formats.rules import LORA, lora_rank, rename
from memorysam.models.formats.translated import Translated
from memorysam.models.sam import BACKBONES, Backbone

# Meta's names to those of `transformers`, which are ours. Order matters: the first rule that fits is applied.
_THREE_LAYERS = r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers"
_META = (
    (r"^image_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
    (r"^image_encoder\.blocks\.(\d+)\.norm(\d)\.", r"vision_encoder.layers.\1.layer_norm\2."),
    (r"^image_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^image_encoder\.neck\.0\.", "vision_encoder.neck.conv1."),
    (r"^image_encoder\.neck\.1\.", "vision_encoder.neck.layer_norm1."),
    (r"^image_encoder\.neck\.2\.", "vision_encoder.neck.conv2."),
    (r"^image_encoder\.neck\.3\.", "vision_encoder.neck.layer_norm2."),
    (r"^image_encoder\.pos_embed$", "vision_encoder.pos_embed"),
    (r"^mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"^mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"^mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
    (r"^mask_decoder\.transformer\.layers\.(\d+)\.norm(\d)\.", r"mask_decoder.transformer.layers.\1.layer_norm\2."),
    (r"^mask_decoder\.transformer\.norm_final_attn\.", "mask_decoder.transformer.layer_norm_final_attn."),
    (rf"{_THREE_LAYERS}\.0\.", r"\1.proj_in."),
    (rf"{_THREE_LAYERS}\.1\.", r"\1.layers.0."),
    (rf"{_THREE_LAYERS}\.2\.", r"\1.proj_out."),
    (r"^(?:prompt_encoder\.)?pe_layer\.positional_encoding_gaussian_matrix$", "positional_embedding"),
    (r"^prompt_encoder\.no_mask_embed\.", "no_mask_embed."),
)
_META_UNUSED = re.compile(r"^prompt_encoder\.(point_embeddings|not_a_point_embed|mask_downscaling)\.")
_HUB = (
    # The same tensor; a file may have it under either name, or both.
    (r"^(?:shared_image_embedding|prompt_encoder\.shared_embedding)\.positional_embedding$", "positional_embedding"),
    (r"^prompt_encoder\.no_mask_embed\.", "no_mask_embed."),
)
_HUB_UNUSED = re.compile(r"^prompt_encoder\.(point_embed|not_a_point_embed|mask_embed)\.")
_CWSAM = (
    (r"^image_encoder\.blocks\.(\d+)\.Space_Adapter\.", r"adapters.\1.space."),
    (r"^image_encoder\.blocks\.(\d+)\.MLP_Adapter\.", r"adapters.\1.mlp."),
    (r"^image_encoder\.blocks\.(\d+)\.Depth_Adapter\.", r"adapters.\1.depth."),
    (r"^image_encoder\.prompt_generator\.prompt_generator\.proj\.", "prompts.handcrafted."),
    (r"^image_encoder\.prompt_generator\.embedding_generator\.", "prompts.embedding."),
    (r"^image_encoder\.prompt_generator\.lightweight_mlp_(\d+)\.0\.", r"prompts.light.\1."),
    (r"^image_encoder\.prompt_generator\.shared_mlp\.", "prompts.shared."),
    (r"^mask_decoder\.cls_upscaling\.0\.", "class_upscaling.finer."),
    (r"^mask_decoder\.cls_upscaling\.1\.", "class_upscaling.norm."),
    (r"^mask_decoder\.cls_upscaling\.3\.", "class_upscaling.to_classes."),
)
_CWSAM_INNER = ((r"^(adapters\..*)\.D_fc1\.", r"\1.down."), (r"^(adapters\..*)\.D_fc2\.", r"\1.up."))
_CWSAM_UNUSED = re.compile(r"^criterionBCE\.weight$")
"""Weights of the classes in its training loss."""


def translate(state: Mapping[str, Tensor]) -> Translated | None:
    """Recognise a state dict and translate its names; None where it is none of these kinds.

    Raises:
        WeightsError: SAMed's own file, which lacks the encoder.
    """
    if "vision_encoder.pos_embed" in state:
        return _from_hub(state)
    if "sam.image_encoder.pos_embed" in state:
        return _from_samed(state)
    if "image_encoder.prompt_generator.shared_mlp.weight" in state:
        return _from_cwsam(state)
    if "image_encoder.pos_embed" in state:
        return _from_meta(state)
    if "w_a_000" in state and "w_b_000" in state:
        raise WeightsError(
            "this file holds SAMed's LoRA matrices and mask decoder without the image encoder that they adapt",
            expected="the whole model in one file",
            fix="in SAMed's code, build LoRA_Sam from SAM's .pth, let it load this file with load_lora_parameters, and "
            "save its state_dict()",
        )
    return None


def _from_hub(state: Mapping[str, Tensor]) -> Translated | None:
    unused = [name for name in state if _HUB_UNUSED.match(name)]
    tensors = {rename(name, _HUB): tensor for name, tensor in state.items() if name not in unused}
    return _known_size("SAM (transformers)", tensors, unused)


def _from_meta(state: Mapping[str, Tensor]) -> Translated | None:
    unused = [name for name in state if _META_UNUSED.match(name)]
    tensors = {rename(name, _META): tensor for name, tensor in state.items() if name not in unused}
    return _known_size("SAM (Meta)", tensors, unused)


def _from_samed(state: Mapping[str, Tensor]) -> Translated | None:
    """The assembled model: Meta's names below `sam.`, with LoRA wrapped around each qkv; a mask token per class."""
    unused = [name for name in state if _META_UNUSED.match(name.removeprefix("sam."))]
    tensors = {
        rename(rename(name.removeprefix("sam."), LORA), _META): tensor
        for name, tensor in state.items()
        if name not in unused
    }
    found = _known_size("SAM-LoRA (SAMed)", tensors, unused)
    if found is not None:
        found.system, found.settings = "sam-lora", {"lora_rank": lora_rank(tensors)}
        found.tensors = {f"sam.{name}": tensor for name, tensor in tensors.items()}
    return found


def _from_cwsam(state: Mapping[str, Tensor]) -> Translated | None:
    """Meta's names, with what the method adds among them and the prompt encoder's two tensors at the top."""
    unused = [name for name in state if _CWSAM_UNUSED.match(name)]
    renamed = {rename(name, _CWSAM): tensor for name, tensor in state.items() if name not in unused}
    added = {name for name in renamed if name.startswith(("adapters.", "prompts.", "class_upscaling."))}
    base = {rename(name, _META): tensor for name, tensor in renamed.items() if name not in added}
    found = _known_size("CWSAM", base, unused)
    to_classes = renamed.get("class_upscaling.to_classes.bias")
    if found is None or to_classes is None:
        return None
    found.system, found.settings = "cwsam", {"scrambled_tokens": True}
    found.masks = len(to_classes) // (BACKBONES[found.backbone].width // 8)
    found.tensors = {f"sam.{name}": tensor for name, tensor in base.items()}
    found.tensors |= {rename(name, _CWSAM_INNER): renamed[name] for name in added}
    return found


def _known_size(kind: str, tensors: dict[str, Tensor], unused: list[str]) -> Translated | None:
    """Find the backbone that these tensors belong to by their shapes; None where there is none."""
    embed = tensors["vision_encoder.pos_embed"].shape[-1]
    blocks = {int(found[1]) for name in tensors if (found := re.match(r"vision_encoder\.layers\.(\d+)\.", name))}
    tokens = tensors.get("mask_decoder.mask_tokens.weight")

    def fits(sizes: Backbone) -> bool:
        return sizes.embed == embed and sizes.blocks == len(blocks)

    names = [name for name, sizes in BACKBONES.items() if fits(sizes)]
    if not names or tokens is None:
        return None
    return Translated(kind, "sam", names[0], tensors, masks=len(tokens), unused=unused)
