"""What figures look like: each function turns numbers or pictures into a matplotlib `Figure`; none runs a model.

Sizes are in inches, those of fonts in points, and meant for a page that is 7 inches wide. Methods are told apart by
colour and by marker, line or hatching, so that nothing depends on colour; classes have the data set's own colours.
matplotlib is imported when something is drawn: everything else works without it.
"""

import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31", "#999999")
"""Colours that all kinds of colour vision tell apart; without the yellow, which does not show on white. The last two
are not of that set."""
MARKERS, LINES, HATCHES = "osD^vPX", ("-", "--", "-.", ":"), ("", "////", "....", "xxxx", r"\\\\")
_BELOW: Final = "outside lower center"
_SMALL = 5
_STYLE: dict[str, Any] = {
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "legend.fontsize": 7, "xtick.labelsize": 7,
    "ytick.labelsize": 7, "axes.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlepad": 4, "legend.frameon": False, "lines.linewidth": 1.3, "lines.markersize": 4.5,
    "hatch.linewidth": 0.5, "axes.axisbelow": True, "grid.color": "0.88", "grid.linewidth": 0.5,
    "text.parse_math": False,  # a name may hold a dollar
    "pdf.fonttype": 42,  # letters that journals accept
    "svg.hashsalt": "memorysam",  # the same figure is the same file
}  # fmt: skip

Log = Mapping[str, Sequence[tuple[int, float]]]
"""Of a run: `loss`, its moving `mean`, `miou` (on the validation split, in percent) and `lr`, each as (step, value)."""


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
    lines = [_wrap(title, side * 14) for title in titles]
    row = side * first.shape[0] / first.shape[1]
    names = [_in_lines(name, max(8, int(row * 72 / (0.7 * _SMALL)))) for name in rows]  # a letter is 0.7 wide
    width = side * len(titles) + _height(names) * _SMALL * 1.2 / 72 + 0.05
    height = len(rows) * row + 0.14 * _height(lines) + _legend_of(ids, width)[1] + 0.2
    engine = library("matplotlib.layout_engine").ConstrainedLayoutEngine
    with new_figure(width, height, engine(compress=True, w_pad=0.015, h_pad=0.015, wspace=0, hspace=0)) as figure:
        for axes, name, pictures in zip(
            figure.subplots(len(rows), len(titles), squeeze=False), names, rows.values(), strict=True
        ):
            axes[0].set_ylabel(name, fontsize=_SMALL, linespacing=1.1, labelpad=2)
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
    lines, width = ceil(len(panels) / columns), WIDTH / max(2, columns) * columns
    ids = [int(i) for i in np.unique(labels)]
    with new_figure(width, width / columns * lines + _legend_of(ids, width)[1] + 0.2) as figure:
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for ax, (title, points) in zip(axes, panels.items(), strict=False):
            for number, i in enumerate(ids):
                ax.scatter(
                    *points[labels == i].T, s=7, marker=MARKERS[number % len(MARKERS)], color=_rgb(classes, i),
                    linewidths=0.2, edgecolors="white",
                )  # fmt: skip
            _bare(ax)
            ax.set_title(title)
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        _class_legend(figure, classes, ids, width, MARKERS)
    return figure


def curve(series: Mapping[str, Sequence[tuple[int, float, float | None]]], published: Collection[str]) -> "Figure":
    """Draw mIoU against the number of modalities.

    Args:
        series: method -> (number of modalities, mIoU in percent, spread or None), in any order.
        published: methods whose numbers are not ours; dashed, their markers hollow.
    """
    with new_figure(5.0, 3.0) as figure:
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
        numbers = sorted({count for points in series.values() for count, *_ in points})
        ax.set(xticks=numbers, xlabel="number of modalities", ylabel="mIoU in %")
        ax.margins(x=0.08, y=0.1)
        ax.grid(axis="y")
        figure.legend(loc="outside right center", handlelength=3.2)
    return figure


def heat_map(scores: Scores) -> "Figure":
    """Show which share of each true class was predicted as what; values are printed where they are readable."""
    names = scores.classes.names
    totals = scores.counts.sum(axis=1, keepdims=True)
    shares = 100 * scores.counts / np.where(totals, totals, np.nan)  # a class without pixels has no shares
    cell = min(0.5, max(0.12, (WIDTH - 1.8) / len(names)))
    size = min(7.0, cell * 72 * 0.36)  # three digits fit into a cell
    with new_figure(cell * len(names) + 1.8, cell * len(names) + 1.3) as figure:
        ax = figure.subplots()
        image = ax.imshow(np.ma.masked_invalid(shares), cmap="Greys", vmin=0, vmax=100)
        ax.set_facecolor("#F3E3D3")
        ax.set_xticks(range(len(names)), names, rotation=90)
        ax.set_yticks(range(len(names)), names)
        ax.tick_params(length=0, labelsize=max(4.0, size))
        ax.spines[["top", "right"]].set_visible(True)
        ax.set(xlabel="predicted class", ylabel=f"true class{'' if totals.all() else ' (shaded: does not occur)'}")
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
    places, thick = np.arange(len(order)), 0.8 / len(results)
    count = max(12, len(order) * (len(results) + 0.4))
    body = max(min(8.5, 0.105 * count), 0.067 * count)  # a page at most, unless the values could not be read
    with new_figure(5.0, body + 0.6 + 0.16 * len(results)) as figure:
        ax = figure.subplots()
        for number, (name, scores) in enumerate(results.items()):
            values = scores.iou[order]
            drawn = ax.barh(
                places + (number - (len(results) - 1) / 2) * thick, np.nan_to_num(values), thick * 0.92,
                label=f"{name} (mean {scores.miou:.1f})", color=_look(number)[0], edgecolor="white", linewidth=0,
                hatch=HATCHES[number % len(HATCHES)],
            )  # fmt: skip
            ax.bar_label(
                drawn, [_percent(value) for value in values], fontsize=min(5.5, 52 * body / count), padding=1.5
            )
        shares = 100 * pixels[order] / max(1, pixels.sum())
        labels = [f"{first.classes.names[i]} ({share:.1f} %)" for i, share in zip(order, shares, strict=True)]
        ax.set(yticks=places, yticklabels=labels, ylim=(len(order) - 0.4, -0.6), ylabel="class (share of pixels)")
        ax.set(xlim=(0, 106), xlabel="IoU in %")  # with room for the value of a full bar
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x")
        figure.legend(loc=_BELOW, ncols=_columns(list(results), 3))
    return figure


