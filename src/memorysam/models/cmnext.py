"""CMNeXt: an RGB branch, and one parallel branch for all further sensors (arXiv 2303.01480).

The RGB branch sees the task's first sensor; alone, it is a plain SegFormer. What happens where sensors are missing at
call time is not in the paper. Here: in place of the first one, the RGB branch sees a zero image, as in published
evaluations; further ones are left out of the hub, and if none of them is there, all are zero images.

The released code, with two further sensors or more, hands each one's features to the next stage with channels and
positions mixed up (a wrong reshape), where the paper means them as they are. `scrambled_tokens` repeats this.

Shapes: `B` batch, `W` width of a level.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from memorysam.models.mit import MiT, drop_rates
from memorysam.models.parallel_branch import ParallelBlock, ParallelStage
from memorysam.models.rectify_fuse import Fusion, Rectification
from memorysam.models.segformer import SegFormerModel
from memorysam.spec import Task


class CMNeXt(SegFormerModel):
    """The method.

    Args:
        task: modalities, classes and image size.
        encoder: of the RGB branch.
        dropout: in the head.
        scrambled_tokens: do as the released code does, for weights that were trained with it.
    """

    NAME = "cmnext"
    BASE = ("encoder.",)

    def __init__(self, task: Task, encoder: MiT, *, dropout: float = 0.1, scrambled_tokens: bool = False) -> None:
        super().__init__(task, encoder, encoder.sizes.embed, dropout)
        self.encoder = encoder
        self.scrambled_tokens = scrambled_tokens
        self.kept["scrambled_tokens"] = scrambled_tokens
        sizes, rates = encoder.sizes, drop_rates(encoder.sizes, encoder.drop_path)
        self.first, *self.extras = task.names
        stages = range(4 if self.extras else 0)
        self.parallel = nn.ModuleList(ParallelStage(sizes, i, self.extras, rates[i]) for i in stages)
        self.rectify = nn.ModuleList(Rectification(sizes.widths[i]) for i in stages)
        self.fuse = nn.ModuleList(Fusion(sizes.widths[i], sizes.heads[i]) for i in stages)

    def levels(self, images: Mapping[str, Tensor]) -> list[Tensor]:
        """Fused features `[B, W, H/4, W/4]` to `[B, W, H/32, W/32]`."""
        rgb, extras = self._branches(images)
        fused = []
        for i in range(4):
            rgb = self.encoder.stage(i, rgb)
            if not self.extras:
                fused.append(rgb)
                continue
            extras, merged = self.parallel[i](extras)
            rgb, merged = self.rectify[i](rgb, merged)
            fused.append(self.fuse[i](rgb, merged))
            extras = {name: self._onward(x, merged) for name, x in extras.items()}
        return fused

    def _onward(self, x: Tensor, merged: Tensor) -> Tensor:
        """Return what the next stage sees of a further sensor: its features and the merged ones, `[B, W, h, w]`."""
        if len(self.extras) == 1:
            return merged
        if self.scrambled_tokens:
            b, width, h, w = x.shape
            x = x.reshape(b, h, w, width).permute(0, 3, 1, 2)
        return x + merged

    def _branches(self, images: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what either branch sees: one image `[B, 3, H, W]`, and one for each further sensor."""
        three = self.three(images)
        nothing = torch.zeros_like(next(iter(three.values())))
        extras = {name: three[name] for name in self.extras if name in three}
        return three.get(self.first, nothing), extras or dict.fromkeys(self.extras, nothing)

    def recompute_activations(self, enabled: bool) -> None:
        """Recompute the activations of both branches' blocks in the backward pass."""
        super().recompute_activations(enabled)
        for module in self.parallel.modules():
            if isinstance(module, ParallelBlock):
                module.recompute = enabled

    def own_name(self, name: str) -> str:
        """Return the name here of a released tensor, whose further sensors have numbers, from 0."""

        def sensor(found: re.Match[str]) -> str:
            number = int(found[2])
            return found[1] + (self.extras[number] if number < len(self.extras) else found[2])

        return re.sub(r"^(parallel\.\d\.(?:norms|scores)\.)(\d+)(?=\.)", sensor, name)
