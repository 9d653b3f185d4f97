"""Mean fusion, a baseline: one SegFormer encoder for all sensors, the mean of their features, SegFormer's head.

Shapes: `B` batch, `M` sensors given, `W` width of a level.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from memorysam.models.mit import MiT
from memorysam.models.segformer import SegFormerModel
from memorysam.spec import Task

WIDTH = 256
"""Of the head."""


class MeanFusion(SegFormerModel):
    """The method.

    Args:
        task: modalities, classes and image size.
        encoder: shared by all sensors.
        dropout: in the head.
    """

    NAME = "mean-fusion"
    PARTS = ("encoder", "stem", "decoder")
    BASE = ("encoder.",)

    def __init__(self, task: Task, encoder: MiT, *, dropout: float = 0.1) -> None:
        super().__init__(task, encoder, WIDTH, dropout)
        self.encoder = encoder

    def levels(self, images: Mapping[str, Tensor]) -> list[Tensor]:
        """Mean features `[B, W, H/4, W/4]` to `[B, W, H/32, W/32]`, from one encoder call of `M*B` images."""
        three = self.three(images)
        levels = self.encoder(torch.cat(list(three.values())))
        return [level.unflatten(0, (len(three), -1)).mean(dim=0) for level in levels]
