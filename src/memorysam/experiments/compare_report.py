"""The comparison of systems as Markdown, CSV, a page, and the curve of mIoU against the number of sensors."""

import csv
import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, stdev

from memorysam.evaluation.page import Page
from memorysam.evaluation.report import table
from memorysam.evaluation.robustness import spelled, subsets
from memorysam.experiments import figures
from memorysam.experiments.compare import LABELS, SENSORS, Budget, Compared, told
from memorysam.files import write_text

GROWING = tuple(SENSORS[: i + 1] for i in range(len(SENSORS)))
"""One sensor, two, and so on, in the order of the paper's Table 1."""

_SINGLE = [(name,) for name in SENSORS[1:]]
_COLUMNS = [*GROWING, *_SINGLE]
_COSTS = ("parameters, M", "GFLOPs", "ms per image", "MB kept in training")


def words(budget: Budget, seeds: Sequence[int]) -> str:
    """Return what the numbers hold for."""
    return (
        f"Toy scale: micro backbones from random weights on rendered scenes, {budget.size} x {budget.size} pixels, "
        f"{budget.scenes * budget.epochs} training samples for each, 8 per step, AdamW; learning rate: the better of "
        f"{', '.join(f'{lr:g}' for lr in budget.lrs)} on {budget.val_scenes} validation scenes with the first seed. "
        f"Each model sees a random subset of its sensors in {budget.modality_dropout:.0%} of the forward passes, and "
        f"is scored with each subset on {budget.test_scenes} test scenes, protocol strict. Mean and standard deviation "
        f"over seeds {', '.join(map(str, seeds))}. All numbers are measured here; none is taken from a paper, and none "
        f"is comparable with one."
    )


def head() -> list[str]:
    """Return the columns of the table."""
    return ["system", *(figures.written(subset) for subset in _COLUMNS), "mean of all subsets", "lr", *_COSTS]


def lines(results: Sequence[Compared]) -> list[list[str]]:
    """Return one line for each system: mIoU in percent by subset, then its costs."""
    found = []
    for result in results:
        scores = [told(result.miou(spelled(subset))) for subset in _COLUMNS]
        costs = ["-"] * len(_COSTS)
        if result.runs:
            costs = [
                f"{result.cost('parameters') / 1e6:.2f}",
                f"{result.cost('flops') / 1e9:.2f}",
                f"{result.cost('seconds') * 1e3:.1f}",
                f"{result.cost('kept_bytes') / 1e6:.1f}",
            ]
        seen = sum(bool(result.miou(spelled(subset))) for subset in subsets(SENSORS))
        average = told(result.average()) + ("" if seen in (0, len(subsets(SENSORS))) else f" (of {seen})")
        found.append([LABELS[result.system], *scores, average, f"{result.lr:g}", *costs])
    return found


def text(results: Sequence[Compared]) -> str:
    """Return the table for a screen, turned: systems side by side would not fit."""
    return table(head(), lines(results))


def save(results: Sequence[Compared], out: Path, budget: Budget, seeds: Sequence[int]) -> list[Path]:
    """Write compare.md, compare.csv and compare.html, and compare.png where matplotlib is there."""
    told_of = words(budget, seeds)
    paths = [out / f"compare.{suffix}" for suffix in ("md", "csv", "html")]
    rows = ["| " + " | ".join(line) + " |" for line in lines(results)]
    separator = "|" + " --- |" * len(head())
    markdown = ["# Systems compared", "", told_of, "", "| " + " | ".join(head()) + " |", separator, *rows, ""]
    write_text(paths[0], "\n".join(markdown))
    write_text(paths[1], _csv(results, budget))
    page = Page("Systems compared")
    page.words(told_of)
    page.table(head(), lines(results))
    page.save(paths[2])
    if find_spec("matplotlib") is not None and any(result.runs for result in results):
        paths.append(curve(results, out / "compare.png"))
    return paths


def curve(results: Sequence[Compared], path: Path) -> Path:
    """Draw mIoU against the number of sensors, as the paper's Figure 8."""
    series: dict[str, list[tuple[int, float, float | None]]] = {}
    for result in results:
        for subset in GROWING:
            scores = result.miou(spelled(subset))
            if scores:
                spread = stdev(scores) if len(scores) > 1 else None
                series.setdefault(LABELS[result.system], []).append((len(subset), mean(scores), spread))
    return figures.modalities_curve(series, path)


def _csv(results: Sequence[Compared], budget: Budget) -> str:
    """One line for each run and subset, so that nothing is averaged away."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    costs = ("parameters", "flops", "seconds", "kept_bytes", "threads")
    writer.writerow(["system", "seed", "lr", "size", "samples", "subset", "miou", *costs])
    for result in results:
        for seed, run in result.runs.items():
            for subset in subsets(SENSORS):
                name = spelled(subset)
                if name in run["miou"]:
                    samples = budget.scenes * budget.epochs
                    row = [result.system, seed, result.lr, budget.size, samples, name, run["miou"][name]]
                    writer.writerow([*row, *(run["cost"][key] for key in costs)])
    return stream.getvalue()
