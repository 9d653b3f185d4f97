"""The same tables at a scale that a laptop can run: the micro model on rendered scenes, in the paper's own situation.

In the paper, an encoder that was trained on colour images alone is frozen and tuned with LoRA to several sensors. So
the micro encoder is first trained on the RGB of other scenes; every row then starts from it, frozen.
"""

from pathlib import Path
from typing import Any

from memorysam.config import RunSettings
from memorysam.strict import build

SENSORS = ("rgb", "depth", "event", "lidar")
PRETRAINED = "pretrained"
"""Name of the run that all others start from."""

_COMMON: dict[str, Any] = {
    "evaluate": {"protocol": "strict", "batch_size": 16, "method": "resize"},
    "augment": {"scale": [0.8, 1.5]},
}


def shrink(recipe: RunSettings, start: Path, seed: int, size: int, scenes: int, epochs: int) -> RunSettings:
    """Return a recipe at toy scale: what makes the row (parts, modalities, weights of losses) stays.

    Sensors of other data sets are taken by position: the second one becomes depth, and so on.

    Args:
        recipe: of a row of a table.
        start: the pretrained run.
        seed: of this run.
        size: of the images, in pixels.
        scenes: number of training scenes.
        epochs: passes over them.
    """
    count = len(recipe.data.modalities or SENSORS)
    model = {"backbone": "micro", "weights": str(start), "image_size": [size, size]}
    data = {"dataset": "scenes", "modalities": SENSORS[:count], "scenes": [scenes, 100, 200], "scenes_seed": 0,
            "val_split": "val", "workers": 1, "ignore_invalid": "never"}  # fmt: skip
    train = {"epochs": epochs, "batch_size": 8, "lr": 2e-3, "warmup_epochs": 0.2, "clip": 1.0, "seed": seed,
             "tensorboard": False, "log_every": 25}  # fmt: skip
    values = recipe.model_dump()
    for group, changes in {"model": model, "data": data, "train": train, **_COMMON}.items():
        values[group] = {**values[group], **changes}
    return build(RunSettings, values, "toy scale")


def pretraining(size: int, scenes: int, epochs: int) -> RunSettings:
    """Return the settings of the run that all others start from: RGB alone, from scratch, scenes of another world."""
    values: dict[str, Any] = {
        "model": {"backbone": "micro", "image_size": [size, size], "lora_rank": 0, "prototypes": "off"},
        "data": {
            "dataset": "scenes", "modalities": ["rgb"], "scenes": [scenes, 100, 100], "scenes_seed": 1, "workers": 1,
        },
        "train": {
            "epochs": epochs, "batch_size": 8, "lr": 2e-3, "warmup_epochs": 0.2, "clip": 1.0, "tensorboard": False,
            "log_every": 25,
        },
        **_COMMON,
    }  # fmt: skip
    return build(RunSettings, values, "toy scale")
