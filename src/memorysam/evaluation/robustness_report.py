"""Robustness as tables: for a screen, as Markdown, CSV and JSON. Every file says what it holds for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memorysam.errors import listing
from memorysam.evaluation.report import as_csv, table
from memorysam.evaluation.robustness import (
    LOSSES,
    MISSING,
    NOISES,
    Part,
    Subset,
    Variant,
    average,
    by_missing,
    conditions,
    expectation,
    noisy,
    spelled,
    subsets,
)
from memorysam.evaluation.robustness_run import Found, key
from memorysam.files import write_json, write_text

PUBLISHED = {
    "CMNeXt": (37.90, 54.46, 60.41, 63.38),
    "GeminiFusion": (37.07, 54.33, 60.62, 63.77),
    "StitchFusion": (41.98, 58.02, 63.29, 65.80),
    "MAGIC": (44.97, 58.66, 62.68, 64.47),
    "MAGIC++": (44.85, 59.18, 63.52, 65.50),
}
"""EMM on DELIVER with RGB, depth, events and LiDAR: average, and expectation for each probability of `MISSING`."""
SOURCE = "published (arXiv 2503.18445), EMM average on DELIVER"

_MEANS = ("average", *(f"E({p:g})" for p in MISSING))
_Means = dict[str, float | None]


@dataclass(frozen=True)
class Table:
    """One table."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def means(scores: Mapping[Subset, float | None], sensors: Sequence[str]) -> _Means:
    """Return average and expectations over all subsets, by name."""
    return dict(zip(_MEANS, (average(scores), *(expectation(scores, sensors, p) for p in MISSING)), strict=True))


def not_comparable(found: Found) -> list[str]:
    """Return why the published figures must not be set beside these; nothing where they may."""
    facts, sensors = found.facts, found.plan.sensors
    reasons = []
    if facts.get("dataset") != "deliver":
        reasons.append(f"the data set is {facts.get('dataset', 'another one')}, not deliver")
    if len(sensors) != 4:
        reasons.append(f"the number of sensors is {len(sensors)}, not 4")
    for name, theirs in (("split", "val"), ("protocol", "paper"), ("size", [1024, 1024])):
        if facts.get(name) != theirs:
            reasons.append(f"{name} is {facts.get(name)}, not {theirs}")
    return reasons


def words(found: Found) -> str:
    """Return what the numbers hold for."""
    facts, plan = found.facts, found.plan
    size = "x".join(map(str, facts["size"]))
    parts = [
        f"{' + '.join(plan.sensors)} on {facts['split'] or 'data'} ({facts['images']} images), {facts['method']} at "
        f"{size}, scored by protocol {facts['protocol']}; seed {plan.seed}."
    ]
    if facts.get("regions"):
        parts.append(f"{listing(facts['regions'])}: no sensor, never missing nor noisy.")
    if "paper" in plan.variants:
        parts.append(f"The variant paper depends on the batch, here of {facts['batch_size']}.")
    if "nm" in plan.parts:
        parts.append(f"Gaussian noise on all sensors{f' but {listing(plan.no_gaussian)}' if plan.no_gaussian else ''}.")
    if len(plan.sensors) == 1:
        parts.append("With one sensor there is nothing to lose: EMM and RMM are its score.")
    return " ".join(parts)


def tables(found: Found) -> list[Table]:
    """Return all tables of a report."""
    made: list[Table] = []
    if "emm" in found.plan.parts:
        made.append(_emm(found))
    made += [_by(found, tag) for tag in found.plan.by if "emm" in found.plan.parts]
    if "rmm" in found.plan.parts:
        made.append(_rmm(found))
    if "nm" in found.plan.parts:
        made.append(_nm(found))
    if "emm" in found.plan.parts:
        made.append(_published(found))
    return made


def text(found: Found) -> str:
    """Return everything that is shown on a screen."""
    parts = [words(found)]
    for one in tables(found):
        parts += [f"{one.title}\n\n{table(one.head, one.rows)}", *([one.note] if one.note else [])]
    return "\n\n".join(parts)


def markdown(found: Found) -> str:
    """Return everything as Markdown."""
    lines = ["# Robustness to missing and noisy sensors", "", words(found), ""]
    for one in tables(found):
        lines += [f"## {one.title}", "", _row(one.head), _row(["---"] * len(one.head)), *map(_row, one.rows), ""]
        lines += [one.note, ""] if one.note else []
    return "\n".join(lines)


def summary(found: Found) -> dict[str, Any]:
    """Return averages and expectations as JSON, mIoU in percent, None where there is none."""
    plan, sensors = found.plan, found.plan.sensors
    content: dict[str, Any] = {}
    if "emm" in plan.parts:
        content["emm"] = {variant: _summed(found, "emm", variant) for variant in plan.variants}
        content["published"] = {"what": SOURCE, "columns": list(_MEANS), "methods": PUBLISHED}
        content["published"]["not_comparable"] = not_comparable(found)
        content["by"] = {tag: {variant: _means_by(found, tag, variant) for variant in plan.variants} for tag in plan.by}
    if "rmm" in plan.parts:
        content["rmm"] = {v: {f"{loss:g}": _summed(found, "rmm", v, loss) for loss in LOSSES} for v in plan.variants}
    if "nm" in plan.parts:
        content["nm"] = {v: {n.name: found.miou(noisy(sensors, n), v) for n in NOISES} for v in plan.variants}
    return content


