"""What the pages take for granted, small, at the names that they use: data sets, weights, trained models, photos."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from huggingface_hub.constants import PYTORCH_WEIGHTS_NAME
from transformers import SegformerConfig, SegformerForImageClassification

import memorysam
from memorysam.config import ModelSettings
from memorysam.data.catalog import find_yaml
from memorysam.data.dataset_file import read_layout
from memorysam.data.folders import FolderDataset
from memorysam.models import mit
from memorysam.models.factory import create
from memorysam.models.formats.sam2 import rename_release
from memorysam.spec import Task

from ..conftest import SHARED
from ..data import fakes
from ..models.sharing import sam2_weights
from .blocks import ROOT

REFERENCE = SHARED / "reference" / "keys.json"
SIZE = (64, 96)
IDS = {"train": ["0001", "0002", "0003", "0004"], "val": ["0005", "0006"]}
POTHOLES = {"train": ["d1_01", "d1_02", "d1_03", "d1_04"], "val": ["d2_33", "d2_34"]}


def described(layout_of: Path, root: Path, ids: dict[str, list[str]] = IDS) -> None:
    """Write files for a dataset.yaml whose paths have the field {id}: kinds, channels and values are as it says."""
    rng = np.random.default_rng(4)
    layout = read_layout(layout_of)
    label = next(key for key in layout.templates if key == "label")
    for split, names in ids.items():
        (root / layout.lists[split]).parent.mkdir(parents=True, exist_ok=True)
        (root / layout.lists[split]).write_text("\n".join(names) + "\n")
    for name in (name for names in ids.values() for name in names):
        for key, template in layout.templates.items():
            path = root / template.fill({"id": name})
            path.parent.mkdir(parents=True, exist_ok=True)
            if key == label:
                rows = np.linspace(0, len(layout.label.names), SIZE[0], endpoint=False).astype(int)
                values = np.array(sorted(layout.label.names), np.uint8)[rows][:, None].repeat(SIZE[1], 1)
            else:
                values = _values(layout.sensors[key.partition("#")[0]], path.suffix, rng)
            np.save(path, values) if path.suffix == ".npy" else cv2.imwrite(str(path), values)


def _values(sensor, suffix: str, rng: np.random.Generator) -> np.ndarray:
    """Blobs within the range of a sensor, but not where it has holes."""
    channels = sensor.channels // len(sensor.paths)
    low = max(sensor.low, 0 if sensor.holes is None else sensor.holes[1] + 1)
    coarse = rng.uniform(low, sensor.high, (4, 6, channels)).astype(np.float32)
    fine = cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_LINEAR).reshape(*SIZE, channels)
    if suffix != ".npy":
        fine = fine.round().astype(np.uint8 if sensor.high <= 255 else np.uint16)
    return fine[..., 0] if channels == 1 else fine


def deliver(path: Path) -> None:
    """One sample of each condition, each with another failure, in each split."""
    fakes.write_deliver(path)
    for file in path.rglob("*_front.png"):
        condition, failure = file.parents[2].name, file.parent.name.partition("point")[2]
        if int(failure[0]) != fakes.CONDITIONS.index(condition):
            file.unlink()


def potholes(path: Path) -> None:
    """Some of the real ones where they are, else made up, under the same names."""
    real = SHARED / "data" / "potholes"
    description = ROOT / "configs" / "datasets" / "potholes.yaml"
    described(description, path, POTHOLES)
    if real.is_dir():
        for file in path.rglob("*.*"):
            if file.suffix != ".txt":
                shutil.copyfile(real / file.relative_to(path), file)


def mine(path: Path) -> None:
    """The data of `mine.yaml`, which lies on the stage by then."""
    described(path.parents[1] / "checkout" / "mine.yaml", path)


def field(path: Path) -> None:
    """The data of `field/dataset.yaml`."""
    described(path.parent / "dataset.yaml", path.parent)


def sam2_file(path: Path) -> None:
    """Such as sam2.1_hiera_base_plus.pt."""
    version, _, size = path.stem.partition("_hiera_")
    torch.save({"model": sam2_weights(0, f"{version}-{size.replace('_', '-')}").state_dict()}, path)


def sam2_folder(path: Path) -> None:
    """Such as facebook/sam2.1-hiera-base-plus, a repository of the Hub."""
    sam2_weights(0, path.name.replace("-hiera", "")).save_pretrained(path)


def mit_folder(path: Path) -> None:
    """Such as nvidia/mit-b2, which has a pytorch_model.bin and nothing newer."""
    sizes = mit.BACKBONES[path.name]
    config = SegformerConfig(
        depths=list(sizes.depths),
        hidden_sizes=list(sizes.widths),
        num_attention_heads=list(sizes.heads),
        sr_ratios=list(sizes.reductions),
    )
    model = SegformerForImageClassification(config)
    path.mkdir(parents=True)
    config.save_pretrained(path)
    torch.save(model.state_dict(), path / PYTORCH_WEIGHTS_NAME)


def released(path: Path) -> None:
    """A checkpoint with the names of tensors that the authors' release has."""
    data = FolderDataset.load(find_yaml("deliver"), path.parent / "data" / "DELIVER")
    task = Task(modalities=data.modalities[:4], classes=data.classes, image_size=(64, 64))
    model = create(ModelSettings(backbone="sam2-tiny", lora_rank=4), task)
    own = {name.removeprefix("sam2."): tensor for name, tensor in model.state_dict().items()}
    shapes = json.loads(REFERENCE.read_text())["memorysam_hiera_t"]
    state = {name: own.get(rename_release(name), torch.zeros(shape)).clone() for name, shape in shapes.items()}
    torch.save({"model_state_dict": state, "epoch": 95}, path)


