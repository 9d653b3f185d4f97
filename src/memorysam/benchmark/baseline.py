"""A straightforward MemorySAM, the yardstick: one modality at a time, `transformers`' modules as they are.

It has the weights of the model that it is made from and computes the same, in the obvious order of operations, with
nothing done that only makes it faster: LoRA beside its layer, position tables made in every call, every modality's
logits brought to full size before their mean, a memory of the last modality too, a loop over classes in the loss.
"""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel, get_1d_sine_pe

from memorysam.config import TrainSettings
from memorysam.errors import SettingsError
from memorysam.models.base import Segmentation
from memorysam.models.lora import require_unmerged
from memorysam.models.memorysam import MemorySAM
from memorysam.models.sam2_sizes import MEMORY_WIDTH, configuration
from memorysam.spec import IGNORE

MAX_POINTERS = 16
_ELSEWHERE = {f"{name}.weight": f"prompt_encoder.{name}.weight" for name in ("no_mask_embed", "not_a_point_embed")}
"""Tensors of ours that `transformers` keeps in its prompt encoder."""
_UNUSED = ("prompt_encoder.", "mask_downsample.", "no_memory_positional_encoding")
"""Tensors of `transformers`' model that the method has no use for."""


class PlainLoRA(nn.Module):
    """A fused qkv projection, and deltas of q and v that are added to what it gives."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.weight, self.bias = base.weight, base.bias
        self.width = base.out_features // 3
        zeros = base.weight.new_zeros
        self.q_down, self.v_down = (nn.Parameter(zeros(rank, base.in_features)) for _ in range(2))
        self.q_up, self.v_up = (nn.Parameter(zeros(self.width, rank)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """`[..., in]` to `[..., 3 * width]`."""
        qkv = F.linear(x, self.weight, self.bias)
        qkv[..., : self.width] += F.linear(F.linear(x, self.q_down), self.q_up)
        qkv[..., -self.width :] += F.linear(F.linear(x, self.v_down), self.v_up)
        return qkv


@dataclass(frozen=True)
class Features:
    """Of one modality, at three strides, and the position map of the coarsest."""

    s4: Tensor  # [B, D/8, 4h, 4w]
    s8: Tensor  # [B, D/4, 2h, 2w]
    s16: Tensor  # [B, D, h, w]
    position: Tensor  # [B, D, h, w]


class PlainMemorySAM(nn.Module):
    """The yardstick. Its logits come at full size.

    Args:
        model: whose weights are copied, not yet prepared for anything; it is left as it is.
        dropout: in memory attention, while training.

    Raises:
        SettingsError: a model with options that are not the paper's.
        InputError: LoRA weights are merged.
    """

    def __init__(self, model: MemorySAM, dropout: float = 0.0) -> None:
        super().__init__()
        require_unmerged(model, "the baseline")
        published = model.prototypes is None or model.prototypes.form == "paper"
        if model.sam2.object_gate or model.quality is not None or not published:
            raise SettingsError(
                "the straightforward baseline has the paper's form of the method only",
                where="model.object_gate, model.fusion, model.prototypes",
                fix="leave them out",
            )
        self.memory, self.residual = model.memory, model.residual
        classes = len(model.task.classes)
        parts = Sam2VideoModel(configuration(model.sam2.sizes, classes, dropout))
        if model.lora_rank:
            for block in parts.vision_encoder.backbone.blocks:
                block.attn.qkv = PlainLoRA(block.attn.qkv, model.lora_rank)
        given = {_ELSEWHERE.get(name, name): tensor for name, tensor in model.sam2.state_dict().items()}
        missing, unexpected = parts.load_state_dict(given, strict=False)
        missing = [name for name in missing if not name.startswith(_UNUSED)]
        if missing or unexpected:
            raise RuntimeError(f"the baseline no longer fits the model: missing {missing}, unexpected {unexpected}")
        trains = {_ELSEWHERE.get(name, name): p.requires_grad for name, p in model.sam2.named_parameters()}
        for name, parameter in parts.named_parameters():
            parameter.requires_grad_(trains.get(name, False))
        self.parts = parts
        self.stems = deepcopy(model.stems)
        self.prototypes: Tensor | None = None
        if model.prototypes is not None:
            self.prototypes = model.prototypes.prototypes.detach().clone()
            self.momentum = model.prototypes.momentum
        self.to(next(model.parameters()).device)

    def forward(self, images: Mapping[str, Tensor]) -> Segmentation:
        """`{modality: [B, K, H, W]}` to logits `[B, C, H, W]` and features `[B, D/8, H/4, W/4]`."""
        masks, fine = [], []
        memories: list[tuple[Tensor, Tensor, Tensor]] = []
        for name, image in images.items():
            features = self.encode(name, image)
            logits, ious, tokens = self.decode(self.condition(features, memories), features)
            if self.memory:
                memories.append(self.memorize(features, logits, ious, tokens))
            masks.append(logits)
            fine.append(features.s4)
        size = next(iter(images.values())).shape[-2:]
        return Segmentation(self.fuse(masks, size), torch.stack(fine).mean(dim=0))

    def encode(self, name: str, image: Tensor) -> Features:
        """Image encoder, of one modality `[B, K, H, W]`."""
        found = self.parts.vision_encoder(self.stems[name](image))
        s4, s8, s16 = found.fpn_hidden_states
        decoder = self.parts.mask_decoder
        return Features(decoder.conv_s0(s4), decoder.conv_s1(s8), s16, found.fpn_position_encoding[2])

    def condition(self, features: Features, memories: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        """Memory attention: `[B, D, h, w]`, conditioned on memories `[B, 64, h, w]`, their positions and pointers."""
        parts = self.parts
        b, d, h, w = features.s16.shape
        if not memories:
            return features.s16 + torch.reshape(parts.no_memory_embedding, (1, d, 1, 1))
        keys, positions = [], []
        for memory, position, _ in memories:
            keys.append(memory.flatten(2).permute(2, 0, 1))
            positions.append(position.flatten(2).permute(2, 0, 1) + parts.memory_temporal_positional_encoding[-1])
        for age, (_, _, pointer) in zip(range(len(memories), 0, -1), memories, strict=True):
            tokens = pointer.reshape(b, d // MEMORY_WIDTH, MEMORY_WIDTH).transpose(0, 1)
            keys.append(tokens)
            positions.append(self._age(age, len(memories), tokens))
        attention = parts.memory_attention
        y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        attention.position_ids = torch.stack([x.flatten(), y.flatten()], dim=-1).to(features.s16.device)
        conditioned: Tensor = attention(
            current_vision_features=features.s16.flatten(2).permute(2, 0, 1),
            current_vision_position_embeddings=features.position.flatten(2).permute(2, 0, 1),
            memory=torch.cat(keys),
            memory_posision_embeddings=torch.cat(positions),
            num_object_pointer_tokens=len(memories) * d // MEMORY_WIDTH,
        )
        return conditioned.reshape(b, h * w, d).transpose(1, 2).reshape(b, d, h, w)

    def decode(self, conditioned: Tensor, features: Features) -> tuple[Tensor, Tensor, Tensor]:
        """Mask decoder: logits `[B, C, 4h, 4w]`, estimates of their IoU `[B, C]`, tokens `[B, C, D]`."""
        parts = self.parts
        b, d, h, w = conditioned.shape
        y, x = torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij")
        grid = torch.stack([x, y], dim=-1).to(conditioned.device)
        logits, ious, tokens, _ = parts.mask_decoder(
            image_embeddings=conditioned,
            image_positional_embeddings=parts.shared_image_embedding(grid).permute(2, 0, 1).repeat(b, 1, 1, 1),
            sparse_prompt_embeddings=parts.prompt_encoder.not_a_point_embed.weight.repeat(b, 1, 2, 1),
            dense_prompt_embeddings=parts.prompt_encoder.no_mask_embed.weight.reshape(1, d, 1, 1),
            multimask_output=True,
            high_resolution_features=[features.s4, features.s8],
        )
        return logits[:, 0], ious[:, 0], tokens[:, 0]

    def memorize(
        self, features: Features, logits: Tensor, ious: Tensor, tokens: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Memory encoder: the memory `[B, 64, h, w]`, its position map, the object pointer `[B, D]`."""
        best = ious.argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        mask = F.interpolate(logits[rows, best][:, None], scale_factor=4.0, mode="bilinear", align_corners=False)
        memory, position = self.parts.memory_encoder(features.s16, torch.sigmoid(mask) * 20.0 - 10.0)
        return memory, position, self.parts.object_pointer_proj(tokens[rows, best])

    def fuse(self, masks: list[Tensor], size: torch.Size) -> Tensor:
        """Mean over modalities of `[B, C, 4h, 4w]`, each brought to full size: `[B, C, H, W]`."""
        full = [F.interpolate(logits, size=size, mode="bilinear", align_corners=False) for logits in masks]
        return torch.stack(full).mean(dim=0) if self.residual else full[-1]

    def loss(self, output: Segmentation, labels: Tensor) -> Tensor:
        """Return the paper's loss: the hard pixels' cross entropy, and the distance to the global prototypes."""
        loss = _hard_cross_entropy(output.logits, labels)
        return loss if self.prototypes is None else loss + self._prototype_loss(output.features, labels)

    def _age(self, age: int, memories: int, like: Tensor) -> Tensor:
        """Return the positions `[D/64, B, 64]` of a pointer that is `age` frames old."""
        project = self.parts.temporal_positional_encoding_projection_layer
        if isinstance(project, nn.Identity):  # SAM 2.0
            return torch.zeros_like(like)
        share = torch.tensor([age / max(1, min(memories + 1, MAX_POINTERS) - 1)], device=like.device)
        position: Tensor = project(get_1d_sine_pe(share, dim=project.in_features))
        return position.expand_as(like)

    def _prototype_loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """One class after the other; also moves the global prototypes."""
        if self.prototypes is None:
            return features.new_zeros(())
        small = F.interpolate(labels[:, None].float(), size=features.shape[-2:], mode="nearest")[:, 0]
        present, means = [], []
        for label in range(len(self.prototypes)):
            members = small == label
            if members.any():
                present.append(label)
                means.append((features * members[:, None]).sum(dim=(0, 2, 3)) / members.sum())
        for label, mean in zip(present, means, strict=True):
            self.prototypes[label] = (1 - self.momentum) * self.prototypes[label] + self.momentum * mean.detach()
        # Of classes that are not there, the prototypes of the batch are the global ones.
        squares = [(mean - self.prototypes[label]) ** 2 for label, mean in zip(present, means, strict=True)]
        return torch.stack(squares).sum() / self.prototypes.numel()


def _hard_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy over pixels whose class has a probability below 0.7, or over the hardest sixteenth."""
    options = TrainSettings()
    losses = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")[labels != IGNORE]
    hard = losses[losses > -math.log(options.ohem_probability)]
    least = int(len(losses) * options.ohem_least)
    return hard.mean() if len(hard) >= least else losses.topk(least).values.mean()
