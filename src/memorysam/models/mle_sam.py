"""MLE-SAM: one LoRA expert per sensor, a router, two decoding paths (arXiv 2412.04220).

No code was published, and what is known comes from the abstract and from others who quote the paper. Known: a frozen
SAM2 encoder, one LoRA set per modality (rank 32, second hand), a router from spatial averages that keeps the best few,
a weighted and an average feature, SAM2's mask decoder beside an auxiliary head over several scales. Ours, for lack of a
source: the router scores each sensor by one linear layer that all share; what it weighs and the average count equally,
and so do the logits of the two paths; the auxiliary head is SegFormer's.

Shapes: `B` batch, `M` modalities, `C` classes, `D` SAM2's width, `h, w` = `H/16, W/16`.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from memorysam.models.base import Segmentation, SegmentationModel, ToThree
from memorysam.models.lora import LORA_TENSORS, add_experts, select_experts
from memorysam.models.sam2 import MEMORY_PARTS, SAM2, Pyramid
from memorysam.models.segformer_head import SegFormerHead
from memorysam.spec import Task


class MLESAM(SegmentationModel):
    """The method.

    Args:
        task: modalities, classes and image size.
        sam2: the SAM2 parts, with as many masks as classes; its memory is removed.
        lora_rank: of the experts.
        experts: how many sensors' features the router keeps at most.
        dropout: in the auxiliary head.
    """

    PARTS = ("encoder", "lora", "stem", "fusion", "decoder", "heads", "prompt")
    BASE = ("sam2.",)
    UNUSED = re.compile(rf"^sam2\.({'|'.join(MEMORY_PARTS)})")
    FOLLOWS_CLASSES = re.compile(
        r"^sam2\.mask_decoder\.(mask_tokens\.weight$|output_hypernetworks_mlps\.|iou_prediction_head\.proj_out\.)"
        r"|^auxiliary\.classify\."
    )

    def __init__(self, task: Task, sam2: SAM2, *, lora_rank: int = 32, experts: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.task = task
        self.sam2 = sam2
        sam2.drop_memory()
        self.stems = nn.ModuleDict({modality.name: ToThree(modality) for modality in task.modalities})
        self.lora_rank = lora_rank
        self.experts = experts
        add_experts(sam2.vision_encoder, lora_rank, task.names)
        width = sam2.sizes.width
        self.router = nn.Linear(width, 1)
        self.auxiliary = SegFormerHead((width // 8, width // 4, width), width, len(task.classes), dropout)
        self.dropout = dropout

    def forward(self, images: Mapping[str, Tensor]) -> Segmentation:
        """Segment a batch: `{modality: [B, K, H, W]}`."""
        self.check_input(images)
        pyramids = self.encode(images)
        fused = self.fuse(list(pyramids.values()))
        masks = self.sam2.decode(self.sam2.condition(fused.s16, []), fused)
        auxiliary = self.auxiliary([fused.s4, fused.s8, fused.s16])
        return Segmentation((masks.logits + auxiliary) / 2, fused.s4)

    def encode(self, images: Mapping[str, Tensor]) -> dict[str, Pyramid]:
        """Image encoder with each sensor's own expert, in one batched call of `M*B` images."""
        select_experts(self.sam2.vision_encoder, tuple(images))
        pixels = torch.cat([self.stems[name](image) for name, image in images.items()])
        return dict(zip(images, self.sam2.encode(pixels).split(len(images)), strict=True))

    def route(self, embeddings: Tensor) -> Tensor:
        """Weights of the sensors `[B, M]`, which sum to 1: zero for all but the best, from `[B, M, D, h, w]`."""
        scores: Tensor = self.router(embeddings.mean(dim=(3, 4))).squeeze(-1).float()
        if self.experts < scores.shape[1]:
            worst = scores.topk(scores.shape[1] - self.experts, dim=1, largest=False).indices
            scores = scores.scatter(1, worst, -torch.inf)
        return scores.softmax(dim=1).to(embeddings.dtype)

    def fuse(self, pyramids: list[Pyramid]) -> Pyramid:
        """Mean of what the router weighs and of the plain average, on all levels."""
        levels = [torch.stack([getattr(p, level) for p in pyramids], dim=1) for level in ("s4", "s8", "s16")]
        weights = self.route(levels[2])[:, :, None, None, None]
        s4, s8, s16 = (((weights * level).sum(dim=1) + level.mean(dim=1)) / 2 for level in levels)
        return Pyramid(s4, s8, s16)

    def recompute_activations(self, enabled: bool) -> None:
        """Recompute the image encoder's activations in the backward pass."""
        self.sam2.recompute_activations(enabled)

    def part_of(self, name: str) -> str:
        """Return the part of a parameter."""
        if name.rsplit(".", 1)[-1] in LORA_TENSORS:
            return "lora"
        if "iou_prediction_head" in name or "pred_obj_score_head" in name:
            return "heads"
        starts = {
            "stems.": "stem",
            "router.": "fusion",
            "auxiliary.": "decoder",
            "sam2.vision_encoder": "encoder",
            "sam2.mask_decoder": "decoder",
        }
        return next((part for start, part in starts.items() if name.startswith(start)), "prompt")

    def settings(self) -> dict[str, object]:
        """Return the constructor's settings, for a checkpoint."""
        return {
            "name": "mle-sam",
            "backbone": self.sam2.name,
            "lora_rank": self.lora_rank,
            "experts": self.experts,
            "dropout": self.dropout,
        }
