"""What figures look like: each function turns numbers or pictures into a matplotlib `Figure`; none runs a model.

Sizes are in inches, those of fonts in points, and meant for a page that is 7 inches wide. Methods are told apart by
colour and by marker, line or hatching, so that nothing depends on colour; classes have the data set's own colours.
matplotlib is imported when something is drawn: everything else works without it.
"""

import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from memorysam.errors import SettingsError
from memorysam.evaluation.metrics import Scores
from memorysam.evaluation.pictures import Picture
from memorysam.files import write_atomically
from memorysam.spec import IGNORE, Classes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")
DPI = 200
WIDTH = 7.0
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that all kinds of colour vision tell apart; without the yellow, which does not show on white."""
MARKERS, LINES, HATCHES = "osD^vPX", ("-", "--", "-.", ":"), ("", "////", "....", "xxxx", r"\\\\")
_BELOW: Final = "outside lower center"
_STYLE: dict[str, Any] = {
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "legend.fontsize": 7, "xtick.labelsize": 7,
    "ytick.labelsize": 7, "axes.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlepad": 4, "legend.frameon": False, "lines.linewidth": 1.3, "lines.markersize": 4.5,
    "hatch.linewidth": 0.5,
    "text.parse_math": False,  # a name may hold a dollar
    "pdf.fonttype": 42,  # letters that journals accept
    "svg.hashsalt": "memorysam",  # the same figure is the same file
}  # fmt: skip
_WRITTEN = {"rgb": "RGB", "lidar": "LiDAR", "aolp": "AoLP", "dolp": "DoLP", "nir": "NIR"}


@dataclass(frozen=True)
class Curves:
    """What a run logged, each against the step."""

    loss: list[tuple[int, float]] = field(default_factory=list)
    miou: list[tuple[int, float]] = field(default_factory=list)
    """On the validation split, in percent."""
    lr: list[tuple[int, float]] = field(default_factory=list)


def library(name: str) -> Any:
    """Import a module of matplotlib or scikit-learn.

    Raises:
        SettingsError: it is not installed; says how to.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise SettingsError(
            f"figures need {name.partition('.')[0]}, which cannot be imported: {error}",
            fix="pip install 'memorysam[figures]'",
        ) from None


def format_of(path: Path) -> str:
    """Return the format that a file's name asks for; asked before work begins, so that none is done in vain.

    Raises:
        SettingsError: no format of figures, or no matplotlib.
    """
    library("matplotlib.figure")
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise SettingsError(
            f"figures are not written as {path.suffix or 'files without a suffix'}",
            where=path,
            expected=", ".join(f".{known}" for known in FORMATS),
        )
    return kind


def save(figure: "Figure", path: Path) -> Path:
    """Write a figure, whole or not at all, in the format of the suffix.

    Raises:
        MemorySAMError: the file cannot be written; an old one is then untouched.
    """
    kind = format_of(path)
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind)
    with _styled():
        write_atomically(
            path,
            lambda temporary: figure.savefig(
                temporary, format=kind, dpi=DPI, bbox_inches="tight", pad_inches=0.03, metadata=undated
            ),
        )
    return path


def written(names: Sequence[str]) -> str:
    """Return modalities as they are written in print, such as `RGB + depth`."""
    return " + ".join(_WRITTEN.get(name, name.replace("_", " ")) for name in names)


def grid(
    rows: Mapping[str, Sequence[Picture]], titles: Sequence[str], classes: Classes, ids: Sequence[int]
) -> "Figure":
    """Show pictures in rows under the titles of their columns, and the classes below.

    Args:
        rows: label -> pictures `[H, W, 3]`, one per title.
        titles: of the columns.
        classes: names and colours.
        ids: of the classes in the legend; `IGNORE` stands for pixels without a label.
    """
    side = min(1.6, max(1.0, WIDTH / len(titles)))
    first = next(iter(rows.values()))[0]
    lines = [_wrap(title, side * 14).replace("\xa0", " ") for title in titles]
    most = max(line.count("\n") + 1 for line in lines)
    width = side * len(titles)
    height = len(rows) * side * first.shape[0] / first.shape[1] + 0.14 * most + 0.16 * _legend_rows(ids, width) + 0.15
    engine = library("matplotlib.layout_engine").ConstrainedLayoutEngine
    with _figure(width, height, engine(compress=True, w_pad=0.015, h_pad=0.015, wspace=0, hspace=0)) as figure:
        for axes, (label, pictures) in zip(figure.subplots(len(rows), len(titles), squeeze=False), rows.items(),
                                           strict=True):  # fmt: skip
            # Vertical, so that long names cost no width; a folder per line.
            axes[0].set_ylabel(label.replace("/", "\n"), fontsize=5, linespacing=1.1, labelpad=2)
            for ax, picture in zip(axes, pictures, strict=True):
                ax.imshow(picture, interpolation="nearest")  # other ways would invent colours that no class has
                _bare(ax)
        for ax, line in zip(figure.axes, lines, strict=False):
            ax.set_title(line, fontsize=7)
        _class_legend(figure, classes, ids, width, "s")
    return figure


