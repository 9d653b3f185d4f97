"""Parts of a page that show how a model scores: classes, confusion, conditions, its best and worst images."""

import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from memorysam.data.dataset import Source, tag_values
from memorysam.evaluation import pictures
from memorysam.evaluation.evaluate import Evaluation
from memorysam.evaluation.extremes import Extremes, Scored
from memorysam.evaluation.page import Page
from memorysam.evaluation.report import describe
from memorysam.experiments import panels
from memorysam.experiments.figures import written
from memorysam.spec import IGNORE, Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_VALUES = 12
"""A tag with more values, such as the place of a recording, says little in a table."""
_HEIGHT = 144
_WRONG, _RIGHT = (213, 94, 0), (225, 225, 225)


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def add_figure(page: Page, figure: "Figure", caption: str) -> None:
    """Add a figure of matplotlib."""
    with tempfile.TemporaryDirectory(prefix="memorysam-") as place:
        page.drawing(panels.save(figure, Path(place) / "figure.svg").read_bytes(), caption)


def telling_tags(source: Source) -> list[str]:
    """Return the tags of a source by whose values it is worth to score."""
    return [tag for tag, values in tag_values(source).items() if 1 < len(values) <= _MOST_VALUES]


def write_score_page(
    path: Path, result: Evaluation, extremes: Extremes, source: Source, task: Task, record: Mapping[str, str]
) -> None:
    """Write a page about one evaluation.

    Args:
        path: of the page.
        result: what was scored.
        extremes: the images that stand out.
        source: where they are read again.
        task: of the model.
        record: what else to say, such as the checkpoint.
    """
    page = Page(f"Evaluation on {record.get('dataset', 'data')}, {result.facts['split']}")
    page.table(["", ""], [[key, value] for key, value in record.items()])
    page.heading("Scores")
    add_scores(page, result)
    add_images(page, extremes, source, task)
    page.save(path)


def add_scores(page: Page, result: Evaluation) -> None:
    """Add means, classes, confusion and each tag."""
    scores = result.scores
    page.words(describe(result))
    page.table(
        ["mIoU %", "mean F1 %", "mean accuracy %", "pixels right %"],
        [[scores.miou, scores.mf1, scores.macc, scores.pixel_accuracy]],
    )
    page.heading("Class by class")
    share = 100 * scores.counts.sum(axis=1) / max(1, scores.counts.sum())
    page.table(["class", "IoU %", "F1 %", "accuracy %", "of pixels %"], [
        [name, *map(float, values)]
        for name, *values in zip(scores.classes.names, scores.iou, scores.f1, scores.accuracy, share, strict=True)
    ], bar=1)  # fmt: skip
    page.heading("What is taken for what")
    if can_draw():
        add_figure(page, panels.heat_map(scores), "Share of each true class that was predicted as what.")
    else:
        page.words("The confusion matrix is drawn where matplotlib is installed: pip install 'memorysam[figures]'")
    for tag, values in result.by.items():
        page.heading(f"By {tag}")
        rows = [[value, part.images, part.miou, part.pixel_accuracy] for value, part in values.items()]
        page.table([tag, "images", "mIoU %", "pixels right %"], rows, bar=2)


def add_images(page: Page, extremes: Extremes, source: Source, task: Task) -> None:
    """Add the worst and the best images: what the sensors saw, truth, prediction, and where they differ."""
    held = {modality.name for modality in source.modalities}
    shown = [name for name in task.sensors if name in held]
    if extremes.worst:
        page.heading("Images")
        page.words(
            f"From left to right: {', '.join(written([name]) for name in shown)}, truth, prediction, and in orange "
            "what is wrong (black: not labelled). Each score is the mean over the classes of that image."
        )
        page.legend(task.classes)
    for title, images in (("The worst images", extremes.worst), ("The best images", extremes.best)):
        if images:
            page.heading(title)
        for scored in images:
            page.picture(_row(scored, source, task, shown), f"{scored.id}: mIoU {scored.miou:.1f} %")


def _row(scored: Scored, source: Source, task: Task, names: Sequence[str]) -> pictures.Picture:
    raw = source.read(list(source.ids).index(scored.id), names)
    known = {modality.name: modality for modality in task.modalities}
    parts = [pictures.as_picture(raw.images[name], known[name]) for name in names]
    labelled = scored.label < len(task.classes)
    difference = np.where((scored.label == scored.prediction)[..., None], _RIGHT, _WRONG).astype(np.uint8)
    difference[~labelled] = 0
    truth = np.where(labelled, scored.label, IGNORE)
    parts += [pictures.colourise(ids, task.classes) for ids in (truth, scored.prediction)]
    return pictures.row([*parts, difference], height=_HEIGHT)
