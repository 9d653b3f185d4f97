"""Files of the MiT family: ImageNet encoders (the authors' `.pth`, `transformers`), and the CMNeXt repository's models."""

import re
from collections.abc import Mapping

from torch import Tensor

from memorysam.models.formats.rules import rename
from memorysam.models.formats.translated import Translated
from memorysam.models.mit import BACKBONES

_FROM_ONE = re.compile(r"(patch_embed|block|norm|linear_c|channel_proj|kv|end_proj)([1-4])(?=\.)")
"""What the authors count from 1; the rules below are for names in which all is counted from 0."""

# The authors' names, and the older ones of `transformers`, to its newer ones, which are ours.
_ENCODER = (
    (r"^patch_embed\.(\d)\.proj\.", r"stages.\1.patch_embeddings.proj."),
    (r"^patch_embed\.(\d)\.norm\.", r"stages.\1.patch_embeddings.layer_norm."),
    (r"^block\.(\d)\.(\d+)\.norm\.0\.", r"stages.\1.blocks.\2.layernorm_before."),
    (r"^block\.(\d)\.(\d+)\.norm\.1\.", r"stages.\1.blocks.\2.layernorm_after."),
    (r"^block\.(\d)\.(\d+)\.attn\.([qkv])\.", r"stages.\1.blocks.\2.attention.\3_proj."),
    (r"^block\.(\d)\.(\d+)\.attn\.proj\.", r"stages.\1.blocks.\2.attention.o_proj."),
    (r"^block\.(\d)\.(\d+)\.attn\.sr\.", r"stages.\1.blocks.\2.attention.sequence_reduction.sequence_reduction."),
    (r"^block\.(\d)\.(\d+)\.attn\.norm\.", r"stages.\1.blocks.\2.attention.sequence_reduction.layer_norm."),
    (r"^block\.(\d)\.(\d+)\.mlp\.", r"stages.\1.blocks.\2.mlp."),
    (r"^norm\.(\d)\.", r"stages.\1.layer_norm."),
)
_OLDER_HUB = (
    (r"^encoder\.patch_embeddings\.(\d)\.", r"stages.\1.patch_embeddings."),
    (r"^encoder\.block\.(\d)\.(\d+)\.layer_norm_1\.", r"stages.\1.blocks.\2.layernorm_before."),
    (r"^encoder\.block\.(\d)\.(\d+)\.layer_norm_2\.", r"stages.\1.blocks.\2.layernorm_after."),
    (r"^encoder\.block\.(\d)\.(\d+)\.attention\.self\.query\.", r"stages.\1.blocks.\2.attention.q_proj."),
    (r"^encoder\.block\.(\d)\.(\d+)\.attention\.self\.key\.", r"stages.\1.blocks.\2.attention.k_proj."),
    (r"^encoder\.block\.(\d)\.(\d+)\.attention\.self\.value\.", r"stages.\1.blocks.\2.attention.v_proj."),
    (
        r"^encoder\.block\.(\d)\.(\d+)\.attention\.self\.sr\.",
        r"stages.\1.blocks.\2.attention.sequence_reduction.sequence_reduction.",
    ),
    (
        r"^encoder\.block\.(\d)\.(\d+)\.attention\.self\.layer_norm\.",
        r"stages.\1.blocks.\2.attention.sequence_reduction.layer_norm.",
    ),
    (r"^encoder\.block\.(\d)\.(\d+)\.attention\.output\.dense\.", r"stages.\1.blocks.\2.attention.o_proj."),
    (r"^encoder\.block\.(\d)\.(\d+)\.mlp\.dense([12])\.", r"stages.\1.blocks.\2.mlp.fc\3."),
    (r"^encoder\.block\.(\d)\.(\d+)\.mlp\.dwconv\.", r"stages.\1.blocks.\2.mlp.dwconv."),
    (r"^encoder\.layer_norm\.(\d)\.", r"stages.\1.layer_norm."),
)
_FUSION = (
    (r"^extra_downsample_layers\.(\d)\.proj\.module\.", r"parallel.\1.patches."),
    (r"^extra_downsample_layers\.(\d)\.norm\.ln_(\d+)\.", r"parallel.\1.norms.\2."),
    (r"^extra_score_predictor\.(\d)\.score_nets\.", r"parallel.\1.scores."),
    (r"^extra_block\.(\d)\.(\d+)\.norm\.0\.", r"parallel.\1.blocks.\2.gate_norm."),
    (r"^extra_block\.(\d)\.(\d+)\.attn\.conv0\.", r"parallel.\1.blocks.\2.gate.local."),
    (r"^extra_block\.(\d)\.(\d+)\.attn\.conv4\.", r"parallel.\1.blocks.\2.gate.mix."),
    (r"^extra_block\.(\d)\.(\d+)\.layer_scale_1$", r"parallel.\1.blocks.\2.gate_scale"),
    (r"^extra_block\.(\d)\.(\d+)\.c_nets\.0\.", r"parallel.\1.blocks.\2.channels."),
    (r"^extra_block\.(\d)\.(\d+)\.norm\.1\.", r"parallel.\1.blocks.\2.mlp_norm."),
    (r"^extra_block\.(\d)\.(\d+)\.mlp\.fc1\.", r"parallel.\1.blocks.\2.mlp.0."),
    (r"^extra_block\.(\d)\.(\d+)\.mlp\.dwconv\.dwconv\.", r"parallel.\1.blocks.\2.mlp.1."),
    (r"^extra_block\.(\d)\.(\d+)\.mlp\.fc2\.", r"parallel.\1.blocks.\2.mlp.3."),
    (r"^extra_block\.(\d)\.(\d+)\.layer_scale_2$", r"parallel.\1.blocks.\2.mlp_scale"),
    (r"^extra_norm\.(\d)\.", r"parallel.\1.norm."),
    (r"^FRMs\.(\d)\.channel_weights\.mlp\.", r"rectify.\1.channels."),
    (r"^FRMs\.(\d)\.spatial_weights\.mlp\.", r"rectify.\1.positions."),
    (r"^FFMs\.(\d)\.cross\.channel_proj\.", r"fuse.\1.split."),
    (r"^FFMs\.(\d)\.cross\.cross_attn\.kv\.", r"fuse.\1.key_value."),
    (r"^FFMs\.(\d)\.cross\.end_proj\.", r"fuse.\1.join."),
    (r"^FFMs\.(\d)\.cross\.norm\.", r"fuse.\1.norms."),
    (r"^FFMs\.(\d)\.channel_emb\.residual\.", r"fuse.\1.shortcut."),
    (r"^FFMs\.(\d)\.channel_emb\.channel_embed\.", r"fuse.\1.mix."),
    (r"^FFMs\.(\d)\.channel_emb\.norm\.", r"fuse.\1.norm."),
)
_HEAD = (
    (r"^linear_c\.(\d)\.proj\.", r"head.project.\1."),
    (r"^linear_fuse\.conv\.", "head.fuse."),
    (r"^linear_fuse\.bn\.", "head.norm."),
    (r"^linear_pred\.", "head.classify."),
)
_UNUSED = re.compile(r"^(head|classifier|decode_head)\.")
"""Of a file for an encoder: the classifier of ImageNet, and the head of a SegFormer for some other task."""


