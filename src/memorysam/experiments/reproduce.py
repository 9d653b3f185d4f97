"""From a table's name to its runs, and from its runs to scores."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from memorysam.config import EvaluateSettings, RunSettings, packaged
from memorysam.data.catalog import open_dataset
from memorysam.data.dataset import Source
from memorysam.errors import MemorySAMError, SettingsError, did_you_mean
from memorysam.evaluation.evaluate import evaluate
from memorysam.experiments.plan import TABLES, Row, Table
from memorysam.experiments.runner import FAILED, Job, best_score, is_finished, run_all
from memorysam.experiments.toy import PRETRAINED, pretraining, shrink
from memorysam.files import write_json
from memorysam.loading import load
from memorysam.models.weights import read_about
from memorysam.strict import build, read_yaml
from memorysam.training.checkpoint import BEST

TEST_SCORE = "test.json"
HELD_OUT = EvaluateSettings(protocol="strict", batch_size=16)
"""How models at toy scale are scored on the test split."""


@dataclass(frozen=True)
class Scale:
    """How large the runs are."""

    toy: bool
    size: int = 64
    scenes: int = 800
    epochs: int = 3
    pretraining_epochs: int = 4


@dataclass(frozen=True)
class Result:
    """One row with what came out."""

    row: Row
    scores: dict[int, float | None]
    """Seed -> mIoU; None where the run is missing or failed."""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def values(self) -> list[float]:
        """The scores that there are."""
        return [score for score in self.scores.values() if score is not None]

    @property
    def mean(self) -> float | None:
        """Mean over seeds."""
        return mean(self.values) if self.values else None

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds, of two or more."""
        return stdev(self.values) if len(self.values) > 1 else None


def table_of(name: str, others: Iterable[str] = ()) -> Table:
    """Return a table by its name.

    Args:
        name: of the table.
        others: names that would have been right as well, for the message.

    Raises:
        SettingsError: there is none.
    """
    if name not in TABLES:
        known = sorted([*TABLES, "table6", *others], key=lambda known: (known[0] == "f", known))
        raise SettingsError(
            f"there is no {name!r} to reproduce", expected=", ".join(known), fix=did_you_mean(name, known)
        )
    return TABLES[name]


def settings_of(row: Row, seed: int, out: Path, root: Path | None, scale: Scale) -> RunSettings:
    """Return the settings of one run."""
    path = packaged()[row.recipe]
    recipe = build(RunSettings, read_yaml(path), path)
    if scale.toy:
        return shrink(recipe, (out / PRETRAINED).absolute(), seed, scale.size, scale.scenes, scale.epochs)
    data, train = recipe.data.model_copy(update={"root": root}), recipe.train.model_copy(update={"seed": seed})
    return recipe.model_copy(update={"data": data, "train": train})


def jobs_of(table: Table, seeds: Sequence[int], out: Path, root: Path | None, scale: Scale) -> dict[Row, list[Job]]:
    """Return the runs of each row, one for each seed.

    Rows with the same settings, also those of different tables, share their runs: the full method at its defaults is a
    row of Tables 1, 3, 4, 5 and 7.
    """
    jobs: dict[Row, list[Job]] = {row: [] for row in table.rows}
    everything = [row for other in TABLES.values() for row in other.rows]
    for seed in seeds:
        first: dict[str, str] = {}  # settings -> the first recipe that has them
        for row in everything:
            settings = settings_of(row, seed, out, root, scale)
            recipe = first.setdefault(settings.model_dump_json(), row.recipe)
            if row in jobs:
                jobs[row].append(Job(f"{recipe}/seed{seed}", settings))
    return jobs


def reproduce(table: Table, seeds: Sequence[int], out: Path, root: Path | None, scale: Scale) -> list[Result]:
    """Run a table and collect its scores.

    Args:
        table: which.
        seeds: of the runs.
        out: folder of all runs.
        root: folder of the data; for the full scale.
        scale: of the runs.

    Raises:
        StoppedError: Ctrl-C or SIGTERM.
    """
    jobs = jobs_of(table, seeds, out, root, scale)
    train_all([job for row in table.rows for job in jobs[row]], out, scale)
    return [
        Result(
            row,
            {seed: score(out / job.name, scale) for seed, job in zip(seeds, jobs[row], strict=True)},
            facts(jobs[row][0].settings, scale),
        )
        for row in table.rows
    ]


def train_all(jobs: Sequence[Job], out: Path, scale: Scale) -> list[str]:
    """Run what is not finished yet; at toy scale, first what all runs start from. Returns the names that failed.

    Raises:
        MemorySAMError: what all start from has failed.
        StoppedError: Ctrl-C or SIGTERM.
    """
    if scale.toy and run_all([Job(PRETRAINED, pretraining(scale.size, scale.scenes, scale.pretraining_epochs))], out):
        raise MemorySAMError("the run that all others start from has failed", where=out / PRETRAINED / FAILED)
    return run_all(jobs, out)


def score(folder: Path, scale: Scale) -> float | None:
    """Return the mIoU of a run.

    At full scale it is that of the split which chose the checkpoint, as published; at toy scale that of the test split,
    which chose nothing.
    """
    if not scale.toy or not is_finished(folder):
        return best_score(folder)
    kept = folder / TEST_SCORE
    if not kept.exists():
        model = load(folder / BEST, device="auto", verbose=False).model
        result = evaluate(model, held_out(folder, model.task.names), HELD_OUT, split="test")
        write_json(kept, result.as_dict())
    return float(read_json(kept)["miou"])


def held_out(folder: Path, modalities: Sequence[str]) -> Source:
    """Open the test split of the data that a run was trained on: it chose nothing.

    Args:
        folder: of the run.
        modalities: names of those that are read.
    """
    settings = build(RunSettings, read_about(folder / BEST)["settings"], folder)
    return open_dataset(settings.data, settings.model.image_size).source("test", modalities)


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def facts(settings: RunSettings, scale: Scale) -> dict[str, Any]:
    """Return what the scores of a run hold for."""
    return {
        "data": settings.data.dataset,
        "modalities": list(settings.data.modalities or ()),
        "scored_on": "test" if scale.toy else settings.data.val_split,
        "chosen_on": settings.data.val_split,
        "protocol": settings.evaluate.protocol,
        "size": list(settings.model.image_size),
        "epochs": settings.train.epochs,
        "batch": settings.train.batch_size,
    }
