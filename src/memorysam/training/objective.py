"""What is minimised: a loss of the logits, plus the model's own losses (paper Eq. 13)."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from memorysam.config import TrainSettings
from memorysam.errors import SettingsError
from memorysam.models.base import Segmentation, SegmentationModel
from memorysam.spec import IGNORE, Task


class Objective:
    """The loss of the logits, as settings ask for it: `(1 - d) * cross entropy + d * Dice`.

    Args:
        options: which cross entropy, the share d of Dice, weights of classes.
        task: that is trained on.

    Raises:
        SettingsError: not as many weights as classes.
    """

    def __init__(self, options: TrainSettings, task: Task) -> None:
        given, wanted = len(options.class_weights), len(task.classes)
        if given not in (0, wanted):
            raise SettingsError(
                f"there are {given} weights of classes, and {wanted} classes",
                where="train.class_weights",
                expected=f"one for each of: {', '.join(task.classes.names)}",
            )
        self.options = options
        self.weight = options.prototype_weight
        """Of the model's own losses."""
        self._weights = torch.tensor(options.class_weights) if given else None

    def __call__(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of `[B, C, H, W]` in float32 for labels `[B, H, W]`, and what it is made of, by name."""
        options = self.options
        if self._weights is not None:
            self._weights = self._weights.to(logits.device)
        if options.loss == "ohem":
            probability, least = options.ohem_probability, options.ohem_least
            terms = {"ohem": ohem_cross_entropy(logits, labels, probability, least, self._weights)}
        else:
            terms = {"cross_entropy": cross_entropy(logits, labels, self._weights)}
        (loss,) = terms.values()
        if options.dice:
            terms["dice"] = soft_dice(logits, labels)
            loss = (1 - options.dice) * loss + options.dice * terms["dice"]
        return loss, terms


def ohem_cross_entropy(
    logits: Tensor, labels: Tensor, probability: float = 0.7, least: float = 1 / 16, weights: Tensor | None = None
) -> Tensor:
    """Mean cross entropy over the hard pixels (online hard example mining).

    Args:
        logits: `[B, C, H, W]`.
        labels: `[B, H, W]`, 255 for pixels that do not count.
        probability: a pixel is hard if its true class has less than this.
        least: share of the labelled pixels that is kept even if they are easy; the hardest ones.
        weights: `[C]`, of the classes in the mean over what is kept; which pixels are hard does not depend on them. A
            pixel of a class of weight 0 does not count.

    Returns:
        A scalar; 0, with a gradient of 0, where no pixel is labelled.
    """
    losses = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none").flatten()
    shares = _shares(labels, weights).flatten()
    counted = shares.nonzero().flatten()
    losses, shares = losses[counted], shares[counted]
    if losses.numel() == 0:
        return logits.sum() * 0
    kept = (losses > -math.log(probability)).nonzero().flatten()
    enough = int(losses.numel() * least)
    if kept.numel() < enough:
        kept = losses.topk(enough).indices
    if kept.numel():
        losses, shares = losses[kept], shares[kept]
    return losses.mean() if weights is None else (losses * shares).sum() / shares.sum()


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean cross entropy over the labelled pixels.

    Args:
        logits: `[B, C, H, W]`.
        labels: `[B, H, W]`, 255 for pixels that do not count.
        weights: `[C]`, of the classes in the mean.

    Returns:
        A scalar; 0, with a gradient of 0, where no pixel is labelled.
    """
    losses = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    shares = _shares(labels, weights)
    total = shares.sum()
    return (losses * shares).sum() / total.where(total > 0, 1.0)


def soft_dice(logits: Tensor, labels: Tensor) -> Tensor:
    """Soft Dice loss (V-Net, arXiv 1606.04797), the mean over the classes that are present.

    With the probability p of a class at a pixel and y = 1 where it is the pixel's label, else 0, the loss of the class
    is `1 - 2 sum(p y) / (sum(p^2) + sum(y))`. Sums go over all labelled pixels of the batch together. A class is
    present if it is the label of one of them; the others have no part in the mean, so nothing is divided by 0.

    Args:
        logits: `[B, C, H, W]`.
        labels: `[B, H, W]`, 255 for pixels that do not count.

    Returns:
        A scalar from 0 to 1; 0, with a gradient of 0, where no pixel is labelled.
    """
    probability = logits.softmax(dim=1) * (labels != IGNORE)[:, None]
    truth = labels[:, None] == torch.arange(logits.shape[1], device=labels.device)[:, None, None]
    area = truth.sum((0, 2, 3))
    present = area > 0
    overlap = (probability * truth).sum((0, 2, 3))
    both = probability.square().sum((0, 2, 3)) + area
    losses = (1 - 2 * overlap / both.where(present, 1.0)).where(present, 0.0)
    return losses.sum() / present.sum().clamp(min=1)


def training_loss(
    model: SegmentationModel, output: Segmentation, labels: Tensor, objective: Objective | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss `L = L_main + weight * (the model's own losses)` and its terms by name, detached.

    Args:
        model: the bare model, not its wrapper for distributed training.
        output: of its forward.
        labels: `[B, H, W]`.
        objective: the main loss and the weight (lambda of Eq. 13); by default the paper's.
    """
    objective = objective or Objective(TrainSettings(), model.task)
    main, terms = objective(output.at(labels.shape[-2:]), labels)
    own = model.training_losses(output, labels)
    total = main + objective.weight * sum(own.values(), start=torch.zeros_like(main))
    return total, {name: term.detach() for name, term in {**terms, **own}.items()}


def _shares(labels: Tensor, weights: Tensor | None) -> Tensor:
    """Return what each pixel counts for in a mean, `[B, H, W]` in float32: nothing, one, or the weight of its class."""
    labelled = labels != IGNORE
    if weights is None:
        return labelled.float()
    return weights[labels.where(labelled, 0)] * labelled
