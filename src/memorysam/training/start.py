"""What a run starts with: the device and the processes, and the model."""

import os
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

from memorysam.config import RunSettings, TrainSettings
from memorysam.errors import SettingsError
from memorysam.models import weights
from memorysam.models.base import SegmentationModel
from memorysam.models.factory import backbone_of, create, require_memory
from memorysam.models.systems import SYSTEMS
from memorysam.spec import Task
from memorysam.training.progress import say

EXAMPLES = {
    "sam2": "facebook/sam2.1-hiera-base-plus",
    "sam": "facebook/sam-vit-base",
    "mit": "nvidia/mit-b2",
    "resnet": "resnet101-63fe2227.pth, a file of torchvision",
}
"""Of weights to start from, by family."""


def accelerate(options: TrainSettings) -> Accelerator:
    """Return what knows of devices and processes.

    Raises:
        SettingsError: a batch that cannot be shared evenly.
    """
    handler = DistributedDataParallelKwargs(broadcast_buffers=False)  # prototypes are equal by themselves
    # Without a GPU, Accelerate must be told so, or every process of several takes itself for the only one.
    cpu = options.device == "cpu" or not torch.accelerator.is_available()
    patience = InitProcessGroupKwargs(timeout=timedelta(minutes=options.timeout))
    accelerator = Accelerator(mixed_precision="no", cpu=cpu, kwargs_handlers=[handler, patience])
    wanted = int(os.environ.get("WORLD_SIZE", 1))
    if accelerator.num_processes != wanted:
        raise SettingsError(
            f"{wanted} processes were started, and {accelerator.num_processes} found each other",
            where="WORLD_SIZE",
            fix="start them with torchrun or accelerate launch, with as many processes as there are GPUs",
        )
    parts = accelerator.num_processes * options.accumulate
    if options.batch_size % parts:
        raise SettingsError(
            f"a batch of {options.batch_size} cannot be shared by {accelerator.num_processes} processes with "
            f"{options.accumulate} passes each",
            where="train.batch_size, train.accumulate",
            expected=f"a multiple of {parts}",
        )
    return accelerator


def start(settings: RunSettings, task: Task, quiet: bool = False) -> SegmentationModel:
    """Build the model with which training starts.

    Raises:
        SettingsError: an unknown backbone, or one that is of no use without weights, and no weights; an order that the
            system has no use for.
    """
    chosen = settings.model
    if settings.train.modality_order == "shuffle":
        require_memory(chosen)
    backbone = backbone_of(chosen)
    if chosen.weights is None and backbone != "micro":
        raise SettingsError(
            f"the backbone {backbone} needs pretrained weights",
            where="model.weights",
            expected="a file (.pt, .pth), a Hub directory or id, or a checkpoint of ours",
            fix=f"for example --model.weights {EXAMPLES[SYSTEMS[chosen.name].family]}; 'random' trains without",
        )
    if chosen.weights is None or chosen.weights == "random":
        return create(chosen, task)
    model, report = weights.load(chosen.weights, task, chosen, rehead=chosen.rehead)
    if not quiet:
        say(str(report))
    return model
