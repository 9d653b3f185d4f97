"""How fast one process reads training samples, from files and from the cache, beside a training step.

The files are rendered scenes as DELIVER stores its own: 8-bit PNG of three channels for each sensor, an RGBA label.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from memorysam.benchmark.clock import PARTS, Clock, TimedBatch, WatchedCollate, WatchedSource, WatchedTransform
from memorysam.benchmark.machine import copy_rate, describe
from memorysam.benchmark.plan import Plan, make_images, make_labels, make_model, our_training
from memorysam.benchmark.timing import Progress, Spread, in_turns
from memorysam.config import AugmentSettings
from memorysam.data.cache import FOLDER
from memorysam.data.cache_writer import write_cache
from memorysam.data.dataset import Batch, SegmentationDataset, Source
from memorysam.data.folders import FolderDataset
from memorysam.data.loading import Loader
from memorysam.data.scenes import ScenesSource, write_scenes
from memorysam.data.transforms import TrainTransform
from memorysam.errors import SettingsError

SCENES = 4
"""Different samples; they are read again and again."""
AHEAD = 8
"""Batches that do not count: those read ahead before anybody asked, and the first, for which files are mapped."""
BATCHES = 4
"""Batches in one measurement."""


def pipeline(plan: Plan, progress: Progress) -> dict[str, Any]:
    """Measure reading, and the training step that it feeds.

    Returns:
        For `files` and `cache` the seconds of a batch, those of the worker's own work in it, samples per second, and
        seconds per sample by part; the training step by precision; `feeds`: seconds of a step to those of a batch,
        above 1 where reading keeps ahead.

    Raises:
        SettingsError: more modalities than the scenes have.
    """
    names = [modality.name for modality in ScenesSource.modalities]
    if plan.modalities > len(names):
        raise SettingsError(
            f"the files that are written have {len(names)} modalities: {', '.join(names)}",
            where="--modalities",
            expected=f"1 to {len(names)} with --data",
        )
    chosen, ways = names[: plan.modalities], {}
    steps = 3 + (len(plan.precisions) if plan.train else 0)
    with TemporaryDirectory(prefix="memorysam-") as folder:
        root = Path(folder)
        sheet = write_scenes(root, {"train": SCENES}, plan.model.image_size)
        written = sum(path.stat().st_size for path in root.rglob("*.png"))
        progress(1, steps)
        ways["files"] = _reading(plan, FolderDataset.load(sheet).source("train", chosen))
        progress(2, steps)
        cached = write_cache(FolderDataset.load(sheet), root / FOLDER, modalities=chosen).bytes
        ways["cache"] = _reading(plan, FolderDataset.load(sheet, cache="auto").source("train", chosen))
        progress(3, steps)
    rate = copy_rate(plan.device)
    for way in ways.values():
        # Copied once is the least that a batch needs on its way from arrays to the training process.
        way["share_of_copy"] = 2 * way["bytes_per_batch"] / rate / way["seconds_per_batch"]["median"]
    found: dict[str, Any] = {
        "machine": describe(plan.device),
        "plan": plan.as_dict(),
        "workers": 1,
        "limits": {"copy_bytes_per_s": rate},
        "scenes": SCENES,
        "file_bytes": written,
        "cache_bytes": cached,
        "reading": ways,
        "train": None,
        "feeds": None,
    }
    if plan.train:
        found["train"] = {}
        for done, precision in enumerate(plan.precisions, start=4):
            found["train"][precision] = _training(plan, precision)
            progress(done, steps)
        found["feeds"] = {
            name: {
                precision: step["seconds"]["median"] / way["seconds_per_batch"]["median"]
                for precision, step in found["train"].items()
            }
            for name, way in ways.items()
        }
    return found


def _reading(plan: Plan, source: Source) -> dict[str, Any]:
    """Read batches as training does, in one process, and do nothing with them."""
    clock = Clock()
    transform = TrainTransform(plan.model.image_size, AugmentSettings(), source.modalities)
    dataset = SegmentationDataset(
        WatchedSource(source, clock), source.modalities, WatchedTransform(transform, clock), seed=1
    )
    total = AHEAD + BATCHES * plan.repeats
    loader: Loader[TimedBatch] = Loader(
        dataset, list(keys(plan.batch, total)), WatchedCollate(clock), workers=1, pin=plan.device.type == "cuda"
    )
    seconds: dict[str, list[float]] = {part: [] for part in PARTS}
    worked: list[float] = []
    size = 0
    for number, timed in enumerate(loader):
        size = _bytes(timed.to(plan.device))
        if number >= AHEAD:
            worked.append(timed.cpu)
            for part in PARTS:
                seconds[part].append(timed.seconds.get(part, 0.0))
    # One process has nothing to do but this: its parts add up to what a batch takes.
    runs = [
        sum(sum(seconds[part][first : first + BATCHES]) for part in PARTS) / BATCHES
        for first in range(0, BATCHES * plan.repeats, BATCHES)
    ]
    spread = Spread.of(runs)
    return {
        "seconds_per_batch": spread.as_dict(),
        "cpu_seconds_per_batch": Spread.of(worked).as_dict(),
        "samples_per_s": plan.batch / spread.median,
        "seconds_per_sample": {
            part: Spread.of([value / plan.batch for value in values]).as_dict() for part, values in seconds.items()
        },
        "bytes_per_batch": size,
    }


def keys(batch: int, count: int) -> Iterator[list[tuple[int, int]]]:
    """Yield batches of (epoch, index): every sample of every epoch in turn, so that no two are augmented alike."""
    for number in range(count):
        places = range(number * batch, (number + 1) * batch)
        yield [(place // SCENES, place % SCENES) for place in places]


def _training(plan: Plan, precision: str) -> dict[str, Any]:
    """Time a step of as many samples: all at once on a GPU, one at a time on a CPU."""
    passes = 1 if plan.device.type == "cuda" else plan.batch
    one = replace(plan, batch=plan.batch // passes)
    step = our_training(make_model(one), make_images(one), make_labels(one), precision)
    seconds = in_turns({precision: step}, plan.repeats, plan.device)[precision]
    return {"seconds": Spread.of([passes * value for value in seconds]).as_dict(), "passes": passes}


def _bytes(batch: Batch) -> int:
    return sum(image.nbytes for image in batch.images.values()) + batch.label.nbytes
