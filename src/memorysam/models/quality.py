"""How far each sensor is to be trusted, pixel by pixel: weights in place of the mean of MemorySAM's Eq. 6.

Not in the paper. Shapes: `M` modalities shown, `B` batch, `D` SAM2's width, `C` classes, `h, w` = `H/16, W/16`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memorysam.models.base import upsample


class QualityHead(nn.Module):
    """One map of quality for each modality, and the mean of their logits that it weighs.

    A fresh head gives every modality the same quality, so that a model starts as the plain mean.

    Args:
        width: channels `D` of the conditioned features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        # One head for all modalities. A bias would be the same for all, and cancel.
        self.score = nn.Conv2d(width, 1, kernel_size=1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, conditioned: Sequence[Tensor], logits: Sequence[Tensor]) -> Tensor:
        """Fuse `M` modalities: features `[B, D, h, w]` and logits `[B, C, 4h, 4w]` of each, to `[B, C, 4h, 4w]`."""
        stacked = torch.stack(list(logits))
        shares = self.shares(conditioned, stacked.shape[-2:])
        # Divided last, as a mean is: equal qualities give the very same numbers.
        return ((shares * stacked.float()).sum(dim=0) / shares.sum(dim=0)).to(stacked.dtype)

    def weights(self, conditioned: Sequence[Tensor], size: torch.Size) -> Tensor:
        """Return the weight of each modality at each pixel, `[M, B, 1, *size]`; they sum to 1 over the modalities."""
        shares = self.shares(conditioned, size)
        return shares / shares.sum(dim=0)

    def shares(self, conditioned: Sequence[Tensor], size: torch.Size) -> Tensor:
        """Return the weights before they are divided by their sum, in float32: 1 for the best modality of a pixel."""
        quality = torch.stack([upsample(self.quality(features), size) for features in conditioned])
        return (quality - quality.amax(dim=0).detach()).exp()

    def quality(self, features: Tensor) -> Tensor:
        """Return the quality `[B, 1, h, w]` of one modality, from its features' direction alone.

        The first frame has not been through memory attention and the norm at its end: its features are of another size,
        with which it would outweigh all others, or nothing.
        """
        normed = F.layer_norm(features.movedim(1, -1), features.shape[1:2]).movedim(-1, 1)
        quality: Tensor = self.score(normed)
        return quality
