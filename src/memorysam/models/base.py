"""What all segmentation models have in common: the call, the way to three channels, the parts that train."""

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from memorysam.errors import InputError, listing
from memorysam.models.lora import LORA_TENSORS
from memorysam.spec import STRIDE, Modality, Size, Task

if TYPE_CHECKING:
    from memorysam.models.origin import Origin


@dataclass(frozen=True)
class Segmentation:
    """What a model gives for a batch."""

    logits: Tensor
    """`[B, C, H/4, W/4]`: upsample once, to the size at which they are scored or shown."""
    features: Tensor
    """`[B, D, H/4, W/4]`: stride-4 features averaged over modalities."""
    frames: dict[str, object] = field(default_factory=dict)
    """What the model says of each modality by itself; its type is the model's own."""
    align_corners: bool = False
    """How the logits are to be upsampled, as the original system does."""

    def at(self, size: Size | torch.Size) -> Tensor:
        """Return the logits at `size` (height, width), in float32: `[B, C, H, W]`."""
        return upsample(self.logits, size, self.align_corners)


LORA = re.compile(rf"\.({'|'.join(LORA_TENSORS)})$")
"""Matches what `lora.py` adds to a layer."""
NOTHING = re.compile(r"(?!)")
"""Matches no name."""


class SegmentationModel(nn.Module, ABC):
    """A model of a task: `{modality: [B, K, H, W]}` in, `Segmentation` out.

    Any non-empty subset of the task's sensors may be given; the order of the mapping is the order of the frames. Maps
    of regions are always given. `H` and `W` are any multiples of 32.
    """

    PARTS: ClassVar[tuple[str, ...]]
    """What `part_of` may say. `model.train` switches encoder, lora, adapters, memory, fusion and decoder; `stem` always
    trains, any other part never."""
    BASE: tuple[str, ...]
    """Prefixes of the sub-modules that published weights of the backbone fill; each gets all of them. Set in
    the class, or in the model where the task decides."""
    ADDED: ClassVar[re.Pattern[str]] = LORA
    """Names of what the method adds below `BASE`: published weights of the backbone do not have it."""
    UNUSED: ClassVar[re.Pattern[str]] = NOTHING
    """Names, below `BASE`, of published tensors that this method has no use for."""
    FOLLOWS_CLASSES: ClassVar[re.Pattern[str]]
    """Names of the tensors that belong to the classes: new in a model for other ones."""

    task: Task
    origin: "Origin | None" = None
    """What the checkpoint that it was loaded from says of it."""

    @abstractmethod
    def forward(self, images: Mapping[str, Tensor]) -> Segmentation:
        """Segment a batch."""

    @abstractmethod
    def part_of(self, name: str) -> str:
        """Return the part, one of `PARTS`, to which the parameter called `name` belongs."""

    @abstractmethod
    def settings(self) -> dict[str, object]:
        """Return what a checkpoint must hold, besides the task and the tensors, to build this model again."""

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Return every parameter once, under the name of the part it belongs to."""
        groups: dict[str, list[nn.Parameter]] = {part: [] for part in self.PARTS}
        for name, parameter in self.named_parameters():
            groups[self.part_of(name)].append(parameter)
        return groups

    def own_name(self, name: str) -> str:
        """Return the name here of a tensor of a released model, where it depends on the task: its sensors have numbers.

        Args:
            name: as the file's translation has it.
        """
        return name

    def fit(self, name: str, tensor: Tensor, size: torch.Size) -> Tensor:  # noqa: ARG002
        """Return a loaded tensor at the shape that this model needs, where the method says how: position tables, say.

        Args:
            name: of the tensor in this model.
            tensor: of another shape.
            size: the shape needed; what is returned with another one is refused.
        """
        return tensor

    def training_losses(self, output: Segmentation, labels: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Return the losses of this model's own, by name; the training loop weighs and adds them to the main loss.

        Args:
            output: of `forward`.
            labels: `[B, H, W]` class ids, 255 for pixels that do not count.
        """
        return {}

    def save_pretrained(self, folder: str | Path, **options: Any) -> dict[str, int]:
        """Write a folder for others: checkpoint, model card, description. `memorysam.load` takes it.

        Args:
            folder: that is not there or empty.
            options: light, base, license and overwrite; see `models.share.save`.

        Returns:
            Bytes of each file, by name.

        Raises:
            MemorySAMError: see `models.share.save`.
        """
        from memorysam.models import share

        return share.save(self, folder, **options)

    def push_to_hub(self, name: str, **options: Any) -> str:
        """Put the same on the Hugging Face Hub as `user/name`; return the address of the commit.

        Args:
            name: `user/name`.
            options: private, token, revision, commit_message, exist_ok, light, base and license; see
                `models.share.push`.

        Raises:
            MemorySAMError: see `models.share.push`.
        """
        from memorysam.models import share

        return share.push(self, name, **options)[0]

    def recompute_activations(self, enabled: bool) -> None:
        """Trade time for memory in training, where the model knows how."""

    def train_only(self, parts: Collection[str]) -> None:
        """Let the named parts train and freeze all others.

        Subclasses also freeze what no loss can reach: distributed training waits for every gradient it was promised.
        """
        for part, parameters in self.parts().items():
            for parameter in parameters:
                parameter.requires_grad_(part in parts)

    def train(self, mode: bool = True) -> Self:
        """Switch training on or off; batch norms that do not train keep the statistics that they have."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm) and not any(p.requires_grad for p in module.parameters()):
                module.eval()
        return self

    def check_input(self, images: Mapping[str, Tensor]) -> None:
        """Raise if `images` are not what this model takes.

        Raises:
            InputError: an unknown modality, no sensor at all, no map of regions, or wrong or differing shapes.
        """
        known = {m.name: m for m in self.task.modalities}
        if not images:
            raise InputError("the model was called without any image", expected=f"one or more of: {listing(known)}")
        first = next(iter(images.values()))
        for name, image in images.items():
            if name not in known:
                raise InputError(f"this model knows no modality {name!r}", expected=listing(known))
            k = known[name].channels
            if image.ndim != 4 or image.shape[1] != k:
                raise InputError(
                    f"modality {name!r} has shape {list(image.shape)}", expected=f"[batch, {k}, height, width]"
                )
            if image.shape[0] != first.shape[0] or image.shape[2:] != first.shape[2:]:
                raise InputError(
                    f"modality {name!r} has shape {list(image.shape)}, {next(iter(images))!r} has {list(first.shape)}",
                    expected="the same batch, height and width for all",
                )
        if not set(images) & set(self.task.sensors):
            raise InputError(
                f"{listing(images)} is no sensor", expected=f"one or more of: {listing(self.task.sensors)}"
            )
        for name in self.task.regions:
            if name not in images:
                raise InputError(
                    f"the map of regions {name!r} is missing", expected=f"it beside the sensors, {listing(images)}"
                )
        if any(side % STRIDE for side in first.shape[2:]):
            raise InputError(
                f"images of {first.shape[2]}x{first.shape[3]} pixels",
                expected=f"height and width that are multiples of {STRIDE}",
                fix="resize or pad them, or let memorysam.load(...).predict do it",
            )


class ToThree(nn.Module):
    """The way from a modality's channels to the three of an encoder: repeat, pick bands, or a learned 1x1 convolution.

    The learned one starts as the mean of the channels, three times.
    """

    def __init__(self, modality: Modality) -> None:
        super().__init__()
        self.stem = modality.stem
        self.learned: nn.Conv2d | None = None
        if self.stem == "learned":
            self.learned = nn.Conv2d(modality.channels, 3, kernel_size=1)
            nn.init.constant_(self.learned.weight, 1 / modality.channels)
            if self.learned.bias is not None:
                nn.init.zeros_(self.learned.bias)

    def forward(self, image: Tensor) -> Tensor:
        """`[B, K, H, W]` to `[B, 3, H, W]`."""
        if self.learned is not None:
            three: Tensor = self.learned(image)
            return three
        if isinstance(self.stem, tuple):
            return image if self.stem == (0, 1, 2) and image.shape[1] == 3 else image[:, list(self.stem)]
        return image.expand(-1, 3, -1, -1)


def upsample(logits: Tensor, size: Size | torch.Size, align_corners: bool = False) -> Tensor:
    """Bring `[B, C, h, w]` to `size`, bilinearly and in float32: once, after everything else."""
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits.float()
    return F.interpolate(logits.float(), size=tuple(size), mode="bilinear", align_corners=align_corners)


def count(parameters: list[nn.Parameter]) -> int:
    """Return the number of values."""
    return sum(p.numel() for p in parameters)