def translate(state: Mapping[str, Tensor]) -> Translated | None:
    """Recognise a state dict and translate its names; None where it is none of these kinds."""
    if "backbone.patch_embed1.proj.weight" in state and "decode_head.linear_pred.weight" in state:
        return _from_repository(state)
    if "patch_embed1.proj.weight" in state and "block1.0.attn.sr.weight" in state:
        return _from_authors(state)
    bare = {name.removeprefix("segformer."): tensor for name, tensor in state.items()}
    if "encoder.patch_embeddings.0.proj.weight" in bare or "stages.0.patch_embeddings.proj.weight" in bare:
        return _from_hub(bare)
    return None


def _from_hub(state: Mapping[str, Tensor]) -> Translated | None:
    """`transformers`, with the names of its older or of its newer versions."""
    unused = [name for name in state if _UNUSED.match(name)]
    tensors = {rename(name, _OLDER_HUB): tensor for name, tensor in state.items() if name not in unused}
    return _known_size("MiT (transformers)", tensors, unused=unused)


def _from_authors(state: Mapping[str, Tensor]) -> Translated | None:
    unused = [name for name in state if _UNUSED.match(name)]
    tensors = {rename(name, _ENCODER): tensor for name, tensor in _prepared(state).items() if name not in unused}
    return _known_size("MiT (ImageNet)", tensors, unused=unused)


