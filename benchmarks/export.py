"""Exported graphs beside the models that they are made of: agreement, size and time of each. Random weights.

Every case goes the whole way: a checkpoint is written, loaded and exported, which compares the file with the model; a
process without PyTorch predicts with it; and both are timed, in turns. With --files, exported files are kept, and those
that are there already are not made again, only predicted with and timed anew: exporting needs no quiet machine, timing
does. So the same command twice goes on where it was interrupted, and once more gives better times.

python benchmarks/export.py --models micro sam2.1-tiny --modalities 1 2 3 4 --sizes 256x256 384x512 --files exported
python benchmarks/export.py --systems --sizes 64x96
"""

import argparse
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch

from memorysam.benchmark.machine import describe
from memorysam.benchmark.timing import in_turns, times_faster
from memorysam.config import ModelSettings
from memorysam.errors import MemorySAMError
from memorysam.evaluation.report import table
from memorysam.export.answer import Graph
from memorysam.export.graph import inputs_of
from memorysam.export.make import SUFFIX, Format, export, open_graph
from memorysam.export.verify import AGREEMENT, compare
from memorysam.loading import load
from memorysam.models import weights
from memorysam.models.base import SegmentationModel
from memorysam.models.factory import create
from memorysam.models.systems import SYSTEMS
from memorysam.models.tune import for_inference
from memorysam.predict import Predictor
from memorysam.spec import Modality, Size, Task, as_classes, camera

RIG = (camera(), Modality(name="depth", channels=1), Modality(name="event"), Modality(name="lidar"))
REGIONS = Modality(name="regions", channels=1, role="regions")
CLASSES = 25
CPU = torch.device("cpu")
KEY = ("system", "backbone", "modalities", "size", "format")
"""What tells one case from another."""
HEAD = ["system", "backbone", "M", "size", "format", "MB", "export s", "max |d|", "same class, %", "torch ms",
        "graph ms", "times"]  # fmt: skip
ALONE = """
import sys
import numpy as np
import memorysam
graph = memorysam.load(sys.argv[1], device="cpu", verbose=False)
with np.load(sys.argv[2]) as images:
    found = graph.predict(dict(images))
if "torch" in sys.modules:
    sys.exit("PyTorch was imported")
np.savez(sys.argv[3], labels=found.labels, probabilities=found.probabilities)
"""


def case(
    settings: ModelSettings, modalities: tuple[Modality, ...], size: Size, kind: Format, files: Path | None, turns: int
) -> dict[str, Any]:
    """Export one model, or take what was exported of it; return what was measured, or why it cannot be exported."""
    torch.manual_seed(0)
    task = Task(modalities=modalities, classes=as_classes([f"class{i}" for i in range(CLASSES)]), image_size=size)
    said = dict(zip(KEY, (settings.name, settings.backbone, len(modalities), list(size), kind), strict=True))
    stem = f"{settings.name}_{settings.backbone}_{len(modalities)}_{size[0]}x{size[1]}"
    with TemporaryDirectory() as place:
        checkpoint = Path(place) / "model.safetensors"
        weights.save(checkpoint, create(settings, task))
        predictor = load(checkpoint, device="cpu", verbose=False)
        path = (files or Path(place)) / f"{stem}{SUFFIX[kind]}"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                said["export_s"] = export(predictor.model, path, None, kind).seconds
                said["export_load"] = os.getloadavg()[0]
            except MemorySAMError as error:
                return said | {"refused": error.what}
        for_inference(predictor.model)
        graph = open_graph(path, kind)
        compare(graph, predictor.model, (1,))  # a file that was kept may be of another model
        if graph.about.verified is not None:
            said |= graph.about.verified.model_dump()
        if kind == "onnx":
            said["without_torch"] = without_torch(path, predictor, Path(place))
        return said | {"megabytes": path.stat().st_size / 1e6} | timed(graph, predictor.model, turns)


