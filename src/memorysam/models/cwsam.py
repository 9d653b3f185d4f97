"""CWSAM: SAM with adapters, prompts made of the image, and a decoder for classes (arXiv 2401.02326).

Shapes: `B` batch, `M` modalities, `N = M*B`, `C` classes, `D` width of SAM's decoder, `h, w` = `H/16, W/16`.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memorysam.models.cwsam_adapters import BlockAdapters, PromptGenerator
from memorysam.models.sam import PATCH, SAM, Frame
from memorysam.models.sam_model import SAMModel
from memorysam.spec import Task

MASK_TOKENS = 4
"""Mask tokens, as in SAM: all take part in attention, the first one is read."""


class CWSAM(SAMModel):
    """The method, as its release computes it.

    Written for one modality; `sam_model.py` says how it takes several.

    Args:
        task: modalities, classes and image size.
        sam: the SAM parts, with `MASK_TOKENS` mask tokens.
        scrambled_tokens: repeat an accident of the release, which its weights were trained with.
    """

    PARTS = ("encoder", "adapters", "stem", "decoder", "heads", "unused")
    """adapters: with the prompt generator; decoder: with the "no mask" prompt; heads: the IoU head and the
    hyper-networks of the masks that are not read, which no loss reaches; unused: adapters that are never called."""
    FOLLOWS_CLASSES = re.compile(r"^class_upscaling\.to_classes\.")

    def __init__(self, task: Task, sam: SAM, *, scrambled_tokens: bool = False) -> None:
        super().__init__(task, sam)
        self.adapters = nn.ModuleList(BlockAdapters(sam.sizes.embed) for _ in sam.blocks)
        self.prompts = PromptGenerator(sam.sizes.embed, len(sam.blocks), PATCH, scrambled_tokens)
        self.class_upscaling = ClassUpscaling(sam.sizes.width // 8, len(task.classes))

    def encode(self, images: Mapping[str, Tensor]) -> Tensor:
        """Image encoder with adapters and prompts, shared by all modalities, in one batched call: `[N, D, h, w]`."""
        pixels = self.three(images)
        tokens = self.sam.patches(pixels)
        prompts = self.prompts(pixels, tokens)
        tokens = tokens + self.sam.position(*tokens.shape[1:3])
        for block, adapters, prompt in zip(self.sam.blocks, self.adapters, prompts, strict=True):
            tokens = self.sam.run(adapters, block, tokens + prompt)
        return self.sam.neck(tokens)

    def decode(self, embedding: Tensor) -> Frame:
        """Class-wise decoder without a prompt: `[N, D, h, w]` to logits `[N, C, H/4, W/4]`.

        One mask token's kernel is applied to `D/8` channels of every class, made of the image before and after the
        two-way transformer.
        """
        source = self.sam.source(embedding)
        iou_token, tokens, image = self.sam.attend(source)
        upscaled = self.sam.upscale(image)
        channels = self.class_upscaling(torch.cat([upscaled, self.sam.upscale(source)], dim=1))
        logits = torch.einsum("nd,ndchw->nchw", self.sam.kernels(tokens[:, :1])[:, 0], channels)
        return Frame(embedding, logits, self.sam.ious(iou_token), upscaled)

    def part_of(self, name: str) -> str:
        """Return the part of a parameter."""
        if name.startswith("stems."):
            return "stem"
        if name.startswith(("adapters.", "prompts.")):
            return "unused" if ".depth." in name else "adapters"
        if re.search(r"iou_prediction_head|output_hypernetworks_mlps\.(?!0\.)", name):
            return "heads"
        return "encoder" if name.startswith("sam.vision_encoder.") else "decoder"

    def settings(self) -> dict[str, object]:
        """Return the constructor's settings, for a checkpoint."""
        return {"name": "cwsam", "backbone": self.sam.name, "scrambled_tokens": self.prompts.scrambled}


class ClassUpscaling(nn.Module):
    """From two up-scaled images of `width` channels to `width` channels for every class, at the same size.

    Args:
        width: `D/8`.
        classes: `C`.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.finer = nn.ConvTranspose2d(2 * width, 2 * width, kernel_size=2, stride=2)
        self.norm = nn.LayerNorm(2 * width, eps=1e-6)
        self.to_classes = nn.Conv2d(2 * width, width * classes, kernel_size=7, stride=2, padding=3)

    def forward(self, image: Tensor) -> Tensor:
        """`[N, 2 * width, 4h, 4w]` to `[N, width, C, 4h, 4w]`; in the channels, classes are the inner index."""
        fine = self.norm(self.finer(image).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        channels = F.gelu(self.to_classes(F.gelu(fine)))
        n, _, h, w = channels.shape
        return channels.reshape(n, -1, self.classes, h, w)
