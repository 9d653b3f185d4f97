"""SegFormer's all-MLP head: from feature levels to class logits (arXiv 2105.15203)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SegFormerHead(nn.Module):
    """One linear layer per level to a common width, all at the finest size side by side, then two more.

    Args:
        widths: channels of the levels, finest first.
        embed: the common width.
        classes: number of classes `C`.
        dropout: share of the embedding's channels that are dropped in training.
    """

    def __init__(self, widths: Sequence[int], embed: int, classes: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Conv2d(width, embed, kernel_size=1) for width in widths)
        self.fuse = nn.Conv2d(len(widths) * embed, embed, kernel_size=1, bias=False)
        self.norm = nn.BatchNorm2d(embed)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(embed, classes, kernel_size=1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Levels `[B, width, h, w]`, finest first, to logits `[B, C, h, w]` at the size of the first."""
        return self.logits(self.embed(levels))

    def embed(self, levels: Sequence[Tensor]) -> Tensor:
        """Return what the classes are told apart by: `[B, embed, h, w]`."""
        size = levels[0].shape[-2:]
        projected = [project(level) for project, level in zip(self.project, levels, strict=True)]
        resized = [F.interpolate(x, size=size, mode="bilinear", align_corners=False) for x in projected]
        # The released weights expect the coarsest level first.
        fused: Tensor = self.norm(self.fuse(torch.cat(resized[::-1], dim=1)))
        return fused.relu()

    def logits(self, embedding: Tensor) -> Tensor:
        """Return the classes' logits `[B, C, h, w]` of an embedding."""
        logits: Tensor = self.classify(self.dropout(embedding))
        return logits
