"""A tiny data set on disk and settings to train on it: two sensors, three classes, learnable in seconds."""

from pathlib import Path

import cv2
import numpy as np
import yaml

from memorysam.config import RunSettings
from memorysam.strict import build

SIZE = (64, 96)


def write_dataset(folder: Path, train: int = 10, val: int = 4, size=SIZE) -> Path:
    """Write images in which either sensor shows a part of the truth; return the dataset.yaml."""
    rng = np.random.default_rng(7)
    for kind in ("rgb", "depth", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    names = {"train": [f"t{i:02}" for i in range(train)], "val": [f"v{i:02}" for i in range(val)]}
    for name in [*names["train"], *names["val"]]:
        label = np.zeros(size, np.uint8)
        label[:, int(rng.integers(20, 70)) :] = 1
        label[int(rng.integers(10, 40)) :, : int(rng.integers(15, 40))] = 2
        rgb = np.where(label[..., None] == 1, 200, 60) + rng.integers(-20, 20, (*size, 3))
        depth = np.where(label == 2, 50000, 12000) + rng.integers(-3000, 3000, size)
        label[:2] = 255
        cv2.imwrite(str(folder / "rgb" / f"{name}.png"), rgb.astype(np.uint8))
        cv2.imwrite(str(folder / "depth" / f"{name}.png"), depth.astype(np.uint16))
        cv2.imwrite(str(folder / "labels" / f"{name}.png"), label)
    for split, ids in names.items():
        (folder / f"{split}.txt").write_text("\n".join(ids) + "\n")
    content = {
        "name": "tiny",
        "root": ".",
        "modalities": {
            "rgb": {"path": "rgb/{id}.png", "mean": "imagenet", "std": "imagenet", "photometric": True},
            "depth": {"path": "depth/{id}.png", "channels": 1, "high": 65535},
        },
        "label": {"path": "labels/{id}.png"},
        "splits": {"train": "train.txt", "val": "val.txt"},
        "classes": {"ground": [90, 90, 90], "wall": [200, 60, 60], "box": [60, 60, 200]},
    }
    path = folder / "dataset.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def settings(dataset: Path, **groups) -> RunSettings:
    """Settings of a short run; keyword arguments are groups that add to the defaults here."""
    values = {
        "model": {"backbone": "micro", "image_size": SIZE, "lora_rank": 0},
        "data": {"dataset": str(dataset), "workers": 0},
        "train": {
            "epochs": 10,
            "batch_size": 4,
            "lr": 2e-3,
            "warmup_epochs": 1,
            "log_every": 1,
            "validate_every": 5,
            "modality_dropout": 0.25,
            "average": 0.9,
        },
        "augment": {"scale": [0.8, 1.3]},
    }
    for group, changes in groups.items():
        values[group] = {**values.get(group, {}), **changes}
    return build(RunSettings, values, "tests")
