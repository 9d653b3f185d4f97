"""What SAM-LoRA and CWSAM have in common: SAM, through which all sensors go in one batch, and the mean over them.

Both are written for one modality. How MemorySAM's authors gave them several for their comparison is not stated; here,
all go through the same encoder and decoder, and the logits are averaged.

Shapes: `B` batch, `M` modalities, `N = M*B`, `K` channels of a modality, `C` classes, `D` width of SAM's decoder,
`h, w` = `H/16, W/16`.
"""

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from memorysam.models.base import Segmentation, SegmentationModel, ToThree
from memorysam.models.sam import SAM, Frame, fuse
from memorysam.spec import Task


class SAMModel(SegmentationModel):
    """A system on SAM: a subclass says how images become embeddings, and these logits.

    Args:
        task: modalities, classes and image size.
        sam: the SAM parts.
    """

    BASE = ("sam.",)

    def __init__(self, task: Task, sam: SAM) -> None:
        super().__init__()
        self.task = task
        self.sam = sam
        self.stems = nn.ModuleDict({modality.name: ToThree(modality) for modality in task.modalities})

    def forward(self, images: Mapping[str, Tensor]) -> Segmentation:
        """Segment a batch: `{modality: [B, K, H, W]}`."""
        self.check_input(images)
        return fuse(self.decode(self.encode(images)).split(images))

    def three(self, images: Mapping[str, Tensor]) -> Tensor:
        """Return the images of all modalities with three channels, in one batch: `[N, 3, H, W]`."""
        return torch.cat([self.stems[name](image) for name, image in images.items()])

    @abstractmethod
    def encode(self, images: Mapping[str, Tensor]) -> Tensor:
        """Image encoder, shared by all modalities, in one batched call: `[N, D, h, w]`."""

    @abstractmethod
    def decode(self, embedding: Tensor) -> Frame:
        """Decoder without a prompt: `[N, D, h, w]` to logits `[N, C, H/4, W/4]`."""

    def fit(self, name: str, tensor: Tensor, size: torch.Size) -> Tensor:
        """Return a position table at the size of this model's images."""
        return self.sam.fit(name.removeprefix("sam."), tensor, size)

    def recompute_activations(self, enabled: bool) -> None:
        """Trade time for memory in training: keep only the input of each block of the encoder."""
        self.sam.recomputes = enabled
