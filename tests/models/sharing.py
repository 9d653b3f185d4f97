"""A run to share, and the weights that it started from."""

import pytest
import torch
from huggingface_hub import constants
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel

import memorysam
from memorysam.config import DataSettings, ModelSettings, RunSettings
from memorysam.models import sam2_sizes, weights
from memorysam.spec import Modality, Task, as_classes
from memorysam.tensors import write_tensors

from .hub_server import live_at, serve

TASK = Task(
    modalities=(Modality(name="rgb"), Modality(name="depth", channels=1, high=65535)),
    classes=as_classes({"road|lane": (128, 64, 128), "pot: hole": (255, 140, 0), "sky": (1, 2, 3)}),
    image_size=(64, 96),
)
HOME = "/home/alice/secret-lab"
"""Where a user whose name nobody shall learn has everything."""


def sam2_weights(seed, size="micro"):
    torch.manual_seed(seed)
    return Sam2VideoModel(sam2_sizes.configuration(sam2_sizes.BACKBONES[size], 3, 0.1))


@pytest.fixture(scope="session")
def base_files(tmp_path_factory):
    """The same weights in two formats, and others of the same sizes."""
    folder = tmp_path_factory.mktemp("bases")
    sam2_weights(0).save_pretrained(folder / "hub-format", max_shard_size="2MB")
    torch.save({"model": sam2_weights(0).state_dict()}, folder / "start.pt")
    torch.save({"model": sam2_weights(1).state_dict()}, folder / "other.pt")
    return folder


def about(start=None):
    """What a run says of itself."""
    settings = RunSettings(
        model=ModelSettings(backbone="micro", weights=start),
        data=DataSettings(dataset=f"{HOME}/potholes.yaml", root=f"{HOME}/data", cache=f"{HOME}/cache"),
    )
    scores = {
        "modalities": ["rgb", "depth"], "split": "val", "images": 4, "protocol": "strict", "size": [64, 96],
        "method": "resize", "miou": 61.234, "mf1": 70.0, "macc": 71.0, "pixel_accuracy": 80.0, "by": {},
        "classes": {
            name: {"iou": iou, "f1": 50.0, "accuracy": 40.0, "pixels": 9}
            for name, iou in zip(TASK.classes.names, (61.25, 61.25, None), strict=True)
        },
    }  # fmt: skip
    more = {"data": "fingerprint", "samples": 10, "step": 6, "host": f"{HOME}/host"}
    return {"settings": settings.model_dump(mode="json"), "scores": scores, **more}


def trained(model):
    """Change whatever trains."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.01 * torch.randn_like(parameter))
        if hasattr(model, "prototypes"):
            model.prototypes.prototypes.normal_()
    return model


@pytest.fixture(scope="session")
def trained_run(base_files, tmp_path_factory):
    """A run folder of a model that started from a base, with the state of training."""
    folder = tmp_path_factory.mktemp("run")
    model, _ = weights.load(base_files / "start.pt", TASK, ModelSettings(lora_rank=2))
    head = weights.header(trained(model), **about(str(base_files / "start.pt")), training={"progress": {"where": HOME}})
    write_tensors(folder / "last.safetensors", {**model.state_dict(), "training/optimizer/a": torch.ones(3)}, head)
    return folder


@pytest.fixture
def shared_model(trained_run):
    return memorysam.load(trained_run, device="cpu", verbose=False)


@pytest.fixture
def scratch_model(tmp_path, micro):
    weights.save(tmp_path / "best.safetensors", micro(2), **about())
    return memorysam.load(tmp_path / "best.safetensors", device="cpu", verbose=False)


def logits(model):
    """What a model says of images that are always the same."""
    torch.manual_seed(3)
    images = {m.name: torch.randn(1, m.channels, *model.task.image_size) for m in model.task.modalities}
    with torch.no_grad():
        return model(images).logits


def load(path, **options):
    return memorysam.load(path, device="cpu", verbose=False, **options)


def contents(folder):
    return b"".join(path.read_bytes() for path in folder.iterdir())


@pytest.fixture
def light_folder(shared_model, tmp_path):
    shared_model.save_pretrained(tmp_path / "light", light=True)
    return tmp_path / "light"


@pytest.fixture
def online(tmp_path, monkeypatch):
    """A Hub on this machine and an empty cache."""
    with serve() as (server, address):
        live_at(monkeypatch, address, tmp_path / "cache")
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server
