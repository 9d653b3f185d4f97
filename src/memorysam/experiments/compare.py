"""All systems on the same scenes for the same number of samples: what each makes of every subset of the sensors.

One model per system and seed sees random subsets in half of its forward passes, and is then scored with each subset.
Every system gets the same search for its learning rate, on the validation split; the test split chooses nothing.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch

from memorysam.config import RunSettings
from memorysam.errors import SettingsError, did_you_mean
from memorysam.evaluation.robustness import spelled
from memorysam.evaluation.robustness_run import emm
from memorysam.experiments.reproduce import HELD_OUT, held_out, read_json
from memorysam.experiments.runner import Job, best_score, is_finished, run_all
from memorysam.files import write_json
from memorysam.loading import load
from memorysam.models.base import SegmentationModel, count
from memorysam.models.cost import forward_flops, kept_for_backward
from memorysam.models.systems import SYSTEMS
from memorysam.strict import build
from memorysam.training.checkpoint import BEST

SENSORS = ("rgb", "depth", "event", "lidar")
LABELS = {
    "memorysam": "MemorySAM",
    "mle-sam": "MLE-SAM",
    "sam-lora": "SAM-LoRA",
    "cwsam": "CWSAM",
    "cmnext": "CMNeXt",
    "cmx": "CMX (RGB + depth)",
    "magic": "MAGIC",
    "mcubesnet": "MCubeSNet",
    "mean-fusion": "mean fusion",
}
SCORES, COST = "subsets.json", "cost.json"
"""In a run's folder: mIoU by subset, and what the model costs. Remove one to have it measured again."""
_REPEATS = 20
"""Forward passes that are timed."""


@dataclass(frozen=True)
class Budget:
    """What every system gets."""

    size: int = 64
    scenes: int = 1600
    epochs: int = 2
    lrs: tuple[float, ...] = (1e-3, 3e-3)
    """Learning rates that the first seed tries; the best on the validation split is kept."""
    modality_dropout: float = 0.5
    val_scenes: int = 100
    test_scenes: int = 200


@dataclass(frozen=True)
class Compared:
    """One system with what came out."""

    system: str
    lr: float
    runs: dict[int, dict[str, Any]]
    """Seed -> scores and costs; a run that failed is not in it."""
    failed: list[str] = field(default_factory=list)

    def miou(self, subset: str) -> list[float]:
        """Scores with a subset of the sensors, one for each seed; empty where the system does not take it."""
        return [run["miou"][subset] for run in self.runs.values() if subset in run["miou"]]

    def average(self) -> list[float]:
        """Mean over all subsets, one for each seed."""
        return [mean(run["miou"].values()) for run in self.runs.values()]

    def cost(self, key: str) -> float:
        """Median over seeds."""
        return float(median(run["cost"][key] for run in self.runs.values()))


def sensors_of(system: str) -> tuple[str, ...]:
    """Return the sensors on which a system is compared: CMX is defined for two."""
    return SENSORS[:2] if system == "cmx" else SENSORS


def known(systems: Sequence[str] | None) -> list[str]:
    """Return the systems to compare; all for None.

    Raises:
        SettingsError: an unknown one.
    """
    for name in systems or ():
        if name not in SYSTEMS:
            raise SettingsError(
                f"there is no system {name!r}",
                where="--systems",
                expected=", ".join(SYSTEMS),
                fix=did_you_mean(name, SYSTEMS),
            )
    return list(dict.fromkeys(systems or SYSTEMS))


def settings_of(system: str, seed: int, lr: float, budget: Budget) -> RunSettings:
    """Return the settings of one run: the micro backbone from random weights, everything trains."""
    values = {
        "model": {"name": system, "backbone": "micro", "image_size": [budget.size, budget.size]},
        "data": {"dataset": "scenes", "modalities": sensors_of(system), "workers": 1,
                 "scenes": [budget.scenes, budget.val_scenes, budget.test_scenes]},
        "augment": {"scale": [0.8, 1.5]},
        "train": {"epochs": budget.epochs, "batch_size": 8, "lr": lr, "warmup_epochs": 0.2, "clip": 1.0, "seed": seed,
                  "modality_dropout": budget.modality_dropout, "tensorboard": False, "log_every": 25},
        "evaluate": {"protocol": "strict", "batch_size": 16},
    }  # fmt: skip
    return build(RunSettings, values, "compare")


def job_of(system: str, seed: int, lr: float, budget: Budget) -> Job:
    """Return one run."""
    return Job(f"{system}/lr{lr:g}/seed{seed}", settings_of(system, seed, lr, budget))


def compare(systems: Sequence[str], seeds: Sequence[int], out: Path, budget: Budget) -> list[Compared]:
    """Train and score all systems; finished runs are taken as they are.

    Args:
        systems: their names.
        seeds: of the runs; the first one chooses the learning rate.
        out: folder of all runs.
        budget: of each run.

    Raises:
        StoppedError: Ctrl-C or SIGTERM.
    """
    results = []
    for system in systems:
        run_all([job_of(system, seeds[0], lr, budget) for lr in budget.lrs], out)
        scores = {lr: best_score(out / job_of(system, seeds[0], lr, budget).name) for lr in budget.lrs}
        lr = max(budget.lrs, key=lambda rate: scores[rate] or 0.0)
        jobs = {seed: job_of(system, seed, lr, budget) for seed in seeds}
        failed = run_all(list(jobs.values()), out)
        runs = {seed: scored(out / job.name) for seed, job in jobs.items() if is_finished(out / job.name)}
        results.append(Compared(system, lr, runs, failed))
    return results


def scored(folder: Path) -> dict[str, Any]:
    """Return a run's mIoU on the test split by subset, and its costs; each is measured once."""
    missing = [path for path in (folder / SCORES, folder / COST) if not path.exists()]
    if missing:
        model = load(folder / BEST, device="auto", verbose=False).model
        if folder / SCORES in missing:
            write_json(folder / SCORES, by_subset(model, folder))
        if folder / COST in missing:
            write_json(folder / COST, costs(model))
    return {"miou": read_json(folder / SCORES), "cost": read_json(folder / COST)}


def by_subset(model: SegmentationModel, folder: Path) -> dict[str, float]:
    """Return the mIoU of a run's model on the test split with each subset of its sensors, under its name."""
    scores = emm(model, held_out(folder, model.task.names), HELD_OUT, split="test")
    return {spelled(subset): score for subset, score in scores.items()}


def costs(model: SegmentationModel) -> dict[str, float]:
    """Return parameters, operations of a forward pass, seconds per image, and bytes kept by a training step."""
    height, width = model.task.image_size
    device = next(model.parameters()).device
    images = {m.name: torch.zeros(1, m.channels, height, width, device=device) for m in model.task.modalities}
    model.eval()
    times = []
    with torch.no_grad():
        for _ in range(_REPEATS + 2):
            began = time.perf_counter()
            model(images)
            if device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
    return {
        "parameters": count(list(model.parameters())),
        "flops": forward_flops(model),
        "seconds": median(times[2:]),
        "kept_bytes": kept_for_backward(model),
        "threads": torch.get_num_threads(),
    }


def told(values: Sequence[float]) -> str:
    """Return mean and standard deviation over seeds, in words."""
    if not values:
        return "-"
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")
