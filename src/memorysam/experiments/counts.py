"""Table 6: numbers of parameters. Nothing is trained for it."""

from dataclasses import dataclass

from memorysam.config import ModelSettings, TrainedParts
from memorysam.models.base import count
from memorysam.models.factory import create
from memorysam.models.lora import lora_layers
from memorysam.spec import Modality, Task, as_classes

PUBLISHED = 14.50
"""Millions that train with the released LoRA widths and memory trained, at base+ and 25 classes; and the others known:
7.19 with the memory frozen, 159,488 in LoRA."""


@dataclass(frozen=True)
class Counts:
    """Parameters of one variant."""

    label: str
    total: int
    trainable: int
    lora: int


def counts(backbone: str = "sam2-base-plus", modalities: int = 4, classes: int = 25, rank: int = 4) -> list[Counts]:
    """Return the counts with memory trained and frozen, at the full LoRA widths and at the released ones.

    The released code adapts, at the three stage transitions, only as many output channels as the layer has inputs.
    The numbers do not depend on how many modalities there are: all share one set.
    """
    rows = []
    for label, memory in (("memory trained", True), ("memory frozen", False)):
        settings = ModelSettings(backbone=backbone, lora_rank=rank, train=TrainedParts(memory=memory))
        task = Task(
            modalities=tuple(Modality(name=f"modality{i + 1}") for i in range(modalities)),
            classes=as_classes([f"class{i}" for i in range(classes)]),
            image_size=(1024, 1024),
        )
        model = create(settings, task, from_scratch=False)
        parameters = list(model.parameters())
        lora = count(model.parts()["lora"])
        # Each of q and v has `width * rank` values in its up-projection, of which the release has `inputs * rank`.
        narrower = sum(2 * rank * max(0, layer.out_features // 3 - layer.in_features) for layer in lora_layers(model))
        trained = count([p for p in parameters if p.requires_grad])
        rows.append(Counts(f"{label}, full LoRA widths", count(parameters), trained, lora))
        rows.append(
            Counts(f"{label}, released LoRA widths", count(parameters) - narrower, trained - narrower, lora - narrower)
        )
    return rows