def _from_repository(state: Mapping[str, Tensor]) -> Translated | None:
    """A whole model of the CMNeXt repository: CMNeXt itself, or CMX, which has a second encoder."""
    system = "cmx" if "backbone.extra_patch_embed1.proj.weight" in state else "cmnext"
    tensors = {}
    for name, tensor in _prepared(state).items():
        ours = _in_repository(name, system)
        # A linear layer there is a 1x1 convolution here.
        is_linear = ours.startswith("head.project.") and ours.endswith(".weight")
        tensors[ours] = tensor[:, :, None, None] if is_linear else tensor
    kind = {"cmx": "CMX (CMNeXt's repository)", "cmnext": "CMNeXt (authors' release)"}[system]
    found = _known_size(kind, tensors, "encoders.0." if system == "cmx" else "encoder.")
    if found is not None:
        found.system, found.masks = system, len(state["decode_head.linear_pred.weight"])
        if system == "cmnext":
            found.settings = {"scrambled_tokens": any(".scores." in name for name in tensors)}
    return found


def _in_repository(name: str, system: str) -> str:
    """Return our name, within the whole model, of what the repository calls `name`, counted from 0."""
    part, _, inner = name.partition(".")
    if part == "decode_head":
        return rename(inner, _HEAD)
    if system == "cmnext":
        joined = rename(inner, _FUSION)
        return joined if joined != inner else f"encoder.{rename(inner, _ENCODER)}"
    if inner.startswith("extra_"):
        return f"encoders.1.{rename(inner.removeprefix('extra_'), _ENCODER)}"
    joined = rename(inner, _FUSION)
    return joined if joined != inner else f"encoders.0.{rename(inner, _ENCODER)}"


def _prepared(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Count from 0, and take joint projections to keys and values apart."""
    tensors = {}
    for name, tensor in state.items():
        counted = _FROM_ONE.sub(lambda found: f"{found[1]}.{int(found[2]) - 1}", name)
        if ".attn.kv." in counted:
            for part, rows in zip("kv", tensor.chunk(2), strict=True):
                tensors[counted.replace(".attn.kv.", f".attn.{part}.")] = rows
        else:
            tensors[counted] = tensor
    return tensors


def _known_size(
    kind: str, tensors: dict[str, Tensor], prefix: str = "", unused: list[str] | None = None
) -> Translated | None:
    """Find the backbone that these tensors belong to by their shapes; None where there is none."""
    patches = tensors.get(f"{prefix}stages.0.patch_embeddings.proj.weight")
    blocks = {
        (int(f[1]), int(f[2]))
        for n in tensors
        if (f := re.match(rf"{re.escape(prefix)}stages\.(\d)\.blocks\.(\d+)\.", n))
    }
    depths = tuple(sum(stage == i for stage, _ in blocks) for i in range(4))
    for name, sizes in BACKBONES.items():
        if patches is not None and sizes.widths[0] == len(patches) and sizes.depths == depths:
            return Translated(kind, "mit", name, tensors, unused=unused or [])
    return None
