"""From settings to a model with fresh weights."""

from memorysam.config import ModelSettings
from memorysam.errors import SettingsError, did_you_mean, listing
from memorysam.models.attention import use_own_attention
from memorysam.models.base import SegmentationModel
from memorysam.models.dropout import speed_up_dropout
from memorysam.models.linear import speed_up_linears
from memorysam.models.systems import SYSTEMS, System
from memorysam.spec import Task


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


def named(name: str) -> ModelSettings:
    """Return settings from a system's name, alone or with a backbone: `memorysam-sam2-tiny`, `cmnext-b2`, `sam-lora`.

    Raises:
        SettingsError: there is no such system or backbone.
    """
    for system, known in SYSTEMS.items():
        if name == system:
            return ModelSettings(name=system, backbone=known.default, **known.published)
        if name.startswith(f"{system}-"):
            size = name.removeprefix(f"{system}-")
            short = f"{known.family}-{size}"
            backbone = short if short in known.backbones else size
            settings = ModelSettings(name=system, backbone=backbone, **known.published)
            backbone_of(settings)
            return settings
    raise SettingsError(
        f"there is no model {name!r}",
        expected=f"a system, or a system and a backbone, such as memorysam-sam2-tiny: {', '.join(SYSTEMS)}",
        fix=did_you_mean(name, SYSTEMS),
    )


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
    _usable_modalities(settings.name, system, task)
    model = system.build(settings, backbone, task)
    speed_up_linears(model)
    speed_up_dropout(model)
    use_own_attention(model)
    train = settings.train
    wanted = train.model_dump() | {"stem": True}
    if train.encoder is None:
        wanted["encoder"] = from_scratch or not system.keeps_encoder
    model.train_only([part for part, wish in wanted.items() if wish])
    return model


def _usable_modalities(name: str, system: System, task: Task) -> None:
    """Raise where there is no sensor, or a map of regions that the system has no use for."""
    if not task.sensors:
        raise SettingsError(
            f"there is no sensor among the modalities: {listing(task.names)}",
            where="data.modalities",
            expected="one or more, beside the map of regions",
        )
    if len(task.regions) > system.takes_regions:
        takers = [taker for taker, known in SYSTEMS.items() if known.takes_regions]
        raise SettingsError(
            f"{name} has no use for the map of regions {task.regions[-1]!r}",
            where="data.modalities",
            expected="one map of regions at most" if system.takes_regions else f"sensors; {listing(takers)} takes it",
            fix=f"leave {task.regions[-1]} out of data.modalities",
        )


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


def require_memory(settings: ModelSettings) -> None:
    """Raise where the order in which modalities are shown in training cannot be random.

    Raises:
        SettingsError: the system takes them at once or by their places, or its memory is off.
    """
    system = SYSTEMS[settings.name]
    if not system.has_memory or not settings.memory:
        owners = [name for name, known in SYSTEMS.items() if known.has_memory]
        without = settings.name if not system.has_memory else f"{settings.name} without memory"
        raise SettingsError(
            f"modality_order: shuffle means nothing to {without}",
            where="train.modality_order",
            expected=f"it has an effect with `model.name: {', '.join(owners)}` and its memory only",
            fix="leave it out",
        )
