"""From settings to a model with fresh weights: the systems, by name."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from memorysam.config import ModelSettings
from memorysam.errors import SettingsError, did_you_mean, listing
from memorysam.models import sam2
from memorysam.models.base import SegmentationModel
from memorysam.models.memorysam import MemorySAM
from memorysam.models.prototypes import PrototypeMemory
from memorysam.models.sam2 import SAM2
from memorysam.spec import Task

Build = Callable[[ModelSettings, str, Task], SegmentationModel]


@dataclass(frozen=True)
class System:
    """One method."""

    build: Build
    """Makes the model from settings, the name of a backbone, and a task."""
    family: str
    """Of published weights that it starts from: sam2, sam, mit or resnet."""
    backbones: Collection[str]
    default: str
    """Backbone, where settings name none."""
    options: frozenset[str]
    """Fields of `ModelSettings` that mean something to this system only."""
    keeps_encoder: bool
    """Whether the encoder's pretrained weights stay as they are, unless `model.train.encoder` says otherwise."""


def _memorysam(settings: ModelSettings, backbone: str, task: Task) -> SegmentationModel:
    if not (settings.memory or settings.residual) and len(task.modalities) > 1:
        raise SettingsError(
            "without memory and without the memory residual, all modalities but the last would have no effect",
            where="model.memory, model.residual",
            fix="switch on one of the two, or train on one modality",
        )
    parts = SAM2(backbone, len(task.classes), settings.dropout, settings.object_gate)
    prototypes = None
    if settings.prototypes != "off":
        prototypes = PrototypeMemory(
            len(task.classes), parts.sizes.width // 8, settings.prototype_momentum, settings.prototypes
        )
    return MemorySAM(
        task,
        parts,
        lora_rank=settings.lora_rank,
        memory=settings.memory,
        residual=settings.residual,
        prototypes=prototypes,
    )


_MEMORYSAM = ("lora_rank", "memory", "residual", "object_gate", "prototypes", "prototype_momentum", "dropout")

SYSTEMS: dict[str, System] = {
    "memorysam": System(_memorysam, "sam2", sam2.BACKBONES, "sam2-base-plus", frozenset(_MEMORYSAM), True),
}


def backbone_of(settings: ModelSettings) -> str:
    """Return the name of the backbone that settings ask for.

    Raises:
        SettingsError: the system knows no such backbone.
    """
    system = SYSTEMS[settings.name]
    name = system.default if settings.backbone == "default" else settings.backbone
    if name not in system.backbones:
        raise SettingsError(
            f"{settings.name} has no backbone {name!r}",
            where="model.backbone",
            expected=listing(system.backbones, 10),
            fix=did_you_mean(name, system.backbones),
        )
    return name


def create(settings: ModelSettings, task: Task, *, from_scratch: bool = True) -> SegmentationModel:
    """Build the model that `settings` describe, for `task`, with fresh weights, and freeze what shall not train.

    Args:
        settings: of the model.
        task: modalities, classes, image size.
        from_scratch: whether the weights stay fresh: then the image encoder trains too, unless settings say otherwise.

    Raises:
        SettingsError: settings that contradict each other, or mean nothing to the system.
    """
    system = SYSTEMS[settings.name]
    backbone = backbone_of(settings)
    _only_own_options(settings, system)
    model = system.build(settings, backbone, task)
    train = settings.train
    wanted = train.model_dump() | {"stem": True}
    if train.encoder is None:
        wanted["encoder"] = from_scratch or not system.keeps_encoder
    model.train_only([part for part, wish in wanted.items() if wish])
    return model


def _only_own_options(settings: ModelSettings, system: System) -> None:
    """Raise where a setting was changed that has no effect on this system."""
    special = {option for known in SYSTEMS.values() for option in known.options}
    for option in sorted(special - system.options):
        if getattr(settings, option) != ModelSettings.model_fields[option].default:
            owners = [name for name, known in SYSTEMS.items() if option in known.options]
            raise SettingsError(
                f"{option} means nothing to {settings.name}",
                where=f"model.{option}",
                expected=f"it is a setting of {', '.join(owners)}",
                fix="leave it out",
            )
