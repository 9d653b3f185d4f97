"""From settings to a model with fresh weights."""

from memorysam.config import ModelSettings
from memorysam.errors import SettingsError
from memorysam.models.base import SegmentationModel
from memorysam.models.memorysam import MemorySAM
from memorysam.models.prototypes import PrototypeMemory
from memorysam.models.sam2 import SAM2
from memorysam.spec import Task


def create(settings: ModelSettings, task: Task, *, from_scratch: bool = True) -> SegmentationModel:
    """Build the model that `settings` describe, for `task`, with fresh weights, and freeze what shall not train.

    Args:
        settings: of the model.
        task: modalities, classes, image size.
        from_scratch: whether the weights stay fresh: then the image encoder trains too, unless settings say otherwise.

    Raises:
        SettingsError: settings that contradict each other.
    """
    if not (settings.memory or settings.residual) and len(task.modalities) > 1:
        raise SettingsError(
            "without memory and without the memory residual, all modalities but the last would have no effect",
            where="model.memory, model.residual",
            fix="switch on one of the two, or train on one modality",
        )
    sam2 = SAM2(settings.backbone, len(task.classes), settings.dropout, settings.object_gate)
    prototypes = None
    if settings.prototypes != "off":
        prototypes = PrototypeMemory(
            len(task.classes), sam2.sizes.width // 8, settings.prototype_momentum, settings.prototypes
        )
    model = MemorySAM(
        task,
        sam2,
        lora_rank=settings.lora_rank,
        memory=settings.memory,
        residual=settings.residual,
        prototypes=prototypes,
    )
    train = settings.train
    wanted = {
        "encoder": from_scratch if train.encoder is None else train.encoder,
        "lora": train.lora,
        "stem": True,
        "memory": train.memory,
        "decoder": train.decoder,
    }
    model.train_only([part for part, wish in wanted.items() if wish])
    return model
