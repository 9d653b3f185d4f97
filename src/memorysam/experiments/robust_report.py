"""What training for missing sensors brought, as text, Markdown, CSV and JSON, and as a curve."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, mean, stdev
from typing import Any

from memorysam.evaluation.report import table
from memorysam.evaluation.robustness import spelled, subsets
from memorysam.experiments import figures
from memorysam.experiments.compare import SENSORS, told
from memorysam.experiments.robust import MEASURES, MISSING, NAME, Budget, Trained, compared, gains
from memorysam.files import write_json, write_text

ROWS = ("training", *(measure.label for measure in MEASURES), "seeds")
GAINS = ("adds", "to", *(measure.label for measure in MEASURES))


def words(budget: Budget, seeds: Sequence[int]) -> str:
    """Return what the numbers hold for."""
    return (
        f"mIoU in percent. Toy scale: MemorySAM with the micro backbone from random weights on rendered scenes, "
        f"{budget.size} x {budget.size} pixels, {budget.scenes * budget.epochs} training samples for each run, 8 per "
        f"step, AdamW at {budget.lr:g}; scored at the end of training with every subset of {spelled(SENSORS)} on "
        f"{budget.test_scenes} test scenes, protocol strict: what is missing is left out. Mean and standard deviation "
        f"over seeds {', '.join(map(str, seeds))}. EMM average: mean over all {len(subsets(SENSORS))} subsets; "
        f"E({MISSING:g}): each sensor is missing with probability {MISSING:g}; without RGB: all the others; one alone: "
        f"mean over the sensors, each by itself. Dropout: a "
        f"random subset in {budget.modality_dropout:.0%} of the forward passes; shuffled order: a random order in each "
        f"of them; quality: a learned head weighs the sensors' logits in place of the mean. None is comparable with a "
        f"published number."
    )


def lines(results: Sequence[Trained]) -> list[list[str]]:
    """Return one line for each row: its numbers, mean and standard deviation over seeds."""
    return [
        [
            result.variant.label,
            *(told(list(result.measured(measure).values())) for measure in MEASURES),
            " ".join(map(str, result.scores)) or "none finished",
        ]
        for result in results
    ]


def gain_lines(results: Sequence[Trained]) -> list[list[str]]:
    """Return one line for each pair of rows that differ in one setting: what it adds, seed by seed.

    A difference between rows is told from one within them by its own spread over seeds, which see the same samples.
    """
    return [
        [name, without.variant.label, *(_signed(gains(without, having, measure)) for measure in MEASURES)]
        for without, having, name in compared(results)
    ]


def text(results: Sequence[Trained]) -> str:
    """Return both tables for a screen."""
    return f"{table(ROWS, lines(results))}\n\n{table(GAINS, gain_lines(results))}"


def as_dict(results: Sequence[Trained], budget: Budget) -> dict[str, Any]:
    """Return everything as JSON."""
    rows = [
        {
            "training": result.variant.label,
            "modality_dropout": budget.modality_dropout if result.variant.dropout else 0.0,
            "modality_order": "shuffle" if result.variant.shuffle else "fixed",
            "fusion": "quality" if result.variant.quality else "mean",
            **{measure.key: _numbers(result.measured(measure)) for measure in MEASURES},
            "miou": {
                str(seed): {spelled(subset): score for subset, score in scores.items()}
                for seed, scores in result.scores.items()
            },
            "failed": result.failed,
        }
        for result in results
    ]
    return {"experiment": NAME, "scale": "toy", "protocol": "strict", "budget": vars(budget), "rows": rows}


def save(results: Sequence[Trained], out: Path, budget: Budget, seeds: Sequence[int]) -> list[Path]:
    """Write robustness.txt, .md, .csv and .json, and robustness.png where matplotlib is there."""
    about = words(budget, seeds)
    paths = [out / f"{NAME}.{suffix}" for suffix in ("txt", "md", "csv", "json")]
    write_text(paths[0], f"{text(results)}\n\n{about}\n")
    parts = ["# Training for missing sensors", about, _markdown(ROWS, lines(results))]
    parts += ["What a setting adds, seed by seed:", _markdown(GAINS, gain_lines(results))]
    write_text(paths[1], "\n\n".join(parts) + "\n")
    write_text(paths[2], _csv(results, budget))
    write_json(paths[3], as_dict(results, budget))
    if find_spec("matplotlib") is not None and any(result.scores for result in results):
        paths.append(curve(results, out / f"{NAME}.png"))
    return paths


def curve(results: Sequence[Trained], path: Path) -> Path:
    """Draw mIoU against the number of sensors that are there, each point the mean over all subsets of that size."""
    series: dict[str, list[tuple[int, float, float | None]]] = {}
    for result in results:
        for size in range(1, len(SENSORS) + 1):
            values = [
                fmean(score for subset, score in scores.items() if len(subset) == size)
                for scores in result.scores.values()
            ]
            if values:
                spread = stdev(values) if len(values) > 1 else None
                series.setdefault(result.variant.label, []).append((size, mean(values), spread))
    return figures.modalities_curve(series, path)


def _numbers(values: Mapping[int, float]) -> dict[str, Any]:
    """Return mean, standard deviation and the values by seed."""
    found = list(values.values())
    return {
        "mean": mean(found) if found else None,
        "spread": stdev(found) if len(found) > 1 else None,
        "seeds": {str(seed): value for seed, value in values.items()},
    }


def _signed(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{mean(values):+.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def _csv(results: Sequence[Trained], budget: Budget) -> str:
    """One line for each run and subset, so that nothing is averaged away."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["training", "modality_dropout", "modality_order", "fusion", "seed", "subset", "miou"])
    for result in results:
        v = result.variant
        order, fusion = "shuffle" if v.shuffle else "fixed", "quality" if v.quality else "mean"
        for seed, scores in result.scores.items():
            for subset, score in scores.items():
                writer.writerow(
                    [
                        v.label,
                        budget.modality_dropout if v.dropout else 0.0,
                        order,
                        fusion,
                        seed,
                        spelled(subset),
                        score,
                    ]
                )
    return stream.getvalue()
