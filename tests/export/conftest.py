"""One small model and what is exported of it: with three sensors, with one, and as a program of PyTorch with two."""

import cv2
import numpy as np
import pytest
import torch
from filelock import FileLock

from memorysam.config import ModelSettings
from memorysam.export.make import export
from memorysam.loading import load
from memorysam.models import weights
from memorysam.models.factory import create
from memorysam.spec import Modality, Task, as_classes, camera

CLASSES = {"road": (128, 64, 128), "car": (0, 0, 142), "sky": (70, 130, 180), "pole": (153, 153, 153)}
SENSORS = (
    camera("rgb"),
    Modality(name="depth", channels=1, high=65535, holes=(0, 0)),
    Modality(name="thermal", channels=1, low=-10, high=40, zero="median"),
)
KINDS = {"three.onnx": ("rgb", "depth", "thermal"), "one.onnx": ("depth",), "two.pt2": ("rgb", "thermal")}


def scene(height, width, seed=0):
    """Stored values of the three sensors: blobs, so that interpolation leaves something to see."""
    rng = np.random.default_rng(seed)
    ranges = {"rgb": (3, 0, 255, np.uint8), "depth": (1, 0, 65535, np.uint16), "thermal": (1, -10, 40, np.float32)}
    images = {}
    for name, (channels, low, high, kind) in ranges.items():
        coarse = rng.uniform(low, high, (8, 10, channels)).astype(np.float32)
        images[name] = cv2.resize(coarse, (width, height)).reshape(height, width, channels).astype(kind)
    return images


def scene_files(folder):
    """Write a scene of 97 x 131 pixels, each sensor in another format; return the files."""
    found = scene(97, 131)
    files = {"rgb": folder / "a.png", "depth": folder / "a.tif", "thermal": folder / "a.npy"}
    cv2.imwrite(str(files["rgb"]), found["rgb"][:, :, ::-1])
    cv2.imwrite(str(files["depth"]), found["depth"])
    np.save(files["thermal"], found["thermal"])
    return files


@pytest.fixture(scope="session")
def shelf(tmp_path_factory, worker_id):
    """A folder that all processes of this run of the tests share: a graph takes its time to be made."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "exported"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def checkpoint(shelf):
    path = shelf / "model.safetensors"
    with FileLock(shelf / "lock"):
        if not path.is_file():
            torch.manual_seed(2)
            task = Task(modalities=SENSORS, classes=as_classes(CLASSES), image_size=(64, 96))
            weights.save(path, create(ModelSettings(backbone="micro", lora_rank=2), task))
    return path


@pytest.fixture(scope="session")
def predictor(checkpoint):
    return load(checkpoint, device="cpu", verbose=False)


@pytest.fixture(scope="session")
def exported(checkpoint):
    """Return the path of an exported file by its name; it is made when it is first asked for."""

    def get(name):
        path = checkpoint.with_name(name)
        with FileLock(checkpoint.with_name(f"{name}.lock")):
            if not path.is_file():
                model = load(checkpoint, device="cpu", verbose=False).model
                kind = "onnx" if name.endswith("onnx") else "torch"
                export(model, path, KINDS[name], kind, {"file": checkpoint.name, "sha256": "0" * 64})
        return path

    return get
