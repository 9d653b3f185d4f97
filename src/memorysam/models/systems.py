"""The systems by name: what each is made from, and what the loader and the trainer must know of it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from memorysam.config import ModelSettings
from memorysam.errors import SettingsError, listing
from memorysam.models import deeplab, mit, sam, sam2_sizes
from memorysam.models.base import SegmentationModel
from memorysam.models.cmnext import CMNeXt
from memorysam.models.cmx import CMX
from memorysam.models.cwsam import CWSAM, MASK_TOKENS
from memorysam.models.magic import MAGIC
from memorysam.models.mcubesnet import MCubeSNet
from memorysam.models.mean_fusion import MeanFusion
from memorysam.models.memorysam import MemorySAM
from memorysam.models.mit import MiT
from memorysam.models.mle_sam import MLESAM
from memorysam.models.prototypes import PrototypeMemory
from memorysam.models.quality import QualityHead
from memorysam.models.sam import SAM
from memorysam.models.sam2 import SAM2
from memorysam.models.sam_lora import SAMLoRA
from memorysam.spec import Size, Task

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
    channels: tuple[int, ...] = ()
    """Of the sensors that it was published with, in their order, where they are not all of three."""
    size: Size = (1024, 1024)
    """Height and width at which its numbers of parameters and operations are given."""
    published: Mapping[str, object] = field(default_factory=dict)
    """Settings of the published model that are not the defaults."""
    takes_regions: bool = False
    """Whether it has a use for a map of regions beside the sensors."""
    has_memory: bool = False
    """Whether it shows the sensors to its memory one after the other, so that any of them may be the first. Others
    take them at once; cmnext and cmx take the first as the primary one, which another order would replace."""


def _memorysam(settings: ModelSettings, backbone: str, task: Task) -> SegmentationModel:
    if not (settings.memory or settings.residual) and len(task.modalities) > 1:
        raise SettingsError(
            "without memory and without the memory residual, all modalities but the last would have no effect",
            where="model.memory, model.residual",
            fix="switch on one of the two, or train on one modality",
        )
    if settings.fusion == "quality" and not settings.residual:
        raise SettingsError(
            "fusion: quality weighs the modalities in a mean, and without the memory residual there is none",
            where="model.fusion, model.residual",
            fix="leave one of the two out",
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
        latest=settings.latest,
        residual=settings.residual,
        prototypes=prototypes,
        quality=QualityHead(parts.sizes.width) if settings.fusion == "quality" else None,
    )


def _sam_lora(settings: ModelSettings, backbone: str, task: Task) -> SegmentationModel:
    return SAMLoRA(task, SAM(backbone, len(task.classes), task.image_size), lora_rank=settings.lora_rank)


def _cwsam(settings: ModelSettings, backbone: str, task: Task) -> SegmentationModel:
    return CWSAM(task, SAM(backbone, MASK_TOKENS, task.image_size), scrambled_tokens=settings.scrambled_tokens)


def _mle_sam(settings: ModelSettings, backbone: str, task: Task) -> SegmentationModel:
    parts = SAM2(backbone, len(task.classes))
    return MLESAM(task, parts, lora_rank=settings.lora_rank, experts=settings.experts, dropout=settings.dropout)


def _mcubesnet(settings: ModelSettings, backbone: str, task: Task) -> SegmentationModel:
    return MCubeSNet(task, backbone, filters=settings.filters)


def _cmnext(settings: ModelSettings, backbone: str, task: Task) -> SegmentationModel:
    encoder = MiT(backbone, settings.drop_path)
    return CMNeXt(task, encoder, dropout=settings.dropout, scrambled_tokens=settings.scrambled_tokens)


def _cmx(settings: ModelSettings, backbone: str, task: Task) -> SegmentationModel:
    if len(task.modalities) != 2:
        raise SettingsError(
            f"cmx was asked for with {len(task.modalities)} modalities: {listing(task.names)}",
            where="data.modalities",
            expected="2",
            fix="name two, or take another system",
        )
    encoders = MiT(backbone, settings.drop_path), MiT(backbone, settings.drop_path)
    return CMX(task, encoders, dropout=settings.dropout)


def _magic(settings: ModelSettings, backbone: str, task: Task) -> SegmentationModel:
    return MAGIC(
        task,
        MiT(backbone, settings.drop_path),
        dropout=settings.dropout,
        selection_weight=settings.selection_weight,
        consistency_weight=settings.consistency_weight,
    )


def _mean_fusion(settings: ModelSettings, backbone: str, task: Task) -> SegmentationModel:
    return MeanFusion(task, MiT(backbone, settings.drop_path), dropout=settings.dropout)


_MIT = frozenset({"drop_path", "dropout"})
_MEMORYSAM = frozenset({
    "lora_rank", "memory", "latest", "residual", "fusion", "object_gate", "prototypes", "prototype_momentum", "dropout"
})  # fmt: skip

SYSTEMS: dict[str, System] = {
    "memorysam": System(_memorysam, "sam2", sam2_sizes.BACKBONES, "sam2-base-plus", _MEMORYSAM, True, has_memory=True),
    "mle-sam": System(
        _mle_sam,
        "sam2",
        sam2_sizes.BACKBONES,
        "sam2-base-plus",
        frozenset({"lora_rank", "experts", "dropout"}),
        True,
        published={"lora_rank": 32},
    ),
    "sam-lora": System(_sam_lora, "sam", sam.BACKBONES, "sam-b", frozenset({"lora_rank"}), True, size=(256, 256)),
    "mcubesnet": System(
        _mcubesnet,
        "resnet",
        deeplab.BACKBONES,
        "resnet-101",
        frozenset({"filters"}),
        False,
        channels=(3, 2, 1, 1),
        takes_regions=True,
    ),
    "cmnext": System(_cmnext, "mit", mit.BACKBONES, "mit-b2", _MIT | {"scrambled_tokens"}, False),
    "cmx": System(_cmx, "mit", mit.BACKBONES, "mit-b2", _MIT, False),
    "magic": System(_magic, "mit", mit.BACKBONES, "mit-b2", _MIT | {"selection_weight", "consistency_weight"}, False),
    "mean-fusion": System(_mean_fusion, "mit", mit.BACKBONES, "mit-b2", _MIT, False),
    "cwsam": System(_cwsam, "sam", sam.BACKBONES, "sam-b", frozenset({"scrambled_tokens"}), True, size=(256, 256)),
}
