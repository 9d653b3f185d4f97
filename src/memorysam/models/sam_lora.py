"""SAM-LoRA: SAM with low-rank deltas in its encoder and a mask per class (SAMed, arXiv 2304.13785).

Shapes: `B` batch, `M` modalities, `K` channels of a modality, `C` classes, `D` width of SAM's decoder, `h, w` =
`H/16, W/16`.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from memorysam.models.lora import LORA_TENSORS, add_lora
from memorysam.models.sam import SAM, Frame
from memorysam.models.sam_model import SAMModel
from memorysam.spec import Task


class SAMLoRA(SAMModel):
    """The method, with SAMed's release as it runs: `C` mask tokens, of which none is dropped.

    Written for one modality; `sam_model.py` says how it takes several.

    Args:
        task: modalities, classes and image size.
        sam: the SAM parts, with as many masks as classes.
        lora_rank: of the deltas on q and v of the image encoder; 0 for none.
    """

    PARTS = ("encoder", "lora", "stem", "decoder", "heads")
    """decoder: with the "no mask" prompt; heads: the IoU head, which no loss reaches, though the release counts it as
    trained."""
    FOLLOWS_CLASSES = re.compile(
        r"^sam\.mask_decoder\.(mask_tokens\.weight$|output_hypernetworks_mlps\.|iou_prediction_head\.proj_out\.)"
    )

    def __init__(self, task: Task, sam: SAM, *, lora_rank: int = 4) -> None:
        super().__init__(task, sam)
        self.lora_rank = lora_rank
        if lora_rank:
            add_lora(sam.vision_encoder, lora_rank)

    def encode(self, images: Mapping[str, Tensor]) -> Tensor:
        """Image encoder with LoRA, shared by all modalities, in one batched call: `[M*B, D, h, w]`."""
        return self.sam.encode(self.three(images))

    def decode(self, embedding: Tensor) -> Frame:
        """Mask decoder without a prompt, one mask per class: `[N, D, h, w]` to logits `[N, C, H/4, W/4]`."""
        iou_token, tokens, image = self.sam.attend(self.sam.source(embedding))
        upscaled = self.sam.upscale(image)
        logits = torch.einsum("ntd,ndhw->nthw", self.sam.kernels(tokens), upscaled)
        return Frame(embedding, logits, self.sam.ious(iou_token), upscaled)

    def part_of(self, name: str) -> str:
        """Return the part of a parameter."""
        if name.startswith("stems."):
            return "stem"
        if name.rsplit(".", 1)[-1] in LORA_TENSORS:
            return "lora"
        if "iou_prediction_head" in name:
            return "heads"
        return "encoder" if name.startswith("sam.vision_encoder.") else "decoder"

    def settings(self) -> dict[str, object]:
        """Return the constructor's settings, for a checkpoint."""
        return {"name": "sam-lora", "backbone": self.sam.name, "lora_rank": self.lora_rank}
