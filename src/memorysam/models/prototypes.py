"""The training-only memory of class prototypes (semantic prototype memory module, paper section 3.3, Eq. 7-12)."""

from typing import Literal

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

RELEASED_SCALE = 256 * 256


class PrototypeMemory(nn.Module):
    """One global prototype per class: a moving average of the class's mean feature. Buffers only, no parameters.

    Class sums and pixel counts are added up over all ranks, so that every rank holds the same prototypes and the loss
    is that of one process with all the samples.

    Args:
        classes: number of classes `C`.
        width: of the features, `D`.
        momentum: weight of the newest prototype (`a` of Eq. 11).
        form: "paper": the mean over a class's pixels, and a class absent from the batch leaves its global prototype
            alone and adds nothing to the loss. "released": as the authors' code computes it: the mean divided by
            the pixel count again, the loss times 256*256, and an absent class pulls its global prototype to zero.
    """

    prototypes: Tensor  # [C, D], float32

    def __init__(
        self, classes: int, width: int, momentum: float = 0.2, form: Literal["paper", "released"] = "paper"
    ) -> None:
        super().__init__()
        self.momentum = momentum
        self.form = form
        self.register_buffer("prototypes", torch.zeros(classes, width))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Update the global prototypes and return the loss between the batch's and the global ones (Eq. 12).

        Args:
            features: `[B, D, h, w]`, stride 4, averaged over modalities.
            labels: `[B, H, W]` class ids; ids outside `0..C-1` are ignored.
        """
        with torch.autocast(features.device.type, enabled=False):  # sums over many pixels need float32
            sums, counts = class_sums(features.float(), labels, len(self.prototypes))
        sums, counts = _sum_over_ranks(sums, counts)
        current = sums / counts.clamp(min=1)[:, None]
        if self.form == "released":
            current = current / counts.clamp(min=1)[:, None]
            present = torch.ones_like(counts, dtype=torch.bool)
        else:
            present = counts > 0
        with torch.no_grad():
            moved = torch.lerp(self.prototypes, current.detach(), self.momentum)
            self.prototypes.copy_(torch.where(present[:, None], moved, self.prototypes))
        target = self.prototypes.clone()
        loss = F.mse_loss(torch.where(present[:, None], current, target), target)
        return loss * RELEASED_SCALE if self.form == "released" else loss


def class_sums(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Sum features `[B, D, h, w]` over each class's pixels (Eq. 8-9): sums `[C, D]` and pixel counts `[C]`."""
    labels = F.interpolate(labels[:, None].float(), size=features.shape[-2:], mode="nearest")[:, 0]
    members = labels.reshape(1, -1) == torch.arange(classes, device=labels.device)[:, None]  # [C, Bhw]
    members = members.to(features.dtype)
    flat = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
    return members @ flat, members.sum(dim=1)


def _sum_over_ranks(sums: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Add up over all ranks.

    Gradients flow into this rank's features alone and are scaled by the number of ranks, because distributed training
    averages gradients over ranks while this sum wants them added.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return sums, counts
    total = torch.cat([sums.detach(), counts[:, None]], dim=1)
    distributed.all_reduce(total)
    own = (sums - sums.detach()) * distributed.get_world_size()
    return total[:, :-1] + own, total[:, -1]
