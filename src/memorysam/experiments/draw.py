"""From a figure's name to the runs that it shows, and to its file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from memorysam.data.catalog import open_dataset
from memorysam.data.dataset import Source
from memorysam.errors import MemorySAMError, SettingsError, did_you_mean
from memorysam.experiments import figures, panels
from memorysam.experiments.plan import PUBLISHED_CURVES, TABLES, Row
from memorysam.experiments.reproduce import Result, Scale, jobs_of, reproduce, train_all
from memorysam.experiments.runner import FAILED
from memorysam.loading import load
from memorysam.predict import Predictor

_FULL = TABLES["table1"].rows[-1]
_SHOWN = 6
"""Scenes in a figure of predictions."""


@dataclass(frozen=True)
class Place:
    """Where runs are and at what scale."""

    out: Path
    root: Path | None
    seeds: tuple[int, ...]
    scale: Scale


def draw(name: str, place: Place) -> Path:
    """Draw a figure of the paper, after whatever has to be trained for it.

    Raises:
        SettingsError: an unknown figure, or matplotlib is missing.
        StoppedError: Ctrl-C or SIGTERM.
    """
    if name not in FIGURES:
        raise SettingsError(f"there is no {name!r}", expected=", ".join(FIGURES), fix=did_you_mean(name, FIGURES))
    for library in ("matplotlib", "sklearn.manifold"):  # before hours of training
        panels.library(library)
    return FIGURES[name](place, place.out / f"{name}.png")


def _predictions(place: Place, path: Path) -> Path:
    """Draw Figure 5: predictions from one sensor, two, and so on, of the model that knows all of them."""
    predictor, source = _model(_FULL, place)
    names = predictor.model.task.sensors
    return figures.predictions(predictor, source, _spread(source), [names[: i + 1] for i in range(len(names))], path)


def _alone(place: Place, path: Path) -> Path:
    """Draw Figure 6: predictions from each sensor alone, and from all."""
    predictor, source = _model(_FULL, place)
    names = predictor.model.task.sensors
    return figures.predictions(predictor, source, _spread(source), [*((name,) for name in names), names], path)


def _features(place: Place, path: Path) -> Path:
    """Draw Figure 7: features of each sensor alone, and fused."""
    predictor, source = _model(_FULL, place)
    names = predictor.model.task.sensors
    return figures.features(predictor, source, names, path, alone=names[:1]).path


def _curve(place: Place, path: Path) -> Path:
    """Draw Figure 8: mIoU against the number of sensors; published methods beside ours at full scale only."""
    table = TABLES["table1"]
    results = reproduce(table, place.seeds, place.out, place.root, place.scale)
    ours = [(i + 1, r.mean, r.spread) for i, r in enumerate(results) if r.mean is not None]
    series = {"MemorySAM, ours": ours}
    if not place.scale.toy:
        for method, values in PUBLISHED_CURVES.items():
            series[f"{method}, published"] = [(i + 1, value, None) for i, value in enumerate(values)]
    return figures.modalities_curve(series, path, [name for name in series if name.endswith("published")])


FIGURES: dict[str, Callable[[Place, Path], Path]] = {
    "figure5": _predictions,
    "figure6": _alone,
    "figure7": _features,
    "figure8": _curve,
}


def curves(results: Sequence[Result], table: str, place: Place) -> Path:
    """Draw the training curves of a table's rows, the first seed of each."""
    jobs = jobs_of(TABLES[table], place.seeds[:1], place.out, place.root, place.scale)
    logs = {result.row.label: place.out / jobs[result.row][0].name for result in results if result.values}
    return figures.training_curves(logs, place.out / f"{table}_curves.png")


def _model(row: Row, place: Place) -> tuple[Predictor, Source]:
    """Return the trained model of a row of Table 1, first seed, and the scenes that it is shown on."""
    jobs = jobs_of(TABLES["table1"], place.seeds[:1], place.out, place.root, place.scale)[row]
    if train_all(jobs, place.out, place.scale):
        raise MemorySAMError("the run that this figure shows has failed", where=place.out / jobs[0].name / FAILED)
    settings = jobs[0].settings
    dataset = open_dataset(settings.data, settings.model.image_size)
    split = "test" if place.scale.toy else settings.data.val_split
    predictor = load(place.out / jobs[0].name, verbose=False)
    return predictor, dataset.source(split, predictor.model.task.names)


def _spread(source: Source) -> list[int]:
    """Return indices of scenes of as many conditions as there are."""
    chosen: dict[str, int] = {}
    for index in range(len(source.ids)):
        tags = source.tags(index)
        if tags.get("failure", "none") == "none":
            chosen.setdefault(tags.get("condition", str(index)), index)
    return list(chosen.values())[:_SHOWN]
