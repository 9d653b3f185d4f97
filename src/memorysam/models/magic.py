"""MAGIC: one encoder for all sensors, and features that do not depend on which of them are there (arXiv 2407.11344).

Neither its training code nor the paper's details were at hand; this follows what others tell of it. Told: one SegFormer
encoder shared by all sensors; at each level, an aggregation of their features from a convolution, parallel average
pools of 3, 7 and 11, a gate and a parallel MLP; SegFormer's head; and in training only a selection: sensors are ranked
by cosine similarity to the aggregate, the best and the worst go through a second aggregation and the same head, which
learns from the pixels where the prediction is right, and the others are made consistent with one another by how they
correlate with the aggregate. At inference, any sensors may be given. 24.73 M parameters with MiT-B2 are published.

Ours, for lack of a source:
- the layers of `Aggregation`. The encoder and a head of width 256 have 24.729 M parameters with 25 classes, so that the
  published number leaves room for next to nothing, or leaves the aggregation out: here it is made of depth-wise
  convolutions and a narrow MLP, 0.07 M. It takes the mean where a sum is told of, for its scale must not depend on how
  many sensors are given; and takes it first, which comes to the same, as convolution and pools are linear.
- sensors are ranked for each sample, by the mean over all positions and levels.
- what of the second aggregation passes through the head does not count in the running statistics of its batch norm,
  with which the head judges the first one later.
- consistency is the Jensen-Shannon divergence of distributions over positions, the softmax of the cosine similarity to
  the aggregate, which the loss leaves as it is; it takes two sensors that are neither best nor worst.
- both weights are 1.

Shapes: `B` batch, `M` sensors given, `C` classes, `W` width of a level, `h, w` its size.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memorysam.models.base import Segmentation, upsample
from memorysam.models.mit import MiT
from memorysam.models.parallel_branch import pooled_sum
from memorysam.models.segformer import SegFormerModel
from memorysam.spec import IGNORE, Task

WIDTH = 256
"""Of the head."""
_NARROW = 16
"""The aggregation's MLP is narrower than its level by this factor."""


@dataclass(frozen=True)
class Selection:
    """What is computed in training only, where two or more sensors are given."""

    chosen: Tensor  # [2, B], the best and the worst sensor of each sample
    logits: Tensor | None  # [B, C, H/4, W/4], from these two
    correlations: list[Tensor]  # by level [M - 2, B, h*w], logarithms of the other sensors' distributions


