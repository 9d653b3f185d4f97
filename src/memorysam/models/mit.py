"""MiT, SegFormer's encoder (arXiv 2105.15203), from the stages of `transformers`.

Every private detail of `transformers`' SegFormer that this package relies on is in this file and in `formats/mit.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.segformer.configuration_segformer import SegformerConfig
from transformers.models.segformer.modeling_segformer import SegformerDropPath, SegformerLayer, SegformerStage

DropPath = SegformerDropPath
"""Leaves a residual branch out for some samples in training, and scales the others up for it."""


@dataclass(frozen=True)
class Backbone:
    """Sizes of one MiT: one value per stage, at strides 4, 8, 16 and 32."""

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int] = (1, 2, 5, 8)
    reductions: tuple[int, int, int, int] = (8, 4, 2, 1)
    """Keys and values are this much coarser than queries, in height and in width."""
    embed: int = 512
    """Width of the head that CMNeXt and CMX put on it."""


_B0, _B1 = (32, 64, 160, 256), (64, 128, 320, 512)

BACKBONES: dict[str, Backbone] = {
    "mit-b0": Backbone(_B0, (2, 2, 2, 2), embed=256),
    "mit-b1": Backbone(_B1, (2, 2, 2, 2), embed=256),
    "mit-b2": Backbone(_B1, (3, 4, 6, 3)),
    "mit-b3": Backbone(_B1, (3, 4, 18, 3)),
    "mit-b4": Backbone(_B1, (3, 8, 27, 3)),
    "mit-b5": Backbone(_B1, (3, 6, 40, 3)),
    "micro": Backbone((16, 32, 48, 64), (1, 1, 2, 1), heads=(1, 2, 3, 4), embed=64),
}


class MiT(nn.Module):
    """The encoder. Fresh weights have PyTorch's own scale.

    Args:
        name: of the backbone.
        drop_path: share of the samples for which the last block is left out in training; less in earlier blocks.
    """

    def __init__(self, name: str, drop_path: float = 0.1) -> None:
        super().__init__()
        self.name = name
        self.sizes = BACKBONES[name]
        self.drop_path = drop_path
        config = SegformerConfig(
            depths=list(self.sizes.depths),
            hidden_sizes=list(self.sizes.widths),
            num_attention_heads=list(self.sizes.heads),
            sr_ratios=list(self.sizes.reductions),
        )
        config._attn_implementation = "sdpa"
        rates = [rate for stage in drop_rates(self.sizes, drop_path) for rate in stage]
        self.stages = nn.ModuleList(SegformerStage(config, i, rates) for i in range(4))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """`[N, 3, H, W]` to four levels `[N, width, H/4, W/4]` to `[N, width, H/32, W/32]`."""
        levels = []
        for i in range(4):
            pixels = self.stage(i, pixels)
            levels.append(pixels)
        return levels

    def stage(self, i: int, x: Tensor) -> Tensor:
        """Stage `i`, from 0: the image or the level before, to the next level."""
        level: Tensor = self.stages[i](x)
        return level

    def recompute_activations(self, enabled: bool) -> None:
        """Trade time for memory: keep only each block's input for the backward pass."""
        for module in self.modules():
            if isinstance(module, SegformerLayer):
                module.gradient_checkpointing = enabled
                module._gradient_checkpointing_func = recompute


def drop_rates(sizes: Backbone, drop_path: float) -> list[list[float]]:
    """Return each block's rate of being left out, by stage: from 0 for the first block to `drop_path` for the last."""
    blocks = sum(sizes.depths)
    rates = [drop_path * i / (blocks - 1) for i in range(blocks)]
    ends = [0, *accumulate(sizes.depths)]
    return [rates[start:end] for start, end in pairwise(ends)]


def recompute(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function, and again in the backward pass instead of keeping what it computed."""
    return torch.utils.checkpoint.checkpoint(function, *args, use_reentrant=False)