def absent() -> set[str]:
    """Return what has no stand-in, because the names of tensors are not at hand."""
    return set() if REFERENCE.is_file() else {"RGBDEL_epoch95_65.38.pth"}


def photograph(path: Path) -> None:
    """A user's own images: of potholes."""
    kind = {".jpg": "rgb/d2_33.jpg", ".png": "disparity/d2_33.png"}[path.suffix]
    shutil.copyfile(path.parent.parent / "shared/data/potholes" / kind, path)


def my_yaml(path: Path) -> None:
    path.write_text("data: {dataset: deliver, root: data/DELIVER, modalities: [rgb, depth]}\n")


Maker = Callable[[Path], None]
KEPT: dict[str, Maker | str] = {
    "data/DELIVER": deliver,
    "../shared/data/potholes": potholes,
    "sam2.1_hiera_base_plus.pt": sam2_file,
    "RGBDEL_epoch95_65.38.pth": released,
    "data/scenes": "memorysam make-scenes data/scenes --train 4 --val 2 --test 4 --size 64",
    "runs/potholes": "memorysam train potholes --data.root ../shared/data/potholes --out runs/potholes",
    "runs/rgbdel": "memorysam train table1/rgb-d-e-l --data.root data/DELIVER --out runs/rgbdel"
    " --model.backbone sam2.1-base-plus --model.weights sam2.1_hiera_base_plus.pt",
    "runs/micro": "memorysam train micro --out runs/micro",
    "runs/mine": "memorysam train micro --out runs/mine",
}
"""Name -> who makes it, or which command; made once for all pages, each of which gets a copy when it first uses it."""
OWN: dict[str, Maker] = {
    "../data/mine": mine,
    "field/rgb": field,
    "a.jpg": photograph,
    "a.png": photograph,
    "my.yaml": my_yaml,
}
"""What is made on the stage of a page, of what lies there."""
NEEDS = {
    "a.jpg": "../shared/data/potholes",
    "a.png": "../shared/data/potholes",
    "my.yaml": "data/DELIVER",
    "runs/rgbdel": "sam2.1_hiera_base_plus.pt",  # which the light form looks for
    "RGBDEL_epoch95_65.38.pth": "data/DELIVER",
    "mine.yaml": "../data/mine",
    "field/dataset.yaml": "field/rgb",
}
"""What uses the one needs the other."""
HUB: dict[str, Maker] = {
    "facebook/sam2-hiera-base-plus": sam2_folder,
    "facebook/sam2.1-hiera-base-plus": sam2_folder,
    "nvidia/mit-b2": mit_folder,
}
"""Repositories of the Hub."""
PLACEHOLDERS = {
    "CHECKPOINT": "runs/potholes",
    "RUN": "runs/potholes",
    "DATASET.yaml": "data/scenes/dataset.yaml",
    "OUT": "made/scenes",
    "DIR": "made/shared",
    "model.onnx": "made/model.onnx",
}
"""What the table of commands in the README leaves open."""
GIVEN = {
    "array": lambda: cv2.imread("a.png", cv2.IMREAD_UNCHANGED),
    "memorysam": lambda: memorysam,
    "model": lambda: memorysam.load("micro", verbose=False),
    "images": lambda: {name: torch.zeros(1, 3, 96, 96) for name in ("rgb", "depth", "event", "lidar")},
}
"""Names that blocks of Python use without making them."""