def clouds(
    panels: Mapping[str, NDArray[np.floating[Any]]], labels: NDArray[np.integer[Any]], classes: Classes
) -> "Figure":
    """Show points in the plane, coloured by class.

    Args:
        panels: title -> `[N, 2]`.
        labels: class ids `[N]`.
        classes: names and colours.
    """
    columns = min(3, len(panels))
    lines = ceil(len(panels) / columns)
    ids = [int(i) for i in np.unique(labels)]
    side = WIDTH / max(2, columns)
    with _figure(side * columns, side * lines + 0.16 * _legend_rows(ids, side * columns) + 0.2) as figure:
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for ax, (title, points) in zip(axes, panels.items(), strict=False):
            for number, i in enumerate(ids):
                ax.scatter(
                    *points[labels == i].T, s=9, marker=MARKERS[number % len(MARKERS)], color=_rgb(classes.colors[i]),
                    linewidths=0.25, edgecolors="white",
                )  # fmt: skip
            _bare(ax)
            ax.set_title(title)
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        _class_legend(figure, classes, ids, side * columns, MARKERS)
    return figure


def curve(series: Mapping[str, Sequence[tuple[int, float, float | None]]], published: Collection[str]) -> "Figure":
    """Draw mIoU against the number of modalities.

    Args:
        series: method -> (number of modalities, mIoU in percent, spread or None), in any order.
        published: methods whose numbers are not ours; dashed, their markers hollow.
    """
    with _figure(5.0, 3.0) as figure:
        ax = figure.subplots()
        for number, (name, points) in enumerate(series.items()):
            counts, values, spreads = zip(*sorted(points), strict=True)
            colour, marker, _ = _look(number)
            theirs = name in published
            ax.errorbar(
                counts, values, [spread or 0.0 for spread in spreads] if any(spreads) else None, label=name,
                color=colour, marker=marker, linestyle="--" if theirs else "-", capsize=2.5, elinewidth=0.8,
                markerfacecolor="white" if theirs else colour,
            )  # fmt: skip
        ax.set_xticks(sorted({count for points in series.values() for count, *_ in points}))
        ax.set_xlabel("number of modalities")
        ax.set_ylabel("mIoU in %")
        ax.margins(x=0.08, y=0.1)
        _lines_behind(ax, "y")
        figure.legend(loc="outside right center", handlelength=3.2)
    return figure


def heat_map(scores: Scores) -> "Figure":
    """Show which share of each true class was predicted as what; values are printed where they are readable."""
    names = scores.classes.names
    totals = scores.counts.sum(axis=1, keepdims=True)
    shares = 100 * scores.counts / np.where(totals, totals, np.nan)  # a class without pixels has no shares
    cell = min(0.5, max(0.12, WIDTH / len(names)))
    size = min(7.0, cell * 72 * 0.36)
    with _figure(cell * len(names) + 1.8, cell * len(names) + 1.3) as figure:
        ax = figure.subplots()
        image = ax.imshow(np.ma.masked_invalid(shares), cmap="Greys", vmin=0, vmax=100)
        ax.set_facecolor("#F3E3D3")
        ax.set_xticks(range(len(names)), names, rotation=90)
        ax.set_yticks(range(len(names)), names)
        ax.tick_params(length=0, labelsize=max(4.0, size))
        ax.spines[["top", "right"]].set_visible(True)
        ax.set_xlabel("predicted class")
        ax.set_ylabel("true class" + (" (shaded: does not occur)" if not totals.all() else ""))
        for (row, column), share in np.ndenumerate(shares):
            if size >= 4.5 and share >= 0.5:  # as 0 it would only hide the others
                ax.text(
                    column, row, f"{share:.0f}", ha="center", va="center", fontsize=size,
                    color="white" if share > 55 else "black",
                )  # fmt: skip
        bar = figure.colorbar(image, shrink=0.6, aspect=30, pad=0.02, label="share of the true class in %")
        bar.outline.set_linewidth(0.6)
    return figure


def bars(results: Mapping[str, Scores]) -> "Figure":
    """Draw the IoU of each class, the most frequent one on top, results side by side.

    Every bar says its value: one of 0 cannot be seen, and a class that occurs nowhere is no 0.
    """
    first = next(iter(results.values()))
    pixels = first.counts.sum(axis=1)
    order = np.argsort(-pixels, kind="stable")
    places = np.arange(len(order))
    thick = 0.8 / len(results)
    with _figure(5.0, 0.13 * len(order) * (len(results) + 0.4) + 0.8) as figure:
        ax = figure.subplots()
        for number, (name, scores) in enumerate(results.items()):
            values = scores.iou[order]
            drawn = ax.barh(
                places + (number - (len(results) - 1) / 2) * thick, np.nan_to_num(values), thick * 0.92,
                label=f"{name} (mean {scores.miou:.1f})", color=_look(number)[0], edgecolor="white", linewidth=0,
                hatch=HATCHES[number % len(HATCHES)],
            )  # fmt: skip
            ax.bar_label(drawn, ["absent" if np.isnan(v) else f"{v:.1f}" for v in values], fontsize=5.5, padding=1.5)
        shares = 100 * pixels[order] / max(1, pixels.sum())
        labels = [f"{first.classes.names[i]} ({share:.1f} %)" for i, share in zip(order, shares, strict=True)]
        ax.set_yticks(places, labels)
        ax.set_ylim(len(order) - 0.4, -0.6)
        ax.set_xlim(0, 100)
        ax.set_xlabel("IoU in %")
        ax.set_ylabel("class (share of pixels)")
        ax.tick_params(axis="y", length=0)
        _lines_behind(ax, "x")
        figure.legend(loc=_BELOW, ncols=min(3, len(results)))
    return figure


