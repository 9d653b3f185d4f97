"""The paper's figures, and others that an experiment is read from: what they show, from models, scores and logs.

Each function writes one file, PNG at 200 dpi, PDF or SVG by its suffix, whole or not at all, and returns its path. What
figures look like is in `panels`.
"""

import json
from collections.abc import Collection, Mapping, Sequence, Sized
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from memorysam.config import EvaluateSettings
from memorysam.data.dataset import Source, to_sample
from memorysam.data.transforms import Resize, resize_label
from memorysam.errors import DataError
from memorysam.evaluation.metrics import Scores
from memorysam.evaluation.pictures import as_picture, colourise
from memorysam.experiments import panels
from memorysam.predict import Predictor
from memorysam.spec import Modality
from memorysam.training.run import LOG

_STRIDE = 4
"""Of the features."""
_NEIGHBOURS = 30
"""Perplexity of t-SNE: how many neighbours a point has, about."""
_WRITTEN = {"rgb": "RGB", "lidar": "LiDAR", "aolp": "AoLP", "dolp": "DoLP", "nir": "NIR"}


class FeatureFigure(NamedTuple):
    """What `features` gives."""

    path: Path
    silhouettes: dict[str, float]
    """By panel: how separate the classes are, from -1 (mixed) over 0 (touching) to 1 (apart)."""


def predictions(
    predictor: Predictor,
    source: Source,
    indices: Sequence[int],
    subsets: Sequence[Sequence[str]],
    path: Path,
    settings: EvaluateSettings | None = None,
) -> Path:
    """Show scenes as the sensors see them, their truth, and what is predicted from subsets of the modalities (5 and 6).

    Args:
        predictor: a model.
        source: of its classes and modalities.
        indices: of the scenes, a row each.
        subsets: names of modalities, a column each; every modality that one of them names is shown as a picture.
        path: of the figure.
        settings: how to predict; whole images by default.

    Raises:
        SettingsError: an unknown modality or format, or no matplotlib.
        DataError: no scene, or one that cannot be read.
    """
    panels.format_of(path)
    task, classes = predictor.model.task, predictor.model.task.classes
    chosen = [[m.name for m in task.seeing(subset)] for subset in subsets]
    sensors = task.seeing({name for subset in chosen for name in subset})
    rows, seen = {}, set[int]()
    for index in indices:
        raw = source.read(index, [m.name for m in sensors])
        if raw.label is None:
            raise DataError("this scene has no label to set beside the predictions", where=raw.id)
        found = [predictor.predict({name: raw.images[name] for name in subset}, settings).labels for subset in chosen]
        rows[raw.id] = [as_picture(raw.images[m.name], m) for m in sensors]
        rows[raw.id] += [colourise(labels, classes) for labels in (raw.label, *found)]
        seen.update(*(np.unique(labels).tolist() for labels in (raw.label, *found)))
    if not rows:
        raise DataError("no scene was named to be shown", expected=f"indices from 0 to {len(source.ids) - 1}")
    titles = [written([m.name]) for m in sensors] + ["truth"]
    titles += [f"predicted from\n{written([n for n in subset if n in task.sensors])}" for subset in chosen]
    return panels.save(panels.grid(rows, titles, classes, sorted(seen)), path)


