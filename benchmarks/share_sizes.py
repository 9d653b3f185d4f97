"""Bytes of a shared MemorySAM, whole and light, by SAM2 size. Random weights: sizes do not depend on values.

python benchmarks/share_sizes.py
"""

import argparse
import tempfile
from pathlib import Path

import torch
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel

from memorysam.config import ModelSettings, TrainedParts
from memorysam.evaluation.report import table
from memorysam.models import sam2_sizes, weights
from memorysam.spec import Task, as_classes, camera

MASKS = 3
"""Of SAM2's own decoder."""


def sizes(size: str, modalities: int, classes: int, trained: TrainedParts) -> tuple[int, int]:
    """Return the bytes of model.safetensors: of the whole form and of the light one."""
    task = Task(
        modalities=tuple(camera(f"modality{i}") for i in range(modalities)),
        classes=as_classes([f"class{i}" for i in range(classes)]),
        image_size=(1024, 1024),
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        Sam2VideoModel(sam2_sizes.configuration(sam2_sizes.BACKBONES[size], MASKS, 0.1)).save_pretrained(
            folder / "base"
        )
        model, _ = weights.load(folder / "base", task, ModelSettings(train=trained))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(1e-3)  # as training does
        found = [
            model.save_pretrained(folder / str(light), light=light, base=folder / "base")["model.safetensors"]
            for light in (False, True)
        ]
    return found[0], found[1]


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--modalities", type=int, default=4)
    arguments.add_argument("--classes", type=int, default=25)
    asked = arguments.parse_args()
    ways = {"as by default": TrainedParts(), "memory frozen, as in the release": TrainedParts(memory=False)}
    rows = []
    for size in ("sam2.1-tiny", "sam2.1-base-plus"):
        for way, trained in ways.items():
            whole, light = sizes(size, asked.modalities, asked.classes, trained)
            rows.append([size, way, f"{whole:,}", f"{light:,}", f"{100 * light / whole:.1f}"])
    print(table(["backbone", "trained", "whole, bytes", "light, bytes", "light, %"], rows))


if __name__ == "__main__":
    main()
