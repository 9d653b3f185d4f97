"""Pictures of robustness: the lattice of subsets, and how scores fall with what is lost."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from memorysam.evaluation.robustness import LOSSES, NOISES, Part, Subset, average, by_missing, noisy, subsets
from memorysam.evaluation.robustness_run import Found
from memorysam.experiments import figures, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 6
"""Sensors in a lattice: with more, nothing could be read."""
_NODE = 1.12
"""Inches per subset in a row."""
_ROW = 0.78
_LABELS = {"paper": "paper: zeros, element by element", "strict": "strict: really absent, pixel by pixel"}
_LOOKS = {"paper": (panels.OKABE_ITO[1], "s", "--"), "strict": (panels.OKABE_ITO[0], "o", "-")}


def draw(found: Found, folder: Path) -> list[Path]:
    """Write lattice.png and degradation.png, as far as there is something to show; return what was written."""
    written = []
    if "emm" in found.plan.parts and 1 < len(found.plan.sensors) <= MOST:
        written.append(lattice(found, folder / "lattice.png"))
    if _shown(found):
        written.append(degradation(found, folder / "degradation.png"))
    return written


def lattice(found: Found, path: Path) -> Path:
    """Draw the subsets of the sensors with their mIoU, a row for each size; an edge takes one sensor away.

    The colour of an edge says which sensor, its width how many points that costs; dotted where it costs nothing.
    """
    sensors, variants = found.plan.sensors, found.plan.variants
    scores = {variant: found.scores("emm", variant) for variant in variants}
    known = [score for of in scores.values() for score in of.values() if score is not None]
    widest = max(sum(len(s) == size for s in subsets(sensors)) for size in range(1, len(sensors) + 1))
    width, height = max(panels.WIDTH, _NODE * widest), len(variants) * (_ROW * len(sensors) + 0.3) + 0.4
    norm = panels.library("matplotlib.colors").Normalize(min(known, default=0), max(known, default=1))
    with panels.new_figure(width, height) as figure:
        axes = figure.subplots(len(variants), 1, squeeze=False)[:, 0]
        for ax, variant in zip(axes, variants, strict=True):
            _lattice(ax, scores[variant], sensors, norm)
            ax.set_title(f"mIoU in %, {_LABELS[variant]}", loc="left")
        line = panels.library("matplotlib.lines").Line2D
        handles = [line([], [], color=_colour(sensors, name), linewidth=2) for name in sensors]
        handles.append(line([], [], color="0.5", linestyle=":", linewidth=1))
        labels = [f"without {figures.written([name])}" for name in sensors] + ["costs nothing, or helps"]
        figure.legend(
            handles, labels, loc="outside lower center", ncols=min(5, len(labels)), handlelength=1.6,
            title="the wider, the more it costs", title_fontsize=7,
        )  # fmt: skip
    return panels.save(figure, path)


def degradation(found: Found, path: Path) -> Path:
    """Draw mIoU against the number of missing sensors, the share lost, and the level of noise."""
    shown = _shown(found)
    with panels.new_figure(max(3.2, panels.WIDTH / 3 * len(shown)), 2.6) as figure:
        axes = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
        for ax, part in zip(axes, shown, strict=True):
            {"emm": _missing, "rmm": _lost, "nm": _noise}[part](ax, found)
            ax.grid(axis="y")
            ax.margins(x=0.08)
        axes[0].set_ylabel("mIoU in %")
        axes[0].set_ylim(bottom=0)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return panels.save(figure, path)


def _lattice(ax: "Axes", scores: Mapping[Subset, float | None], sensors: Sequence[str], norm: object) -> None:
    colours = panels.library("matplotlib").colormaps["Blues"]
    places = _places(sensors)
    for subset, (x, y) in places.items():
        for name in subset if len(subset) > 1 else ():
            rest = tuple(other for other in subset if other != name)
            (to_x, to_y), before, after = places[rest], scores[subset], scores[rest]
            cost = 0.0 if before is None or after is None else before - after
            colour, line = (_colour(sensors, name), "-") if cost > 0 else ("0.55", ":")
            wide = 0.5 + 0.22 * min(cost, 20) if cost > 0 else 0.9
            ax.plot([x, to_x], [y - 0.27, to_y + 0.27], line, color=colour, linewidth=wide, alpha=0.75, zorder=1)
    patch = panels.library("matplotlib.patches").FancyBboxPatch
    for subset, (x, y) in places.items():
        score = scores[subset]
        shade = 0.08 + 0.72 * (norm(score) if score is not None else 0)  # type: ignore[operator]
        style = "round,pad=0,rounding_size=0.09"
        face = colours(shade) if score is not None else "white"
        ax.add_patch(patch((x - 0.43, y - 0.27), 0.86, 0.54, style, facecolor=face, edgecolor="0.4", linewidth=0.6))
        ink = "white" if shade > 0.55 else "black"
        ax.text(
            x,
            y + 0.12,
            "-" if score is None else f"{score:.1f}",
            ha="center",
            va="center",
            color=ink,
            fontweight="bold",
        )
        names = textwrap.fill(figures.written(subset).replace("+ ", "+\xa0"), 17, break_long_words=False)
        ax.text(x, y - 0.1, names, ha="center", va="center", color=ink, fontsize=5, linespacing=1)
    rows = len(sensors)
    ax.set(xlim=_span(places), ylim=(0.6, rows + 0.4), xticks=[])
    ax.set_yticks(
        range(1, rows + 1),
        [f"{rows - size} missing" if size < rows else "nothing\nmissing" for size in range(1, rows + 1)],
    )
    ax.tick_params(axis="y", length=0)
    ax.spines[:].set_visible(False)


def _shown(found: Found) -> list[Part]:
    """Return the parts that have a curve: one sensor has nothing to lose."""
    return [part for part in found.plan.parts if part == "nm" or len(found.plan.sensors) > 1]


def _places(sensors: Sequence[str]) -> dict[Subset, tuple[float, float]]:
    """Return where each subset is: those of a size in a row, centred."""
    rows: dict[int, list[Subset]] = {}
    for subset in subsets(sensors):
        rows.setdefault(len(subset), []).append(subset)
    return {s: (i - (len(row) - 1) / 2, float(size)) for size, row in rows.items() for i, s in enumerate(row)}


def _span(places: Mapping[Subset, tuple[float, float]]) -> tuple[float, float]:
    edge = max(x for x, _ in places.values()) + 0.5
    return -edge, edge


def _colour(sensors: Sequence[str], name: str) -> str:
    return panels.OKABE_ITO[1:][sensors.index(name) % (len(panels.OKABE_ITO) - 1)]


def _missing(ax: "Axes", found: Found) -> None:
    sensors = found.plan.sensors
    for number, variant in enumerate(found.plan.variants):
        colour, marker, line = _LOOKS[variant]
        scores = found.scores("emm", variant)
        mean = by_missing(scores, sensors)
        ax.plot(list(mean), list(mean.values()), line, color=colour, marker=marker, label=_LABELS[variant])
        shift = 0.07 * (2 * number - 1) if len(found.plan.variants) > 1 else 0.0
        points = [(len(sensors) - len(s) + shift, score) for s, score in scores.items() if score is not None]
        places, values = np.reshape(points, (-1, 2)).T
        ax.scatter(places, values, s=9, color=colour, alpha=0.4, linewidths=0, zorder=1)
    ax.set(title="EMM: mean, and every subset", xlabel="missing sensors", xticks=range(len(sensors)))


def _lost(ax: "Axes", found: Found) -> None:
    for variant in found.plan.variants:
        colour, marker, line = _LOOKS[variant]
        points = [(0.0, found.miou(noisy(found.plan.sensors, None), variant))]
        points += [(loss, average(found.scores("rmm", variant, loss))) for loss in LOSSES]
        known = [(100 * share, value) for share, value in points if value is not None]
        ax.plot(*np.reshape(known, (-1, 2)).T, line, color=colour, marker=marker, label=_LABELS[variant])
        absent = average(found.scores("emm", variant)) if "emm" in found.plan.parts else None
        if absent is not None:
            ax.plot(
                [known[-1][0], 100],
                [known[-1][1], absent],
                ":",
                color=colour,
                marker=marker,
                markevery=[1],
                markerfacecolor="white",
            )
    ax.set(title="RMM: mean over subsets", xlabel="% lost (hollow: EMM)", xticks=[0, 25, 50, 75, 100])


def _noise(ax: "Axes", found: Found) -> None:
    levels = (None, *NOISES)
    for variant in found.plan.variants:
        colour, marker, line = _LOOKS[variant]
        values = [found.miou(noisy(found.plan.sensors, level), variant) for level in levels]
        known = [(i, value) for i, value in enumerate(values) if value is not None]
        ax.plot(*np.reshape(known, (-1, 2)).T, line, color=colour, marker=marker, label=_LABELS[variant])
    ax.set(title="NM: all sensors noisy", xlabel="noise")
    ax.set_xticks(range(len(levels)), ["none" if level is None else level.name for level in levels])