def features(
    predictor: Predictor,
    source: Source,
    modalities: Sequence[str],
    path: Path,
    points: int = 2000,
    seed: int = 0,
    *,
    alone: Sequence[str] | None = None,
    scenes: int = 64,
) -> FeatureFigure:
    """Show by t-SNE how stride-4 features lie by class: of single modalities, and of all, fused by their mean (7).

    The titles tell the silhouette score of the features themselves: distances in an embedding mean nothing.

    Args:
        predictor: a model.
        source: with labels, of its classes and modalities.
        modalities: names of those that are fused.
        path: of the figure.
        points: number of pixels; as many of each class, as far as there are.
        seed: of the choice of scenes and pixels, and of t-SNE.
        alone: modalities that are also run alone, a panel each; by default the first one.
        scenes: largest number of scenes from which pixels are taken.

    Returns:
        `path`, and the silhouette score by panel.

    Raises:
        SettingsError: an unknown modality or format, or no matplotlib or scikit-learn.
        DataError: too few labelled pixels, or a sample that cannot be read.
    """
    panels.format_of(path)
    manifold, metrics = panels.library("sklearn.manifold"), panels.library("sklearn.metrics")
    task = predictor.model.task
    fused = task.seeing(modalities)
    views = {f"{written([name])} alone": task.seeing([name]) for name in alone or [modalities[0]]}
    views[f"{written([m.name for m in fused if m.role == 'sensor'])}, fused"] = fused
    found, labels = sample_features(predictor, source, list(views.values()), points, seed, scenes)
    embeddings, silhouettes = {}, {}
    for title, vectors in zip(views, found, strict=True):
        silhouettes[title] = float(metrics.silhouette_score(vectors, labels))
        tsne = manifold.TSNE(init="pca", perplexity=min(_NEIGHBOURS, (len(labels) - 1) / 3), random_state=seed)
        number = f"{silhouettes[title]:.2f}".replace("-", "−")
        embeddings[f"{title}\nsilhouette {number}"] = tsne.fit_transform(vectors)
    figure = panels.clouds(embeddings, labels, task.classes)
    return FeatureFigure(panels.save(figure, path), silhouettes)


def modalities_curve(
    series: Mapping[str, Sequence[tuple[int, float, float | None]]], path: Path, published: Collection[str] = ()
) -> Path:
    """Draw mIoU against the number of modalities, per method (8).

    Args:
        series: method -> (number of modalities, mIoU in percent, spread over seeds or None).
        path: of the figure.
        published: those methods whose numbers are not ours.

    Raises:
        DataError: nothing to draw.
        SettingsError: an unknown format, or no matplotlib.
    """
    panels.format_of(path)
    series = {name: numbers for name, numbers in series.items() if numbers}
    _require(series)
    return panels.save(panels.curve(series, published), path)


def confusion(scores: Scores, path: Path) -> Path:
    """Show which share of each true class was predicted as what; return `path`.

    Raises:
        SettingsError: an unknown format, or no matplotlib.
    """
    panels.format_of(path)
    return panels.save(panels.heat_map(scores), path)


def class_bars(results: Mapping[str, Scores], path: Path) -> Path:
    """Draw the IoU of each class, the most frequent one on top, for several results of the same classes.

    Args:
        results: by name; the first one's labels say how frequent a class is.
        path: of the figure.

    Raises:
        DataError: no result, or some of other classes.
        SettingsError: an unknown format, or no matplotlib.
    """
    panels.format_of(path)
    _require(results)
    if len({scores.classes.names for scores in results.values()}) > 1:
        raise DataError("results of different classes cannot stand side by side", where=", ".join(results))
    return panels.save(panels.bars(results), path)


def training_curves(logs: Mapping[str, Path], path: Path) -> Path:
    """Draw loss, validation mIoU and learning rate of runs against their steps.

    Args:
        logs: name -> folder of a run.
        path: of the figure.

    Raises:
        DataError: a run without a log, or none at all.
        SettingsError: an unknown format, or no matplotlib.
    """
    panels.format_of(path)
    _require(logs)
    return panels.save(panels.run_curves({name: read_log(folder) for name, folder in logs.items()}), path)


def read_log(folder: Path) -> panels.Log:
    """Return what a run logged. A last line that was cut off is left out: a run may be going on.

    Raises:
        DataError: there is no log.
    """
    try:
        lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"there is no log of a run: {error.strerror}", where=folder / LOG) from None
    log: dict[str, list[tuple[int, float]]] = {"loss": [], "miou": [], "lr": []}
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        values = {"loss": entry.get("loss"), "lr": entry.get("lr"), "miou": entry.get("validation", {}).get("miou")}
        for name, value in values.items():
            if value is not None:
                log[name].append((entry["step"], value))
    means = moving_mean([value for _, value in log["loss"]])
    log["mean"] = [(step, float(mean)) for (step, _), mean in zip(log["loss"], means, strict=True)]
    return log