def without_torch(path: Path, predictor: Predictor, place: Path) -> dict[str, float]:
    """Let a process without PyTorch predict one scene, of another size than the graph's.

    Returns:
        Beside the checkpoint's prediction: the share of pixels with the same class, and the largest difference of a
        probability.

    Raises:
        MemorySAMError: it failed, imported PyTorch, or the classes are others.
    """
    draw = np.random.default_rng(0)
    height, width = predictor.task.image_size
    images = {}
    for modality in predictor.task.modalities:
        coarse = draw.integers(0, 256, (8, 10, modality.channels), np.uint8)
        image = cv2.resize(coarse, (width * 3 // 2, height * 5 // 4), interpolation=cv2.INTER_CUBIC)
        images[modality.name] = image.reshape(*image.shape[:2], -1)
    scene, answer = place / "scene.npz", place / "answer.npz"
    np.savez(scene, **images)
    words = map(str, (sys.executable, "-c", ALONE, path, scene, answer))
    done = subprocess.run(list(words), capture_output=True, text=True, check=False)
    if done.returncode:
        raise MemorySAMError(f"no prediction without PyTorch: {done.stderr[-500:]}", where=path)
    expected = predictor.predict(images)
    with np.load(answer) as found:
        same = float((found["labels"] == expected.labels).mean())
        difference = float(np.abs(found["probabilities"] - expected.probabilities).max())
    if same < AGREEMENT:
        raise MemorySAMError(f"without PyTorch, {same:.4%} of the pixels get the same class", where=path)
    return {"agreement": same, "difference": difference, "classes": len(np.unique(expected.labels))}


def timed(graph: Graph, model: SegmentationModel, turns: int) -> dict[str, Any]:
    """Time both for one image, from normalised images to classes and probabilities at the image's size, in turns."""
    size = model.task.image_size
    images = dict(zip(graph.about.modalities, inputs_of(graph.about.inputs, size, batch=1), strict=True))
    arrays = {name: image.numpy() for name, image in images.items()}

    @torch.no_grad()
    def own() -> None:
        full = model(images).at(size)
        full.argmax(dim=1), full.softmax(dim=1)

    seconds = in_turns({"model": own, "graph": lambda: graph.run(arrays, size)}, turns, CPU, warmup=2)
    found: dict[str, Any] = {"turns": turns, "ratio": times_faster(seconds["model"], seconds["graph"])}
    for name, values in seconds.items():
        found |= {f"{name}_ms": 1000 * median(values), f"{name}_least_ms": 1000 * min(values)}
    return found


def row(one: dict[str, Any]) -> list[str]:
    """Return a line of the table."""
    what = [one["system"], one["backbone"], str(one["modalities"]), "x".join(map(str, one["size"])), one["format"]]
    if "refused" in one:
        return [*what, "refused: " + one["refused"][:90], *[""] * 6]
    return [
        *what,
        f"{one['megabytes']:.1f}",
        f"{one['export_s']:.0f}" if "export_s" in one else "",
        f"{one['difference']:.1e}",
        f"{100 * one['agreement']:.4f}",
        f"{one['model_ms']:.0f}",
        f"{one['graph_ms']:.0f}",
        f"{one['ratio']:.2f}",
    ]


def keep(path: Path, one: dict[str, Any]) -> dict[str, Any]:
    """Add a case to a file, over what is known of the same case; return the whole."""
    machine = describe(CPU)
    about = {name: machine[name] for name in ("cpu", "cores", "threads", "torch")} | {
        "onnxruntime": version("onnxruntime"),
        "load": os.getloadavg()[0],  # while it was timed; this process is 1 of it, more is other work besides
        "niceness": os.nice(0),
    }
    older = json.loads(path.read_text())["cases"] if path.is_file() else []
    whole = one | {"about": about}
    cases = []
    for other in older:
        if all(other[name] == one[name] for name in KEY):
            whole = other | whole
        else:
            cases.append(other)
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
    parser.add_argument("--turns", type=int, default=11, help="how often each is timed")
    parser.add_argument("--files", type=Path, help="folder for exported files; those in it are not made again")
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
        one = case(settings, rig, size, asked.format, asked.files, asked.turns)
        found.append(one if asked.out is None else keep(asked.out, one))
        print("  ".join(row(found[-1])), flush=True)
    print("\n" + table(HEAD, [row(one) for one in found]))


if __name__ == "__main__":
    main()