def run_curves(runs: Mapping[str, Log]) -> "Figure":
    """Draw what runs logged: loss as points and as their moving mean, validation mIoU, and the learning rate."""
    with new_figure(WIDTH, 4.2) as figure:
        loss, miou, rate = figure.subplots(3, sharex=True, height_ratios=(3, 3, 1))
        for number, (name, run) in enumerate(runs.items()):
            colour, marker, line = _look(number)
            loss.scatter(*np.reshape(run["loss"], (-1, 2)).T, s=5, color=colour, alpha=0.45, linewidths=0)
            for ax, kind, shown in ((loss, "mean", ""), (miou, "miou", marker), (rate, "lr", "")):
                ax.plot(*np.reshape(run[kind], (-1, 2)).T, line, color=colour, marker=shown, label=name)
        words = ("training loss\n(line: moving mean)", "validation\nmIoU in %", "learning\nrate")
        for ax, label in zip((loss, miou, rate), words, strict=True):
            ax.set_ylabel(label)
            ax.grid(axis="y")
        rate.set(xlabel="step", ylim=(0, None))
        rate.ticklabel_format(axis="y", scilimits=(0, 0))
        figure.align_ylabels()
        figure.legend(*miou.get_legend_handles_labels(), loc=_BELOW, ncols=_columns(list(runs), 4))
    return figure


@contextmanager
def _styled() -> Iterator[None]:
    """Draw in our style, whatever a user's own settings are, and leave those alone."""
    with library("matplotlib.style").context(["default", _STYLE]):
        yield


@contextmanager
def new_figure(width: float, height: float, layout: Any = "constrained") -> "Iterator[Figure]":
    """Give a new figure to draw into, in inches. It belongs to no window: neither a display nor pyplot is needed."""
    with _styled():
        yield library("matplotlib.figure").Figure(figsize=(width, height), layout=layout, dpi=DPI)


def _look(number: int) -> tuple[str, str, str]:
    """Return colour, marker and line of a method; the first ones differ in colour and in marker."""
    again = number // len(OKABE_ITO)  # colours have come round: with other markers
    return OKABE_ITO[number % len(OKABE_ITO)], MARKERS[(number + again) % len(MARKERS)], LINES[number % len(LINES)]


def _rgb(classes: Classes, number: int) -> tuple[float, ...]:
    return (0.0, 0.0, 0.0) if number == IGNORE else tuple(value / 255 for value in classes.colors[number])


def _bare(ax: "Axes") -> None:
    """Leave the frame without ticks."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _in_lines(name: str, letters: int) -> str:
    """Write a sample's name with a folder per line; too long ones are broken, after an underscore if they can be."""
    parts = [textwrap.wrap(part.replace("_", "_ "), letters) for part in name.split("/")]
    return "\n".join(line.replace("_ ", "_") for part in parts for line in part)


def _wrap(text: str, letters: float) -> str:
    """Break at spaces; a plus stays with what follows it."""
    kept = text.replace("+ ", "+\xa0").splitlines()
    lines = [textwrap.fill(line, max(6, int(letters)), break_long_words=False) for line in kept]
    return "\n".join(lines).replace("\xa0", " ")


def _height(texts: Sequence[str]) -> int:
    return max(text.count("\n") + 1 for text in texts)


def _percent(value: float) -> str:
    return "absent" if np.isnan(value) else f"{value:.1f}" if value else "0"


def _legend_of(ids: Sequence[int], width: float) -> tuple[int, float]:
    """Return columns and height of a legend of classes."""
    columns = max(1, int(width / 1.05))
    return columns, 0.16 * ceil(len(ids) / columns)


def _columns(names: Sequence[str], most: int) -> int:
    """Return how many columns a legend of names has: one where they are long."""
    return min(most, len(names)) if max(map(len, names)) < 70 // most else 1


def _class_legend(figure: "Figure", classes: Classes, ids: Sequence[int], width: float, markers: str) -> None:
    """Put the classes below: a mark in each one's colour, with the marker that it is drawn with."""
    line = library("matplotlib.lines").Line2D
    handles = [
        line([], [], linestyle="none", marker=markers[number % len(markers)], markersize=6, markeredgewidth=0.3,
             markeredgecolor="0.3", markerfacecolor=_rgb(classes, i))
        for number, i in enumerate(ids)
    ]  # fmt: skip
    names = ["not labelled" if i == IGNORE else classes.names[i] for i in ids]
    figure.legend(handles, names, loc=_BELOW, ncols=_legend_of(ids, width)[0], handletextpad=0.1, columnspacing=0.9)