def run_curves(runs: Mapping[str, Curves]) -> "Figure":
    """Draw what runs logged: loss as points and as their moving mean, validation mIoU, and the learning rate."""
    with _figure(WIDTH, 4.2) as figure:
        loss, miou, rate = figure.subplots(3, sharex=True, height_ratios=(3, 3, 1))
        for number, (name, run) in enumerate(runs.items()):
            colour, marker, line = _look(number)
            if run.loss:
                steps, values = zip(*run.loss, strict=True)
                loss.scatter(steps, values, s=5, color=colour, alpha=0.35, linewidths=0, label=f"{name}, as logged")
                loss.plot(steps, moving_mean(values), line, color=colour, label=f"{name}, moving mean")
            if run.miou:
                miou.plot(*zip(*run.miou, strict=True), line, color=colour, marker=marker, label=name)
            if run.lr:
                rate.plot(*zip(*run.lr, strict=True), line, color=colour, linewidth=1)
        for ax, label in ((loss, "training loss"), (miou, "validation\nmIoU in %"), (rate, "learning\nrate")):
            ax.set_ylabel(label)
            _lines_behind(ax, "y")
        rate.set_xlabel("step")
        rate.set_ylim(bottom=0)
        rate.ticklabel_format(axis="y", scilimits=(0, 0))
        figure.align_ylabels()
        handles, labels = loss.get_legend_handles_labels()
        figure.legend(handles, labels, loc=_BELOW, ncols=4)
    return figure


def moving_mean(values: Sequence[float]) -> NDArray[np.float64]:
    """Return the mean of each value's surroundings, a tenth of all; at the ends, of those that there are."""
    window = np.ones(max(1, len(values) // 10) // 2 * 2 + 1)
    sums = np.convolve(values, window)
    counts = np.convolve(np.ones(len(values)), window)
    half = len(window) // 2
    mean: NDArray[np.float64] = (sums / counts)[half : half + len(values)]
    return mean


@contextmanager
def _styled() -> Iterator[None]:
    """Draw in our style, whatever a user's own settings are, and leave those alone."""
    with library("matplotlib.style").context(["default", _STYLE]):
        yield


@contextmanager
def _figure(width: float, height: float, layout: Any = "constrained") -> "Iterator[Figure]":
    """Give a new figure to draw into, in inches. It belongs to no window: neither a display nor pyplot is needed."""
    make: Callable[..., Figure] = library("matplotlib.figure").Figure
    with _styled():
        yield make(figsize=(width, height), layout=layout, dpi=DPI)


def _look(number: int) -> tuple[str, str, str]:
    """Return colour, marker and line of a method; the first seven differ in colour and marker."""
    return OKABE_ITO[number % len(OKABE_ITO)], MARKERS[number % len(MARKERS)], LINES[number % len(LINES)]


def _rgb(colour: tuple[int, int, int]) -> tuple[float, ...]:
    return tuple(value / 255 for value in colour)


def _bare(ax: "Axes") -> None:
    """Leave the frame without ticks."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _lines_behind(ax: "Axes", axis: Any) -> None:
    ax.grid(axis=axis, color="0.88", linewidth=0.5)
    ax.set_axisbelow(True)


def _wrap(text: str, letters: float) -> str:
    """Break at spaces; a plus stays with what follows it."""
    return textwrap.fill(text.replace("+ ", "+\xa0"), max(6, int(letters)), break_long_words=False)


def _legend_rows(ids: Sequence[int], width: float) -> int:
    return ceil(len(ids) / _legend_columns(width))


def _legend_columns(width: float) -> int:
    return max(1, int(width / 1.05))


def _class_legend(figure: "Figure", classes: Classes, ids: Sequence[int], width: float, markers: str) -> None:
    """Put the classes below: a mark in each one's colour, with the marker that it is drawn with."""
    line = library("matplotlib.lines").Line2D
    handles = [
        line([], [], linestyle="none", marker=markers[number % len(markers)], markersize=6, markeredgewidth=0.3,
             markeredgecolor="0.3", markerfacecolor="black" if i == IGNORE else _rgb(classes.colors[i]))
        for number, i in enumerate(ids)
    ]  # fmt: skip
    names = ["not labelled" if i == IGNORE else classes.names[i] for i in ids]
    figure.legend(handles, names, loc=_BELOW, ncols=_legend_columns(width), handletextpad=0.1, columnspacing=0.9)