def moving_mean(values: Sequence[float]) -> NDArray[np.float64]:
    """Return the mean of each value's surroundings: a tenth of all, but at least three; less at the ends."""
    if not values:
        return np.zeros(0)
    window = np.ones(max(3, len(values) // 10) // 2 * 2 + 1)
    sums, counts = (np.convolve(series, window) for series in (values, np.ones(len(values))))
    half = len(window) // 2
    mean: NDArray[np.float64] = (sums / counts)[half : half + len(values)]
    return mean


def written(names: Sequence[str]) -> str:
    """Return modalities as they are written in print, such as `RGB + depth`."""
    return " + ".join(_WRITTEN.get(name, name.replace("_", " ")) for name in names)


def sample_features(
    predictor: Predictor, source: Source, views: Sequence[Sequence[Modality]], points: int, seed: int, scenes: int
) -> tuple[list[NDArray[np.float32]], NDArray[np.int64]]:
    """Run a model on random scenes and take its features at random labelled pixels.

    The labels are read first and the pixels chosen by them, so that no more than those features are ever held.

    Args:
        predictor: a model.
        source: with labels.
        views: for each, the modalities that the model gets to see.
        points: number of pixels.
        seed: of the choice.
        scenes: largest number of scenes.

    Returns:
        Features `[N, D]` of each view, and class ids `[N]`.

    Raises:
        DataError: too few labelled pixels.
    """
    model, rng = predictor.model, np.random.default_rng(seed)
    height, width = (side // _STRIDE for side in model.task.image_size)
    seen = model.task.seeing({m.name for view in views for m in view})
    names = [m.name for m in seen]
    indices = np.sort(rng.permutation(len(source.ids))[:scenes]).tolist()
    # A source reads no label without any image.
    raws = (source.read(index, names[:1]).label for index in indices)
    labels = np.stack([resize_label(_labelled(label, source), (height, width)).ravel() for label in raws])
    cells = balanced(labels.ravel(), points, len(model.task.classes), rng)
    resize, device = Resize(model.task.image_size, seen), next(model.parameters()).device
    parts: list[list[NDArray[np.float32]]] = [[] for _ in views]
    was_training = model.training
    model.eval()
    try:
        for row, index in enumerate(indices):
            here = cells[cells // (height * width) == row] % (height * width)
            if len(here):
                images = to_sample(resize(source.read(index, names), rng), seen).images
                for part, view in zip(parts, views, strict=True):
                    with torch.no_grad():
                        output = model({m.name: images[m.name][None].to(device) for m in view})
                    part.append(output.features[0].flatten(1).T.float().cpu().numpy()[here])
    finally:
        model.train(was_training)
    return [np.concatenate(part) for part in parts], labels.ravel()[cells].astype(np.int64)


def balanced(labels: NDArray[np.integer], points: int, classes: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose places in `labels` `[N]`, as many of each class, as far as there are; return them in their order.

    Raises:
        DataError: less than two classes, or too few places to compare them.
    """
    places = [np.flatnonzero(labels == number) for number in range(classes)]
    places = sorted((place for place in places if len(place)), key=len)
    chosen, left = [], points
    for number, place in enumerate(places):  # the rare first: what they lack, the others give
        share = min(len(place), left // (len(places) - number))
        chosen.append(rng.choice(place, share, replace=False))
        left -= share
    if sum(len(some) > 0 for some in chosen) < 2 or points - left < 2 * len(places):
        raise DataError(
            f"{points - left} labelled pixels of {len(places)} classes are too few to show how classes lie",
            fix="take more points, or more scenes",
        )
    return np.sort(np.concatenate(chosen))


def _labelled(label: NDArray[np.uint8] | None, source: Source) -> NDArray[np.uint8]:
    if label is None:
        raise DataError("these samples have no labels to colour their features by", where=source.ids[0])
    return label


def _require(things: Sized) -> None:
    if not things:
        raise DataError("there is nothing to draw")
