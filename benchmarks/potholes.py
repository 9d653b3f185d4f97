"""Pothole IoU on the potholes' val list: RGB and disparity together, each alone, and one threshold; three seeds.

    python benchmarks/potholes.py --root ../shared/data/potholes --out runs/potholes-seeds

Nine runs of configs/potholes.yaml, from scratch; finished ones are not repeated. The threshold is what a careful person
would try first: blur the image, subtract its median, call potholes what lies below a value tuned on train.
"""

import argparse
import statistics
from pathlib import Path

import cv2
import numpy as np

from memorysam.config import RunSettings, packaged
from memorysam.data.catalog import open_dataset, resolve
from memorysam.data.dataset import Source
from memorysam.evaluation.report import table
from memorysam.experiments.runner import Job, run_all
from memorysam.models.weights import read_about
from memorysam.strict import build, read_yaml
from memorysam.training.checkpoint import BEST, LAST

VARIANTS = {"RGB + disparity": ("rgb", "disparity"), "disparity alone": ("disparity",), "RGB alone": ("rgb",)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of the potholes")
    parser.add_argument("--out", type=Path, default=Path("runs/potholes-seeds"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    path = packaged()["potholes"]
    recipe = build(RunSettings, read_yaml(path), path)
    data = resolve(recipe.data.model_copy(update={"root": arguments.root}), path.parent)
    jobs = {}
    for title, names in VARIANTS.items():
        for seed in arguments.seeds:
            train = recipe.train.model_copy(update={"seed": seed})
            chosen = data.model_copy(update={"modalities": names})
            folder = f"{'-'.join(names)}/seed{seed}"
            jobs[title, seed] = Job(folder, recipe.model_copy(update={"data": chosen, "train": train}))
    run_all(list(jobs.values()), arguments.out)
    rows = []
    for title in VARIANTS:
        scores = [pothole_iou(arguments.out / jobs[title, seed].name) for seed in arguments.seeds]
        spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
        rows.append([title, f"{statistics.mean(scores):.1f}", f"{spread:.1f}", " ".join(f"{s:.1f}" for s in scores)])
    dataset = open_dataset(data, recipe.model.image_size)
    best, value = one_threshold(dataset.source("train", ["disparity"]), dataset.source("val", ["disparity"]))
    rows.append([f"one threshold on disparity (blur {best[0]}, below {best[1]:g})", f"{value:.1f}", "-", "-"])
    print(table(["pothole IoU on val, %", "mean", "spread", "seeds"], rows))


def pothole_iou(folder: Path) -> float:
    """Return the score of the best checkpoint; say so where it is not the last one."""
    about = read_about(folder / BEST)
    if about["step"] != read_about(folder / LAST)["step"]:
        print(f"{folder}: the best checkpoint is not the last one, but that of step {about['step']}")
    return float(about["scores"]["classes"]["pothole"]["iou"])


def one_threshold(train: Source, val: Source) -> tuple[tuple[float, float], float]:
    """Return the blur and the threshold that are best on `train`, and their IoU on `val` in percent."""
    best, most = (0.0, 0.0), -1.0
    for sigma in (0.0, 1.0, 2.0, 4.0, 6.0):
        images, labels = prepared(train, sigma)
        for threshold in np.arange(-20000, 0, 500, dtype=np.float32):
            score = iou([image < threshold for image in images], labels)
            if score > most:
                best, most = (sigma, float(threshold)), score
    images, labels = prepared(val, best[0])
    return best, iou([image < best[1] for image in images], labels)


def prepared(source: Source, sigma: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return blurred disparity about its median, and where potholes are."""
    images, labels = [], []
    for index in range(len(source.ids)):
        raw = source.read(index, ["disparity"])
        image = raw.images["disparity"][..., 0].astype(np.float32)
        image = cv2.GaussianBlur(image, (0, 0), sigma) if sigma else image
        images.append(image - np.median(image))
        labels.append(raw.label == 1)
    return images, labels


def iou(found: list[np.ndarray], labels: list[np.ndarray]) -> float:
    """Return intersection over union of all images together, in percent."""
    both = sum(int((f & label).sum()) for f, label in zip(found, labels, strict=True))
    either = sum(int((f | label).sum()) for f, label in zip(found, labels, strict=True))
    return 100.0 * both / either


if __name__ == "__main__":
    main()