def save(found: Found, folder: Path) -> list[Path]:
    """Write robustness.json (with all passes, from which an evaluation goes on), robustness.csv and robustness.md."""
    content = {"summary": summary(found), **found.as_dict()}
    paths = [folder / f"robustness.{suffix}" for suffix in ("json", "csv", "md")]
    write_json(paths[0], content)
    write_text(paths[1], as_csv(list(_lines(found))))
    write_text(paths[2], markdown(found))
    return paths


def _summed(found: Found, part: Part, variant: Variant, loss: float = 1.0) -> dict[str, Any]:
    scores = found.scores(part, variant, loss)
    missing = {str(count): value for count, value in by_missing(scores, found.plan.sensors).items()}
    by_subset = {spelled(subset): score for subset, score in scores.items()}
    return {**means(scores, found.plan.sensors), "by_missing": missing, "by_subset": by_subset}


def _means_by(found: Found, tag: str, variant: Variant) -> dict[str, _Means]:
    sensors = found.plan.sensors
    return {value: means(found.scores("emm", variant, tag=(tag, value)), sensors) for value in _values(found, tag)}


def _emm(found: Found) -> Table:
    plan = found.plan
    scores = {variant: found.scores("emm", variant) for variant in plan.variants}
    rows = [
        (" + ".join(subset), str(len(plan.sensors) - len(subset)), *(_shown(scores[v][subset]) for v in plan.variants))
        for subset in sorted(subsets(plan.sensors), key=len, reverse=True)
    ]
    summed = {variant: means(found.scores("emm", variant), plan.sensors) for variant in plan.variants}
    rows += [(name, "", *(_shown(summed[v][name]) for v in plan.variants)) for name in _MEANS]
    refused = {content["refused"] for content in found.passes.values() if "refused" in content}
    note = f"-: the model does not do without the others ({'; '.join(sorted(refused))})." if refused else ""
    return Table("EMM: mIoU with what is left", ("sensors left", "missing", *plan.variants), tuple(rows), note)


def _rmm(found: Found) -> Table:
    rows = []
    for variant in found.plan.variants:
        for loss in LOSSES:
            of = means(found.scores("rmm", variant, loss), found.plan.sensors)
            rows.append((variant, f"{loss:.0%}", *(_shown(of[name]) for name in _MEANS)))
    return Table("RMM: mIoU over all subsets, the others with a share lost", ("variant", "lost", *_MEANS), tuple(rows))


def _nm(found: Found) -> Table:
    plan = found.plan
    rows = []
    for noise in (None, *NOISES):
        scores = [_shown(found.miou(noisy(plan.sensors, noise), variant)) for variant in plan.variants]
        level = ("none", "0", "0") if noise is None else (noise.name, f"{noise.density:g}", f"{noise.sigma:g}")
        rows.append((*level, *scores))
    return Table("NM: mIoU with noise", ("noise", "salt and pepper", "sigma", *plan.variants), tuple(rows))


def _by(found: Found, tag: str) -> Table:
    rows = []
    for variant in found.plan.variants:
        for value, images in _values(found, tag).items():
            scores = found.scores("emm", variant, tag=(tag, value))
            of = means(scores, found.plan.sensors)
            row = (variant, value, str(images), _shown(scores[found.plan.sensors]))
            rows.append((*row, *(_shown(of[name]) for name in _MEANS)))
    return Table(f"EMM by {tag}", ("variant", tag, "images", "nothing missing", *_MEANS), tuple(rows))


def _published(found: Found) -> Table:
    ours = [(v, means(found.scores("emm", v), found.plan.sensors)) for v in found.plan.variants]
    rows = [(f"this model, {variant}", *(_shown(of[name]) for name in _MEANS), "measured here") for variant, of in ours]
    rows += [(name, *map(_shown, values), SOURCE) for name, values in PUBLISHED.items()]
    reasons = not_comparable(found)
    note = f"NOT COMPARABLE with the published ones: {'; '.join(reasons)}." if reasons else (
        "The published ones are single runs of the benchmark's code; the variant paper has its rules."
    )  # fmt: skip
    return Table("EMM beside what was published", ("method", *_MEANS, "source"), tuple(rows), note)


def _values(found: Found, tag: str) -> dict[str, int]:
    """Return a tag's values with their numbers of images."""
    whole = found.passes.get("whole", {}).get("by", {}).get(tag, {})
    return {value: content["images"] for value, content in whole.items()}


def _lines(found: Found) -> Iterable[dict[str, Any]]:
    """One line for each condition and variant, and for each value of a tag."""
    kept = ("checkpoint", "dataset", "split", "protocol", "method", "size", "batch_size", "seed")
    facts = {name: found.facts.get(name) for name in kept}
    facts["size"] = "x".join(map(str, found.facts["size"]))
    for condition in conditions(found.plan.sensors, found.plan.parts):
        for variant in found.plan.variants:
            content = found.passes.get(key(condition, variant), {})
            noise = condition.noise
            row = {
                "part": condition.part, "variant": variant, "present": spelled(condition.present),
                "missing": len(condition.absent), "loss": condition.loss if condition.part == "rmm" else "",
                "noise": "" if noise is None else noise.name, "density": "" if noise is None else noise.density,
                "sigma": "" if noise is None else noise.sigma,
            }  # fmt: skip
            scored: list[tuple[str, str, Any, Any]] = [("", "", found.facts["images"], content.get("miou"))]
            for tag, values in content.get("by", {}).items():
                scored += [(tag, value, one["images"], one["miou"]) for value, one in values.items()]
            for tag, value, images, miou in scored:
                yield {**facts, **row, "tag": tag, "value": value, "images": images, "miou": miou}


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
