"""Exported graphs beside the models that they are made of: agreement, size and time of each. Random weights.

Every case goes the whole way: a checkpoint is written, loaded and exported, the file is read by onnxruntime. With
--files, exported files are kept, and those that are there already are timed anew and not made: exporting needs no quiet
machine, timing does.

python benchmarks/export.py --models micro sam2.1-tiny --modalities 1 2 3 4 --sizes 256x256 384x512 --files exported
python benchmarks/export.py --models micro sam2.1-tiny --modalities 1 2 3 4 --sizes 256x256 384x512 --files exported
python benchmarks/export.py --systems --sizes 64x96
"""

import argparse
import json
import os
import platform
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from memorysam.config import ModelSettings
from memorysam.errors import MemorySAMError
from memorysam.evaluation.report import table
from memorysam.export import verify
from memorysam.export.make import SUFFIX, Format, export, open_graph
from memorysam.loading import load
from memorysam.models import weights
from memorysam.models.factory import create
from memorysam.models.systems import SYSTEMS
from memorysam.models.tune import for_inference
from memorysam.spec import Modality, Size, Task, as_classes, camera

RIG = (camera(), Modality(name="depth", channels=1), Modality(name="event"), Modality(name="lidar"))
REGIONS = Modality(name="regions", channels=1, role="regions")
CLASSES = 25


TIMED = (1,) * 12
"""Calls of one image each, of which the first does not count."""


def case(
    settings: ModelSettings, modalities: tuple[Modality, ...], size: Size, kind: Format, files: Path | None
) -> dict[str, Any]:
    """Export one model, or time one that was exported; return what was measured, or why it cannot be exported."""
    torch.manual_seed(0)
    task = Task(modalities=modalities, classes=as_classes([f"class{i}" for i in range(CLASSES)]), image_size=size)
    said: dict[str, Any] = {
        "system": settings.name,
        "backbone": settings.backbone,
        "modalities": len(modalities),
        "size": list(size),
        "format": kind,
    }
    stem = f"{settings.name}_{settings.backbone}_{len(modalities)}_{size[0]}x{size[1]}"
    with TemporaryDirectory() as place:
        try:
            checkpoint = Path(place) / "model.safetensors"
            weights.save(checkpoint, create(settings, task))
            model = load(checkpoint, device="cpu", verbose=False).model
            path = (files or Path(place)) / f"{stem}{SUFFIX[kind]}"
            if path.is_file():
                for_inference(model)
                compared = verify.compare(open_graph(path, kind), model, TIMED)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                report = export(model, path, None, kind)
                compared = report.comparison
                said |= {
                    "megabytes": report.megabytes,
                    "export_s": report.seconds,
                    "difference": compared.verified.difference,
                    "agreement": compared.verified.agreement,
                    "images": compared.verified.images,
                }
        except MemorySAMError as error:
            return said | {"refused": error.what}
    return said | {"model_ms": 1000 * compared.model_seconds, "graph_ms": 1000 * compared.seconds}


def row(one: dict[str, Any]) -> list[str]:
    """Return a line of the table."""
    what = [one["system"], one["backbone"], str(one["modalities"]), "x".join(map(str, one["size"]))]
    if "refused" in one:
        return [*what, "refused: " + one["refused"][:90], "", "", "", "", ""]
    made = ["", "", "", ""]
    if "export_s" in one:
        made = [
            f"{one['megabytes']:.1f}",
            f"{one['export_s']:.0f}",
            f"{one['difference']:.1e}",
            f"{100 * one['agreement']:.4f}",
        ]
    return [*what, *made, f"{one['model_ms']:.0f}", f"{one['graph_ms']:.0f}"]


def keep(path: Path, one: dict[str, Any], threads: int) -> dict[str, Any]:
    """Add a case to a file, over what is known of the same model, modalities, size and format; return the whole."""
    key = ("system", "backbone", "modalities", "size", "format")
    about = {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "threads": threads,
        "load": os.getloadavg()[0],  # of other work besides, where it is above the threads
    }
    older = json.loads(path.read_text())["cases"] if path.is_file() else []
    whole = one | {"about": about}
    cases = []
    for case in older:
        if all(case[name] == one[name] for name in key):
            whole = case | whole
        else:
            cases.append(case)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cases": [*cases, whole]}, indent=2) + "\n")
    return whole


def main() -> None:
    """Print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["micro"], help="backbones of memorysam")
    parser.add_argument("--systems", nargs="*", help="instead, these systems or all, at micro size")
    parser.add_argument("--modalities", nargs="+", type=int, default=[1, 2, 3, 4])
    parser.add_argument("--sizes", nargs="+", default=["256x256"], help="HEIGHTxWIDTH")
    parser.add_argument("--format", choices=["onnx", "torch"], default="onnx")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--files", type=Path, help="folder for exported files; those in it are timed only")
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
        one = case(settings, rig, size, asked.format, asked.files)
        found.append(one if asked.out is None else keep(asked.out, one, asked.threads))
        print("  ".join(row(found[-1])), flush=True)
    head = ["system", "backbone", "M", "size", "MB", "export s", "max |d|", "same class, %", "torch ms", "graph ms"]
    print("\n" + table(head, [row(one) for one in found]))


if __name__ == "__main__":
    main()
