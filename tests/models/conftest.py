import pytest
import torch

from memorysam.config import ModelSettings
from memorysam.models.factory import create
from memorysam.spec import Classes, Modality, Task

from .sharing import base_files, light_folder, online, scratch_model, shared_model, trained_run

__all__ = ["base_files", "light_folder", "online", "scratch_model", "shared_model", "trained_run"]


def make_task(modalities=2, classes=5, size=(64, 96), channels=3):
    return Task(
        modalities=tuple(Modality(name=f"m{i}", channels=channels) for i in range(modalities)),
        classes=Classes(names=tuple(f"class{i}" for i in range(classes))),
        image_size=size,
    )


def make_images(task, batch=1, size=None):
    h, w = size or task.image_size
    return {m.name: torch.randn(batch, m.channels, h, w) for m in task.modalities}


@pytest.fixture
def micro():
    """Build a micro model; keyword arguments go to the task and the settings."""

    def build(modalities=2, classes=5, size=(64, 96), channels=3, **settings):
        torch.manual_seed(1)
        task = make_task(modalities, classes, size, channels)
        return create(ModelSettings(backbone="micro", **settings), task)

    return build