class Aggregation(nn.Module):
    """Joins the features of any number of sensors at one level.

    Args:
        width: `W`.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.local = nn.Conv2d(width, width, kernel_size=3, padding=1, groups=width)
        self.gate = nn.Conv2d(width, width, kernel_size=3, padding=1, groups=width)
        self.mlp = nn.Sequential(
            nn.Conv2d(width, width // _NARROW, kernel_size=1),
            nn.GELU(),
            nn.Conv2d(width // _NARROW, width, kernel_size=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """`[M, B, W, h, w]` to `[B, W, h, w]`."""
        mean = features.mean(dim=0)
        gate: Tensor = self.gate(pooled_sum(self.local(mean))).sigmoid()
        aggregate: Tensor = mean + gate * mean + self.mlp(mean)
        return aggregate


class MAGIC(SegFormerModel):
    """The method.

    Args:
        task: modalities, classes and image size.
        encoder: shared by all sensors.
        dropout: in the head.
        selection_weight: of the selection's loss; 0 for none.
        consistency_weight: of the consistency loss; 0 for none.
    """

    NAME = "magic"
    BASE = ("encoder.",)

    def __init__(
        self,
        task: Task,
        encoder: MiT,
        *,
        dropout: float = 0.1,
        selection_weight: float = 1.0,
        consistency_weight: float = 1.0,
    ) -> None:
        super().__init__(task, encoder, WIDTH, dropout)
        self.encoder = encoder
        self.aggregation = nn.ModuleList(Aggregation(width) for width in encoder.sizes.widths)
        self.selection = nn.ModuleList(Aggregation(width) for width in encoder.sizes.widths)
        several = len(task.modalities) > 1
        self.loss_weights = {
            "selection": selection_weight if several else 0.0,
            "consistency": consistency_weight if len(task.modalities) > 3 else 0.0,
        }
        """Of the losses that there can be with the task's sensors."""
        self.kept |= {"selection_weight": selection_weight, "consistency_weight": consistency_weight}

    def forward(self, images: Mapping[str, Tensor]) -> Segmentation:
        """Segment a batch `{sensor: [B, K, H, W]}`; in training, the one frame is called "selection"."""
        self.check_input(images)
        features = self.encode(images)
        levels = _aggregate(self.aggregation, features)
        embedding = self.head.embed(levels)
        selects = self.training and len(images) > 1 and any(self.loss_weights.values())
        frames: dict[str, object] = {"selection": self.select(features, levels)} if selects else {}
        return Segmentation(self.head.logits(embedding), embedding, frames)

    def encode(self, images: Mapping[str, Tensor]) -> list[Tensor]:
        """Each sensor's features, `[M, B, W, H/4, W/4]` to `[M, B, W, H/32, W/32]`, from one encoder call."""
        three = self.three(images)
        levels = self.encoder(torch.cat(list(three.values())))
        return [level.unflatten(0, (len(three), -1)) for level in levels]

    def levels(self, images: Mapping[str, Tensor]) -> list[Tensor]:
        """Aggregated features `[B, W, H/4, W/4]` to `[B, W, H/32, W/32]`."""
        return _aggregate(self.aggregation, self.encode(images))

    def select(self, features: Sequence[Tensor], levels: Sequence[Tensor]) -> Selection:
        """Rank the sensors of each sample by likeness to the aggregate, and treat the extremes and the others apart.

        Args:
            features: as `encode` gives them, of two or more sensors.
            levels: what was aggregated of them.
        """
        anchors = [level.detach().float().unsqueeze(0) for level in levels]
        pairs = list(zip(features, anchors, strict=True))
        with torch.no_grad():
            likeness = sum(F.cosine_similarity(x.float(), anchor, dim=2).mean(dim=(2, 3)) for x, anchor in pairs)
            order = torch.as_tensor(likeness).argsort(dim=0, descending=True)  # [M, B]
        chosen, others = order[[0, -1]], order[1:-1]
        rows = torch.arange(order.shape[1], device=order.device)
        logits, correlations = None, []
        if self.loss_weights["selection"]:
            extremes = _aggregate(self.selection, [x[chosen, rows] for x in features])
            with _unrecorded(self.head.norm):
                logits = self.head(extremes)
        if self.loss_weights["consistency"] and len(others) > 1:
            likenesses = [F.cosine_similarity(x[others, rows].float(), anchor, dim=2) for x, anchor in pairs]
            correlations = [likeness.flatten(2).log_softmax(dim=-1) for likeness in likenesses]
        return Selection(chosen, logits, correlations)

    def training_losses(self, output: Segmentation, labels: Tensor) -> dict[str, Tensor]:
        """Return the losses of selection and consistency, weighted; 0 where too few sensors were given."""
        selection = output.frames.get("selection")
        losses = dict.fromkeys(self.loss_weights, torch.zeros((), device=output.logits.device))
        if isinstance(selection, Selection):
            if selection.logits is not None:
                losses["selection"] = right_pixels_loss(selection.logits, output, labels)
            if selection.correlations:
                losses["consistency"] = torch.stack([divergence(level) for level in selection.correlations]).mean()
        return {name: weight * losses[name] for name, weight in self.loss_weights.items() if weight}

    def train_only(self, parts: Collection[str]) -> None:
        """Let the named parts train; the second aggregation only where there is a selection."""
        super().train_only(parts)
        if not self.loss_weights["selection"]:
            self.selection.requires_grad_(False)


def right_pixels_loss(logits: Tensor, output: Segmentation, labels: Tensor) -> Tensor:
    """Mean cross entropy over the pixels where a prediction is right; 0, with a gradient of 0, where there are none.

    Args:
        logits: `[B, C, h, w]`, which learn.
        output: the prediction.
        labels: `[B, H, W]`, 255 for pixels that do not count.
    """
    size = labels.shape[-2:]
    right = output.at(size).argmax(dim=1) == labels
    kept = labels.where(right, IGNORE)
    total = F.cross_entropy(upsample(logits, size), kept, ignore_index=IGNORE, reduction="sum")
    return total / right.sum().clamp(min=1)


def divergence(logs: Tensor) -> Tensor:
    """Jensen-Shannon divergence of `R` distributions, given as logarithms `[R, B, N]`; the mean over the batch."""
    middle = logs.logsumexp(dim=0) - math.log(len(logs))
    return (logs.exp() * (logs - middle)).sum(dim=-1).mean()


def _aggregate(modules: nn.ModuleList, features: Sequence[Tensor]) -> list[Tensor]:
    return [module(x) for module, x in zip(modules, features, strict=True)]


@contextmanager
def _unrecorded(norm: nn.BatchNorm2d) -> Iterator[None]:
    """Keep the running statistics of a batch norm as they are within the block."""
    momentum, norm.momentum = norm.momentum, 0.0
    try:
        yield
    finally:
        norm.momentum = momentum
