"""Renaming by rules, and what several families of files have in common."""

import re
from collections.abc import Mapping

from torch import Tensor

Rules = tuple[tuple[str, str], ...]
"""Patterns and replacements; their order matters, for the first one that fits is applied."""

LORA: Rules = (
    (r"\.attn\.qkv\.qkv\.", ".attn.qkv."),
    (r"\.attn\.qkv\.linear_a_([qv])\.weight$", r".attn.qkv.\1_down"),
    (r"\.attn\.qkv\.linear_b_([qv])\.weight$", r".attn.qkv.\1_up"),
)
"""Of SAMed, and of MemorySAM's release, which builds on it: LoRA is wrapped around each qkv."""


def rename(name: str, rules: Rules) -> str:
    """Return the name after the first rule that fits, or as it was."""
    for pattern, replacement in rules:
        renamed, hits = re.subn(pattern, replacement, name)
        if hits:
            return renamed
    return name


def lora_rank(tensors: Mapping[str, Tensor]) -> int:
    """Return the rank of the deltas among tensors under our names; 0 where there are none."""
    return next((len(tensor) for name, tensor in tensors.items() if name.endswith(".q_down")), 0)
