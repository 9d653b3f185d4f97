"""What CMNeXt, CMX, MAGIC and mean fusion have in common: MiT encoders, four fused levels, SegFormer's head.

Shapes: `B` batch, `K` channels of a sensor, `C` classes, `D` width of the head.
"""

import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from memorysam.models.base import Segmentation, SegmentationModel, ToThree
from memorysam.models.mit import MiT
from memorysam.models.segformer_head import SegFormerHead
from memorysam.spec import Task


class SegFormerModel(SegmentationModel):
    """A system on MiT: a subclass says how the sensors become four levels.

    Args:
        task: modalities, classes and image size.
        encoder: MiT, or one of several of one size, of which settings are kept.
        width: of the head.
        dropout: in the head.
    """

    NAME: ClassVar[str]
    """Of the system."""
    PARTS: ClassVar[tuple[str, ...]] = ("encoder", "stem", "fusion", "decoder")
    FOLLOWS_CLASSES = re.compile(r"^head\.classify\.")

    def __init__(self, task: Task, encoder: MiT, width: int, dropout: float) -> None:
        super().__init__()
        self.task = task
        self.stems = nn.ModuleDict({modality.name: ToThree(modality) for modality in task.modalities})
        self.head = SegFormerHead(encoder.sizes.widths, width, len(task.classes), dropout)
        self.kept = {
            "name": self.NAME,
            "backbone": encoder.name,
            "drop_path": encoder.drop_path,
            "dropout": dropout,
        }
        """What a checkpoint keeps of the settings; a subclass adds its own."""

    def forward(self, images: Mapping[str, Tensor]) -> Segmentation:
        """Segment a batch `{sensor: [B, K, H, W]}`; the features are those of the head, `[B, D, H/4, W/4]`."""
        self.check_input(images)
        features = self.head.embed(self.levels(images))
        return Segmentation(self.head.logits(features), features)

    @abstractmethod
    def levels(self, images: Mapping[str, Tensor]) -> list[Tensor]:
        """Return what the head sees: `[B, width, H/4, W/4]` to `[B, width, H/32, W/32]`."""

    def three(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the sensors' images with three channels: `{sensor: [B, 3, H, W]}`."""
        return {name: self.stems[name](image) for name, image in images.items()}

    def recompute_activations(self, enabled: bool) -> None:
        """Recompute the encoders' activations in the backward pass."""
        for module in self.modules():
            if isinstance(module, MiT):
                module.recompute_activations(enabled)

    def part_of(self, name: str) -> str:
        """Return the part of a parameter."""
        starts = {"encoder": "encoder", "encoders": "encoder", "stems": "stem", "head": "decoder"}
        return starts.get(name.split(".")[0], "fusion")

    def settings(self) -> dict[str, object]:
        """Return the constructor's settings, for a checkpoint."""
        return dict(self.kept)
