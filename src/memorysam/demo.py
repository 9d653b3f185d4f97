"""The newcomer's tour: train, evaluate, predict, look. Nothing in it but calls to the rooms of the house."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from memorysam.config import RunSettings
from memorysam.data.catalog import DataSet, open_dataset
from memorysam.evaluation import pictures, report
from memorysam.evaluation.evaluate import Evaluation, evaluate
from memorysam.evaluation.page import Page
from memorysam.files import write_json
from memorysam.loading import load
from memorysam.predict import Predictor
from memorysam.spec import IGNORE
from memorysam.training.checkpoint import LAST
from memorysam.training.loop import train
from memorysam.training.progress import ProgressBar, say

SPLIT = "test"
SHOWN = 10


def demo(settings: RunSettings, out: Path) -> dict[str, Any]:
    """Run the tour and leave everything in `out`; a tour that was interrupted goes on where it stopped.

    Returns:
        Scores and paths, as JSON.
    """
    run = out / "run"
    say("1/4  training the micro model on rendered driving scenes (RGB, depth, events, LiDAR)")
    outcome = train(settings, run, resume=(run / LAST).exists())
    if not outcome.finished:
        return {"finished": False, "run": str(run), "signal": outcome.signal}
    predictor = load(run, verbose=False)
    dataset = open_dataset(settings.data, settings.model.image_size)
    say(f"2/4  scoring {len(dataset.source(SPLIT).ids)} scenes it has never seen, with all sensors and with each alone")
    results = score(predictor, dataset, settings)
    say("3/4  predicting a few scenes")
    shown = [picture_row(predictor, dataset, index) for index in range(min(SHOWN, len(dataset.source(SPLIT).ids)))]
    say("4/4  writing the report")
    page = write_page(predictor, results, shown, out)
    everything = {name: result.as_dict() for name, result in results.items()}
    write_json(out / "scores.json", everything)
    for name, result in results.items():
        report.save(result, out / "scores", name.replace(" ", "_"))
    return {
        "finished": True,
        "miou": {name: result.scores.miou for name, result in results.items()},
        "report": str(page),
        "run": str(run),
        "scores": str(out / "scores.json"),
    }


def score(predictor: Predictor, dataset: DataSet, settings: RunSettings) -> dict[str, Evaluation]:
    """Score all sensors together, then each alone: the same model, with the others switched off."""
    task = predictor.model.task
    names = task.sensors
    subsets: dict[str, tuple[str, ...]] = {"all": names, **{f"{name} alone": (name,) for name in names}}
    results = {}
    for title, subset in subsets.items():
        source = dataset.source(SPLIT, [m.name for m in task.seeing(subset)])
        with ProgressBar(len(source.ids), label=title, unit="image") as bar:
            results[title] = evaluate(
                predictor.model,
                source,
                settings.evaluate,
                modalities=subset,
                split=SPLIT,
                workers=settings.data.workers,
                by=("condition", "failure"),
                progress=bar.report,
            )
    return results


def picture_row(predictor: Predictor, dataset: DataSet, index: int) -> tuple[str, pictures.Picture]:
    """Return a scene's name and a picture: sensors, label, prediction, prediction without the other sensors."""
    source = dataset.source(SPLIT)
    names = predictor.model.task.names
    raw = source.read(index, names)
    parts = [pictures.as_picture(raw.images[m.name], m) for m in predictor.model.task.modalities]
    classes = predictor.model.task.classes
    label = np.full(parts[0].shape[:2], IGNORE) if raw.label is None else raw.label
    parts.append(pictures.colourise(label, classes))
    parts.append(pictures.colourise(predictor.predict(raw.images).labels, classes))
    parts.append(pictures.colourise(predictor.predict({names[0]: raw.images[names[0]]}).labels, classes))
    return raw.id, pictures.row(parts, height=144)


def write_page(
    predictor: Predictor, results: Mapping[str, Evaluation], shown: list[tuple[str, pictures.Picture]], out: Path
) -> Path:
    """Write the report page."""
    everything = results["all"]
    names = predictor.model.task.names
    page = Page("MemorySAM demo: four sensors on rendered streets")
    page.words(
        f"A small MemorySAM was trained from scratch on {', '.join(names)} images of procedurally rendered streets. "
        "Every number below is from scenes it has never seen."
    )
    page.heading("All sensors together, and each alone")
    page.words(
        "Mean intersection over union (mIoU) in percent: 100 is perfect. 'Alone' is the same model with the other "
        "sensors switched off, not a model trained for that sensor."
    )
    page.table(["sensors", "mIoU %", "pixels right %"], [
        [title, result.scores.miou, result.scores.pixel_accuracy] for title, result in results.items()
    ], bar=1)  # fmt: skip
    for tag, words in (("condition", "By weather and light"), ("failure", "By sensor failure")):
        page.heading(words)
        values = everything.by[tag]
        head = [tag, "images", *results]
        rows = [[v, s.images, *(r.by[tag][v].miou for r in results.values())] for v, s in values.items()]
        page.table(head, rows)
    page.heading("What it sees")
    page.words(f"From left to right: {', '.join(names)}, truth, prediction, prediction from {names[0]} alone.")
    page.legend(predictor.model.task.classes)
    for name, picture in shown:
        page.picture(picture, name)
    page.heading("Class by class")
    scores = everything.scores
    rows = [
        [n, *map(float, v)] for n, *v in zip(scores.classes.names, scores.iou, scores.f1, scores.accuracy, strict=True)
    ]
    page.table(["class", "IoU %", "F1 %", "accuracy %"], rows, bar=1)
    page.heading("Try it")
    page.command(f"memorysam evaluate {out / 'run'} --split test --modalities rgb lidar --by condition")
    page.command(f"memorysam make-scenes {out / 'scenes'} --train 8 --val 4 --test 4 --size 256")
    path = out / "report.html"
    page.save(path)
    return path


def summary(result: Mapping[str, Any]) -> str:
    """Return what to tell a person at the end."""
    rows = [[name, f"{miou:.1f}"] for name, miou in result["miou"].items()]
    return (
        f"\n{report.table(['sensors', 'mIoU %'], rows)}\n\n"
        "mIoU: overlap of prediction and truth, averaged over classes, on scenes never seen in training; 100 is best.\n"
        "'alone': the same model with the other sensors switched off.\n\n"
        f"report with pictures  {result['report']}   (open it in a browser)\n"
        f"trained model         {result['run']}\n"
        f"all scores            {result['scores']}\n"
    )
