"""Exported graphs beside the models that they are made of: agreement, size and time of each. Random weights.

Every case goes the whole way: a checkpoint is written, loaded and exported, the file is read by onnxruntime.

python benchmarks/export.py --models micro sam2.1-tiny --modalities 1 2 3 4 --sizes 256x256 384x512
python benchmarks/export.py --systems --sizes 64x96
"""

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import torch

from memorysam.config import ModelSettings
from memorysam.errors import MemorySAMError
from memorysam.evaluation.report import table
from memorysam.export.make import SUFFIX, Format, export
from memorysam.loading import load
from memorysam.models import weights
from memorysam.models.factory import create
from memorysam.models.systems import SYSTEMS
from memorysam.spec import Modality, Size, Task, as_classes, camera

RIG = (camera(), Modality(name="depth", channels=1), Modality(name="event"), Modality(name="lidar"))
REGIONS = Modality(name="regions", channels=1, role="regions")
CLASSES = 25


def case(settings: ModelSettings, modalities: tuple[Modality, ...], size: Size, kind: Format) -> dict[str, Any]:
    """Export one model; return what was measured, or why it cannot be exported."""
    torch.manual_seed(0)
    task = Task(modalities=modalities, classes=as_classes([f"class{i}" for i in range(CLASSES)]), image_size=size)
    said: dict[str, Any] = {
        "system": settings.name,
        "backbone": settings.backbone,
        "modalities": len(modalities),
        "size": list(size),
        "format": kind,
    }
    with tempfile.TemporaryDirectory() as place:
        checkpoint = Path(place) / "model.safetensors"
        try:
            weights.save(checkpoint, create(settings, task))
            model = load(checkpoint, device="cpu", verbose=False).model
            report = export(model, Path(place) / f"model{SUFFIX[kind]}", None, kind)
        except MemorySAMError as error:
            return said | {"refused": error.what}
    compared = report.comparison
    return said | {
        "megabytes": report.megabytes,
        "difference": compared.verified.difference,
        "agreement": compared.verified.agreement,
        "model_ms": 1000 * compared.model_seconds,
        "graph_ms": 1000 * compared.seconds,
        "export_s": report.seconds,
    }


def row(one: dict[str, Any]) -> list[str]:
    """Return a line of the table."""
    what = [one["system"], one["backbone"], str(one["modalities"]), "x".join(map(str, one["size"]))]
    if "refused" in one:
        return [*what, "refused: " + one["refused"][:90], "", "", "", "", ""]
    return [
        *what,
        f"{one['megabytes']:.1f}",
        f"{one['difference']:.1e}",
        f"{100 * one['agreement']:.4f}",
        f"{one['model_ms']:.0f}",
        f"{one['graph_ms']:.0f}",
        f"{one['export_s']:.0f}",
    ]


def keep(path: Path, one: dict[str, Any], threads: int) -> None:
    """Add a case to a file; an older one of the same model, modalities, size and format gives way."""
    key = ("system", "backbone", "modalities", "size", "format")
    about = {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "threads": threads,
        "load": os.getloadavg()[0],  # of other work besides, where it is above the threads
    }
    older = json.loads(path.read_text())["cases"] if path.is_file() else []
    cases = [case for case in older if any(case[name] != one[name] for name in key)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cases": [*cases, one | {"about": about}]}, indent=2) + "\n")


def main() -> None:
    """Print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["micro"], help="backbones of memorysam")
    parser.add_argument("--systems", nargs="*", help="instead, these systems or all, at micro size")
    parser.add_argument("--modalities", nargs="+", type=int, default=[1, 2, 3, 4])
    parser.add_argument("--sizes", nargs="+", default=["256x256"], help="HEIGHTxWIDTH")
    parser.add_argument("--format", choices=["onnx", "torch"], default="onnx")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON; cases are added to those that are there")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    found: list[dict[str, Any]] = []
    jobs = []
    for text in asked.sizes:
        height, width = map(int, text.split("x"))
        if asked.systems is not None:
            for name in asked.systems or SYSTEMS:
                system = SYSTEMS[name]
                settings = ModelSettings(name=name, backbone="micro")
                rig = (*RIG[:2], REGIONS) if system.takes_regions else RIG[:2]
                jobs.append((settings, rig, (height, width)))
        else:
            for backbone in asked.models:
                jobs += [(ModelSettings(backbone=backbone), RIG[:m], (height, width)) for m in asked.modalities]
    for settings, rig, size in jobs:
        found.append(case(settings, rig, size, asked.format))
        print("  ".join(row(found[-1])), flush=True)
        if asked.out is not None:
            keep(asked.out, found[-1], asked.threads)
    head = ["system", "backbone", "M", "size", "MB", "max |d|", "same class, %", "torch ms", "onnx ms", "export s"]
    print("\n" + table(head, [row(one) for one in found]))


if __name__ == "__main__":
    main()
