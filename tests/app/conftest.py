"""A model of three unlike sensors, and a scene for it."""

import cv2
import numpy as np
import pytest
import torch

import memorysam
from memorysam.app.session import Scene, Session
from memorysam.config import ModelSettings
from memorysam.models import weights
from memorysam.models.factory import create
from memorysam.spec import Modality, Task, as_classes, camera

SENSORS = ("colour", "range", "bands")


def task(names=SENSORS):
    known = (
        camera("colour"),
        Modality(name="range", channels=1, high=65535),
        Modality(name="bands", channels=5, low=-10, high=40),
    )
    chosen = tuple(m for m in known if m.name in names)
    return Task(modalities=chosen, classes=as_classes(["road", "car", "<b>sky</b>"]), image_size=(64, 96))


def model(names=SENSORS, **settings):
    torch.manual_seed(3)
    return create(ModelSettings(**{"backbone": "micro", "lora_rank": 2} | settings), task(names))


def images(height=50, width=81, seed=0):
    """Stored values of the three sensors."""
    rng = np.random.default_rng(seed)

    def blobs(channels, low, high, kind):
        coarse = rng.uniform(low, high, (8, 10, channels)).astype(np.float32)
        return cv2.resize(coarse, (width, height)).reshape(height, width, channels).astype(kind)

    return {
        "colour": blobs(3, 0, 255, np.uint8),
        "range": blobs(1, 0, 65535, np.uint16),
        "bands": blobs(5, -10, 40, np.float32),
    }


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    weights.save(path, model())
    return path


@pytest.fixture(scope="session")
def session(checkpoint):
    return Session(memorysam.load(checkpoint, device="cpu", verbose=False))


@pytest.fixture
def scene():
    label = np.zeros((50, 81), np.uint8)
    label[:3] = 255
    return Scene("rain/one.two", images(), label, {"condition": "rain"})
