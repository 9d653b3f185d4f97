"""MemorySAM: several sensors as the frames of one video (arXiv 2503.06700).

Shapes: `B` batch, `M` modalities, `K` channels of a modality, `C` classes, `D` SAM2's width, `h, w` = `H/16, W/16`.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from memorysam.models.base import Segmentation, SegmentationModel, ToThree
from memorysam.models.lora import LORA_TENSORS, add_lora
from memorysam.models.prototypes import PrototypeMemory
from memorysam.models.quality import QualityHead
from memorysam.models.sam2 import SAM2, Masks, Memory, Pyramid
from memorysam.spec import Task


@dataclass(frozen=True)
class Frame:
    """What the model makes of one modality."""

    pyramid: Pyramid
    conditioned: Tensor  # [B, D, h, w], after memory attention
    masks: Masks


class MemorySAM(SegmentationModel):
    """The method. Each stage of the paper's figure is a public method.

    Args:
        task: modalities, classes and image size.
        sam2: the SAM2 parts, with as many masks as classes.
        lora_rank: of the deltas on q and v of the image encoder; 0 for none.
        memory: whether later modalities attend to the memory of earlier ones (off: each sees itself alone).
        latest: of how many of the latest modalities the memories are attended to; 0 for all.
        residual: whether the prediction is the mean over modalities (Eq. 6) or the last modality's mask.
        prototypes: the training-only class memory, or none.
        quality: what weighs the modalities in that mean; none: all count the same, as published.
    """

    PARTS = ("encoder", "lora", "stem", "memory", "fusion", "decoder", "heads", "prompt")
    """heads: IoU, object score, pointer projection and gate, which the released training freezes and no loss of the
    method is for; prompt: SAM2's fixed inputs."""
    BASE = ("sam2.",)
    FOLLOWS_CLASSES = re.compile(
        r"^sam2\.mask_decoder\.(mask_tokens\.weight$|output_hypernetworks_mlps\.|iou_prediction_head\.proj_out\.)"
        r"|^prototypes\."
    )

    def __init__(
        self,
        task: Task,
        sam2: SAM2,
        *,
        lora_rank: int = 4,
        memory: bool = True,
        latest: int = 0,
        residual: bool = True,
        prototypes: PrototypeMemory | None = None,
        quality: QualityHead | None = None,
    ) -> None:
        super().__init__()
        self.task = task
        self.sam2 = sam2
        self.stems = nn.ModuleDict({modality.name: ToThree(modality) for modality in task.modalities})
        self.lora_rank = lora_rank
        if lora_rank:
            add_lora(sam2.vision_encoder, lora_rank)
        self.memory = memory
        self.latest = latest
        self.residual = residual
        self.prototypes = prototypes
        self.quality = quality

    def forward(self, images: Mapping[str, Tensor]) -> Segmentation:
        """Segment a batch: `{modality: [B, K, H, W]}`, in the order in which the frames are shown."""
        self.check_input(images)
        pyramids = self.encode(images)
        frames = self.track(pyramids) if self.memory else self.each_alone(pyramids)
        logits = self.fuse(list(frames.values()))
        features = torch.stack([pyramid.s4 for pyramid in pyramids.values()]).mean(dim=0)
        return Segmentation(logits, features, dict(frames))

    def encode(self, images: Mapping[str, Tensor]) -> dict[str, Pyramid]:
        """Image encoder with LoRA shared by all modalities, in one batched call of `M*B` images."""
        pixels = torch.cat([self.stems[name](image) for name, image in images.items()])
        return dict(zip(images, self.sam2.encode(pixels).split(len(images)), strict=True))

    def track(self, pyramids: Mapping[str, Pyramid]) -> dict[str, Frame]:
        """Go through the modalities as through a video: condition on memory, decode, memorize."""
        frames: dict[str, Frame] = {}
        memories: list[Memory] = []
        for name, pyramid in pyramids.items():
            conditioned = self.condition(pyramid, memories[-self.latest :])  # 0: all of them
            masks = self.decode(conditioned, pyramid)
            frames[name] = Frame(pyramid, conditioned, masks)
            if len(frames) < len(pyramids):  # nobody reads the memory of the last one
                memories.append(self.memorize(pyramid, masks))
        return frames

    def each_alone(self, pyramids: Mapping[str, Pyramid]) -> dict[str, Frame]:
        """Decode every modality without memory (ablation)."""
        frames: dict[str, Frame] = {}
        for name, pyramid in pyramids.items():
            conditioned = self.condition(pyramid, [])
            frames[name] = Frame(pyramid, conditioned, self.decode(conditioned, pyramid))
        return frames

    def condition(self, pyramid: Pyramid, memories: Sequence[Memory]) -> Tensor:
        """Memory attention (Eq. 3-5): `F3` `[B, D, h, w]`, conditioned on all earlier modalities."""
        return self.sam2.condition(pyramid.s16, memories)

    def decode(self, conditioned: Tensor, pyramid: Pyramid) -> Masks:
        """Mask decoder without a prompt, one mask per class: logits `[B, C, H/4, W/4]`."""
        return self.sam2.decode(conditioned, pyramid)

    def memorize(self, pyramid: Pyramid, masks: Masks) -> Memory:
        """Memory encoder: `F3` before memory attention and the mask with the highest IoU estimate."""
        return self.sam2.memorize(pyramid.s16, masks)

    def fuse(self, frames: Sequence[Frame]) -> Tensor:
        """Memory residual connection (Eq. 6): the mean over modalities, before the one upsampling that follows.

        With a quality head, the mean is a weighted one.
        """
        logits = [frame.masks.logits for frame in frames]
        if not self.residual:
            return logits[-1]
        if self.quality is not None:
            fused: Tensor = self.quality([frame.conditioned for frame in frames], logits)
            return fused
        return torch.stack(logits).mean(dim=0)

    def training_losses(self, output: Segmentation, labels: Tensor) -> dict[str, Tensor]:
        """Return the prototype loss (Eq. 12); this also moves the global prototypes."""
        return {} if self.prototypes is None else {"prototype": self.prototypes(output.features, labels)}

    def part_of(self, name: str) -> str:
        """Return the part of a parameter."""
        if name.startswith("stems."):
            return "stem"
        if name.startswith("quality."):
            return "fusion"
        if name.rsplit(".", 1)[-1] in LORA_TENSORS:
            return "lora"
        if any(head in name for head in _HEADS):
            return "heads"
        if any(name.startswith(f"sam2.{memory}") for memory in _MEMORY):
            return "memory"
        for prefix, part in (("vision_encoder", "encoder"), ("mask_decoder", "decoder")):
            if name.startswith(f"sam2.{prefix}"):
                return part
        return "prompt"

    def recompute_activations(self, enabled: bool) -> None:
        """Trade time for memory in training: recompute the image encoder's activations in the backward pass."""
        self.sam2.recompute_activations(enabled)

    def train_only(self, parts: Collection[str]) -> None:
        """Let the named parts train; the memory only where there is something to remember, the fusion to fuse."""
        several = len(self.task.modalities) > 1
        idle = {"memory"} if several and not self.memory else set() if several else {"memory", "fusion"}
        super().train_only(set(parts) - idle)

    def settings(self) -> dict[str, object]:
        """Return the constructor's settings, for a checkpoint."""
        form = "off" if self.prototypes is None else self.prototypes.form
        momentum = 0.2 if self.prototypes is None else self.prototypes.momentum
        return {
            "name": "memorysam",
            "backbone": self.sam2.name,
            "lora_rank": self.lora_rank,
            "memory": self.memory,
            "latest": self.latest,
            "residual": self.residual,
            "fusion": "mean" if self.quality is None else "quality",
            "object_gate": self.sam2.object_gate,
            "prototypes": form,
            "prototype_momentum": momentum,
        }


_HEADS = ("iou_prediction_head", "pred_obj_score_head", "object_pointer_proj", "no_object_pointer", "occlusion")
_MEMORY = ("memory_attention", "memory_encoder", "memory_temporal", "no_memory_embedding", "temporal_positional")
