"""What is minimised: cross entropy on the hard pixels, plus the model's own losses (paper Eq. 13)."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from memorysam.models.base import Segmentation, SegmentationModel
from memorysam.spec import IGNORE


def ohem_cross_entropy(logits: Tensor, labels: Tensor, probability: float = 0.7, least: float = 1 / 16) -> Tensor:
    """Mean cross entropy over the hard pixels (online hard example mining).

    Args:
        logits: `[B, C, H, W]`.
        labels: `[B, H, W]`, 255 for pixels that do not count.
        probability: a pixel is hard if its true class has less than this.
        least: share of the labelled pixels that is kept even if they are easy; the hardest ones.

    Returns:
        A scalar; 0, with a gradient of 0, where no pixel is labelled.
    """
    losses = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none").flatten()
    losses = losses[labels.flatten() != IGNORE]
    if losses.numel() == 0:
        return logits.sum() * 0
    hard = losses[losses > -math.log(probability)]
    enough = int(losses.numel() * least)
    if hard.numel() < enough:
        hard = losses.topk(enough).values
    return hard.mean() if hard.numel() else losses.mean()


def training_loss(
    model: SegmentationModel,
    output: Segmentation,
    labels: Tensor,
    *,
    weight: float = 1.0,
    probability: float = 0.7,
    least: float = 1 / 16,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss `L = L_ohem + weight * (the model's own losses)` and its terms by name, detached.

    Args:
        model: the bare model, not its wrapper for distributed training.
        output: of its forward.
        labels: `[B, H, W]`.
        weight: lambda of Eq. 13.
        probability: see `ohem_cross_entropy`.
        least: see `ohem_cross_entropy`.
    """
    main = ohem_cross_entropy(output.at(labels.shape[-2:]), labels, probability, least)
    terms = {"ohem": main, **model.training_losses(output, labels)}
    total = main + weight * sum((term for name, term in terms.items() if name != "ohem"), start=torch.zeros_like(main))
    return total, {name: term.detach() for name, term in terms.items()}
