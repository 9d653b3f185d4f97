"""One page about a run: where it is, its curves, how its best model scores, and what that sees."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memorysam.config import RunSettings
from memorysam.data.catalog import open_dataset
from memorysam.errors import DataError, MemorySAMError
from memorysam.evaluation.evaluate import evaluate
from memorysam.evaluation.extremes import Extremes
from memorysam.evaluation.page import Page
from memorysam.experiments import panels
from memorysam.experiments.figures import read_log
from memorysam.experiments.score_page import add_figure, add_images, add_scores, can_draw, telling_tags
from memorysam.loading import load
from memorysam.models.weights import read_about
from memorysam.strict import build, read_yaml
from memorysam.training.checkpoint import BEST, LAST
from memorysam.training.progress import ProgressBar
from memorysam.training.run import LOG, SETTINGS

_LISTED = 20
"""Validations in the table, the latest ones."""


@dataclass(frozen=True)
class Choice:
    """What of a run is looked at."""

    split: str | None = None
    """To score; by default the run's validation split."""
    images: int = 4
    """How many of the worst and of the best images are shown; 0 leaves all scoring out."""
    workers: int = 2
    device: str = "auto"


def run_report(run: Path, path: Path, choice: Choice) -> dict[str, Any]:
    """Write a page about a run that is finished, stopped or under way.

    Args:
        run: its folder.
        path: of the page.
        choice: what is looked at.

    Returns:
        What the page says at its top, as JSON.

    Raises:
        DataError: no folder of a run.
        MemorySAMError: the page cannot be written.
    """
    if not (run / SETTINGS).is_file():
        raise DataError(
            "this is no folder of a run", where=run, expected=f"a folder with {SETTINGS}, as `memorysam train` makes",
            fix="for a single checkpoint: memorysam evaluate CHECKPOINT --report --out FOLDER",
        )  # fmt: skip
    settings = build(RunSettings, read_yaml(run / SETTINGS), run / SETTINGS)
    entries = _entries(run)
    page = Page(f"Run {run.resolve().name}")
    facts = _facts(run, settings, entries)
    page.table(["", ""], [[key.replace("_", " "), _said(value)] for key, value in facts.items()])
    _add_curves(page, run, entries)
    if choice.images and (run / BEST).is_file():
        page.heading("How the best model scores")
        try:
            facts["scored"] = _add_scores(page, run, settings, choice)
        except MemorySAMError as error:  # the data have moved, say: the rest of the page is worth having
            page.words(f"It cannot be scored here: {error}")
            facts["scored"] = None
    page.heading("Settings")
    page.more("What differs from the defaults", _different(settings) or "nothing")
    page.more("All settings", (run / SETTINGS).read_text(encoding="utf-8"))
    environment = run / "environment.json"
    if environment.is_file():
        page.more("Environment", environment.read_text(encoding="utf-8"))
    page.heading("Go on")
    page.command(f"memorysam evaluate {run} --out {run / 'scores'}")
    page.command(f"memorysam train {run / SETTINGS} --out {run} --resume")
    page.save(path)
    return facts


def _facts(run: Path, settings: RunSettings, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return where a run is."""
    about = read_about(run / LAST) if (run / LAST).is_file() else {}
    progress = about.get("training", {}).get("progress", {})
    step = max([progress.get("step", 0), *(entry.get("step", 0) for entry in entries)])
    samples = about.get("samples")
    total = None if samples is None else settings.train.epochs * max(1, samples // settings.train.batch_size)
    times = [entry["time"] for entry in entries if "time" in entry]
    return {
        "state": "finished" if total is not None and step >= total else "under way, or stopped",
        "step": step,
        "steps": total,
        "best_miou": progress.get("best"),
        "best_step": progress.get("best_step"),
        "system": settings.model.name,
        "dataset": settings.data.dataset,
        "hours_logged": (times[-1] - times[0]) / 3600 if times else None,
    }


def _said(value: object) -> str:
    return "-" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def _entries(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; one that is cut off is left out."""
    found = []
    path = run / LOG
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def _add_curves(page: Page, run: Path, entries: list[dict[str, Any]]) -> None:
    page.heading("Training")
    if not entries:
        page.words("Nothing is logged yet.")
        return
    if can_draw():
        add_figure(
            page, panels.run_curves({run.resolve().name: read_log(run)}), "Loss, validation mIoU, learning rate."
        )
    else:
        page.words("Curves are drawn where matplotlib is installed: pip install 'memorysam[figures]'")
    looks = [(entry["step"], entry["validation"]) for entry in entries if "validation" in entry]
    if looks:
        rows = [[step, found.get("miou"), found.get("pixel_accuracy")] for step, found in looks[-_LISTED:]]
        page.table(["step", "validation mIoU %", "pixels right %"], rows, bar=1)


def _add_scores(page: Page, run: Path, settings: RunSettings, choice: Choice) -> float:
    predictor = load(run / BEST, device=choice.device, verbose=False)
    task, data = predictor.model.task, settings.data
    split = choice.split or data.val_split
    dataset = open_dataset(data, task.image_size)
    source = dataset.source(split, task.names, ignore_invalid=data.ignore_invalid == "always")
    extremes = Extremes(task.classes, choice.images)
    with ProgressBar(len(source.ids), label="scoring", unit="image") as bar:
        result = evaluate(
            predictor.model,
            source,
            settings.evaluate,
            split=split,
            workers=choice.workers,
            by=telling_tags(source),
            progress=bar.report,
            patience=data.patience,
            skip_share=data.may_skip,
            look=extremes,
        )
    add_scores(page, result)
    add_images(page, extremes, source, task)
    return result.scores.miou


def _different(settings: RunSettings) -> str:
    """Return the settings that are not the defaults, a line each."""
    return "\n".join(
        f"{key}: {value}" for key, value in _flat(settings.model_dump(mode="json")).items()
        if value != _flat(RunSettings().model_dump(mode="json")).get(key)
    )  # fmt: skip


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
