"""Training for missing sensors: what each setting adds to a model that is scored with every subset of its sensors.

Not a table of the paper, so nothing published stands beside it. All rows get the same scenes, the same number of
samples and the same learning rate; a score is that of the end of training, so that none has chosen its own checkpoint.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from memorysam.config import RunSettings
from memorysam.evaluation.robustness import Subset, average, expectation, spelled, subsets
from memorysam.experiments.compare import SCORES, SENSORS, by_subset
from memorysam.experiments.reproduce import read_json
from memorysam.experiments.runner import Job, is_finished, run_all
from memorysam.files import write_json
from memorysam.loading import load
from memorysam.strict import build
from memorysam.training.checkpoint import BEST

NAME = "robustness"
MISSING = 0.1
"""Probability that a sensor is missing, in the expectation."""


@dataclass(frozen=True)
class Variant:
    """One way to train: a row of the table."""

    name: str
    """Of its folder."""
    label: str
    dropout: bool = False
    """Whether forward passes see random subsets of the sensors (`train.modality_dropout`)."""
    shuffle: bool = False
    """Whether they see them in random order (`train.modality_order`)."""
    quality: bool = False
    """Whether a learned quality weighs the sensors (`model.fusion`)."""


VARIANTS = (
    Variant("plain", "plain"),
    Variant("dropout", "dropout", dropout=True),
    Variant("dropout-shuffle", "dropout, shuffled order", dropout=True, shuffle=True),
    Variant("dropout-quality", "dropout, quality", dropout=True, quality=True),
    Variant("dropout-shuffle-quality", "dropout, shuffled order, quality", dropout=True, shuffle=True, quality=True),
)


@dataclass(frozen=True)
class Measure:
    """One number made of the scores with all subsets: a column of the table."""

    key: str
    label: str
    of: Callable[[dict[Subset, float]], float | None]


MEASURES = (
    Measure("all", "all sensors", lambda scores: scores[SENSORS]),
    Measure("average", "EMM average", average),
    Measure("expectation", f"E({MISSING:g})", lambda scores: expectation(scores, SENSORS, MISSING)),
    Measure("without_rgb", "without RGB", lambda scores: scores[SENSORS[1:]]),
    Measure("single", "one alone", lambda scores: fmean(scores[name,] for name in SENSORS)),
)


@dataclass(frozen=True)
class Budget:
    """What every row gets."""

    size: int = 64
    scenes: int = 1000
    epochs: int = 2
    lr: float = 3e-3
    """What `memorysam compare` chose for MemorySAM at this scale."""
    modality_dropout: float = 0.5
    """Share of the forward passes that see a random subset, in rows with dropout."""
    val_scenes: int = 50
    """Number of scenes that are scored once, at the end, for the log; they choose nothing."""
    test_scenes: int = 100


@dataclass(frozen=True)
class Trained:
    """One row with what came out."""

    variant: Variant
    scores: dict[int, dict[Subset, float]]
    """Seed -> mIoU in percent on the test split by subset of the sensors; a run that failed is not in it."""
    failed: list[str] = field(default_factory=list)

    def measured(self, measure: Measure) -> dict[int, float]:
        """Return one number for each seed."""
        found = {seed: measure.of(scores) for seed, scores in self.scores.items()}
        return {seed: value for seed, value in found.items() if value is not None}


def settings_of(variant: Variant, seed: int, budget: Budget) -> RunSettings:
    """Return the settings of one run: the micro backbone from random weights, everything trains."""
    values: dict[str, Any] = {
        "model": {"backbone": "micro", "image_size": [budget.size, budget.size],
                  "fusion": "quality" if variant.quality else "mean"},
        "data": {"dataset": "scenes", "modalities": SENSORS, "workers": 1,
                 "scenes": [budget.scenes, budget.val_scenes, budget.test_scenes]},
        "augment": {"scale": [0.8, 1.5]},
        "train": {"epochs": budget.epochs, "batch_size": 8, "lr": budget.lr, "warmup_epochs": 0.2, "clip": 1.0,
                  "seed": seed, "modality_dropout": budget.modality_dropout if variant.dropout else 0.0,
                  "modality_order": "shuffle" if variant.shuffle else "fixed",
                  "validate_every": budget.epochs, "tensorboard": False, "log_every": 25},
        "evaluate": {"protocol": "strict", "batch_size": 16},
    }  # fmt: skip
    return build(RunSettings, values, NAME)


def jobs_of(variants: Sequence[Variant], seeds: Sequence[int], budget: Budget) -> dict[Variant, dict[int, Job]]:
    """Return the runs of each row by seed."""
    return {v: {s: Job(f"{NAME}/{v.name}/seed{s}", settings_of(v, s, budget)) for s in seeds} for v in variants}


def robust(seeds: Sequence[int], out: Path, budget: Budget, variants: Sequence[Variant] = VARIANTS) -> list[Trained]:
    """Train all rows and score them; finished runs are taken as they are.

    Args:
        seeds: of the runs; those of one seed see the same samples in all rows, so that differences are paired.
        out: folder of all runs.
        budget: of each run.
        variants: rows.

    Raises:
        StoppedError: Ctrl-C or SIGTERM.
    """
    jobs = jobs_of(variants, seeds, budget)
    failed = set(run_all([jobs[variant][seed] for seed in seeds for variant in variants], out))
    results = []
    for variant in variants:
        done = {seed: out / job.name for seed, job in jobs[variant].items() if is_finished(out / job.name)}
        names = [job.name for job in jobs[variant].values() if job.name in failed]
        results.append(Trained(variant, {seed: scored(folder) for seed, folder in done.items()}, names))
    return results


def scored(folder: Path) -> dict[Subset, float]:
    """Return a run's mIoU on the test split with each subset of the sensors; it is measured once."""
    if not (folder / SCORES).exists():
        model = load(folder / BEST, device="auto", verbose=False).model
        write_json(folder / SCORES, by_subset(model, folder))
    kept = read_json(folder / SCORES)
    return {subset: float(kept[spelled(subset)]) for subset in subsets(SENSORS)}


def compared(results: Sequence[Trained]) -> list[tuple[Trained, Trained, str]]:
    """Return the pairs of rows that differ in one setting: without it, with it, and its name."""
    rows = {(t.variant.dropout, t.variant.shuffle, t.variant.quality): t for t in results}
    found = []
    for place, name in enumerate(("dropout", "shuffled order", "quality")):
        for key, without in rows.items():
            other = (*key[:place], True, *key[place + 1 :])
            if not key[place] and other in rows:
                found.append((without, rows[other], name))
    return found


def gains(without: Trained, having: Trained, measure: Measure) -> list[float]:
    """Return what a setting adds to a number, seed by seed."""
    before, after = without.measured(measure), having.measured(measure)
    return [after[seed] - before[seed] for seed in before if seed in after]
