"""CMX: two sensors, two encoders that correct each other at each level (arXiv 2203.04838).

What happens where one of the two is missing at call time is not in the paper. Here, a zero image is in its place.

Shapes: `B` batch, `W` width of a level.
"""

import re
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from memorysam.models.mit import MiT
from memorysam.models.rectify_fuse import Fusion, Rectification
from memorysam.models.segformer import SegFormerModel
from memorysam.spec import Task


class CMX(SegFormerModel):
    """The method.

    Args:
        task: two sensors, classes and image size.
        encoders: of the first and of the second sensor, of one size.
        dropout: in the head.
    """

    NAME = "cmx"

    def __init__(self, task: Task, encoders: tuple[MiT, MiT], *, dropout: float = 0.1) -> None:
        sizes = encoders[0].sizes
        super().__init__(task, encoders[0], sizes.embed, dropout)
        # Place and name: weights must not be loaded for other sensors, nor for the same two in the other order.
        places = [f"{i + 1}_{name}" for i, name in enumerate(task.names)]
        self.encoders = nn.ModuleDict(dict(zip(places, encoders, strict=True)))
        self.rectify = nn.ModuleList(Rectification(width) for width in sizes.widths)
        self.fuse = nn.ModuleList(Fusion(width, heads) for width, heads in zip(sizes.widths, sizes.heads, strict=True))
        self.BASE = tuple(f"encoders.{place}." for place in places)

    def levels(self, images: Mapping[str, Tensor]) -> list[Tensor]:
        """Fused features `[B, W, H/4, W/4]` to `[B, W, H/32, W/32]`."""
        three = self.three(images)
        nothing = torch.zeros_like(next(iter(three.values())))
        a, b = (three.get(name, nothing) for name in self.task.names)
        encoder_a, encoder_b = (cast("MiT", encoder) for encoder in self.encoders.values())
        fused = []
        for i in range(4):
            a, b = self.rectify[i](encoder_a.stage(i, a), encoder_b.stage(i, b))
            fused.append(self.fuse[i](a, b))
        return fused

    def own_name(self, name: str) -> str:
        """Return the name here of a released tensor, whose encoders have the numbers 0 and 1."""
        return re.sub(r"^encoders\.([01])\.", lambda found: self.BASE[int(found[1])], name)
