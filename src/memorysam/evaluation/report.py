"""Results as text for a screen, and as JSON and CSV in a folder."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from memorysam.errors import listing
from memorysam.evaluation.evaluate import Evaluation
from memorysam.evaluation.metrics import Scores
from memorysam.files import write_json, write_text

PROTOCOLS = {
    "paper": "scored at the network's size; a class that is absent counts as 0",
    "strict": "scored at the label's own size; a class that is absent is left out of the mean",
}


def describe(result: Evaluation) -> str:
    """Return what the scores hold for, in one line."""
    facts = result.facts
    size = "x".join(str(side) for side in facts["size"])
    extra = f", scales {facts['scales']}" if facts["scales"] != [1.0] else ""
    extra += ", mirrored" if facts["flip"] else ""
    extra += ", bf16" if facts.get("precision") == "bf16" else ""
    skipped = f", {len(facts['skipped'])} left out because they cannot be read" if facts.get("skipped") else ""
    guided = f" with {listing(facts['regions'])}" if facts.get("regions") else ""
    return (
        f"{' + '.join(facts['modalities'])}{guided} on {facts['split'] or 'data'} ({facts['images']} images{skipped}), "
        f"{facts['method']} at {size}{extra}, protocol {facts['protocol']}: {PROTOCOLS[facts['protocol']]}"
    )


def class_table(scores: Scores) -> str:
    """Return scores per class and their means."""
    share = scores.counts.sum(axis=1) / max(1, scores.counts.sum())
    rows = [
        [name, _percent(scores.iou[i]), _percent(scores.f1[i]), _percent(scores.accuracy[i]), f"{share[i]:.2%}"]
        for i, name in enumerate(scores.classes.names)
    ]
    rows.append(["mean", _percent(scores.miou), _percent(scores.mf1), _percent(scores.macc), "100%"])
    return table(["class", "IoU", "F1", "accuracy", "of pixels"], rows)


def tag_table(result: Evaluation) -> str:
    """Return the mean IoU per tag value, with the number of images that each stands on."""
    rows = [
        [tag, value, str(scores.images), _percent(scores.miou), _percent(scores.pixel_accuracy)]
        for tag, values in result.by.items()
        for value, scores in values.items()
    ]
    return table(["tag", "value", "images", "mIoU", "pixel accuracy"], rows) if rows else ""


def text(result: Evaluation) -> str:
    """Return everything that is shown on a screen."""
    parts = [describe(result), class_table(result.scores), tag_table(result)]
    return "\n\n".join(part for part in parts if part)


def save(result: Evaluation, folder: Path, name: str = "evaluation", **about: object) -> list[Path]:
    """Write `name.json` and `name.csv`; every row and file says what it holds for."""
    content = {**about, **result.as_dict()}
    write_json(folder / f"{name}.json", content)
    facts = {key: _plain(content.get(key)) for key in ("checkpoint", "dataset", *result.facts)}
    groups: list[tuple[str, str, Scores]] = [("all", "", result.scores)]
    groups += [(tag, value, scores) for tag, values in result.by.items() for value, scores in values.items()]
    lines = [
        {**facts, "tag": tag, "value": value, "images": scores.images, "class": label, **values}
        for tag, value, scores in groups
        for label, values in _per_class(scores)
    ]
    write_text(folder / f"{name}.csv", as_csv(lines))
    return [folder / f"{name}.json", folder / f"{name}.csv"]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return aligned columns: words to the left, numbers to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    numeric = [all(_is_number(line[i]) for line in lines[1:]) for i in range(len(head))]
    text_lines = [
        "  ".join(
            cell.rjust(w) if right else cell.ljust(w) for cell, w, right in zip(line, widths, numeric, strict=True)
        )
        for line in lines
    ]
    text_lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in text_lines)


def _per_class(scores: Scores) -> list[tuple[str, dict[str, Any]]]:
    content = scores.as_dict()
    mean = {
        "iou": content["miou"],
        "f1": content["mf1"],
        "accuracy": content["macc"],
        "pixels": int(scores.counts.sum()),
    }
    return [*content["classes"].items(), ("mean", mean)]


def as_csv(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return lines, each a mapping of the same columns, as CSV with a head."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}"


def _plain(value: object) -> object:
    if not isinstance(value, list):
        return value
    if any(isinstance(part, dict) for part in value):
        return len(value)  # the JSON beside it has them all
    return " ".join(str(part) for part in value)


def _is_number(word: str) -> bool:
    return word.replace(".", "", 1).replace("-", "", 1).rstrip("%").replace(",", "").isdigit() or word in ("-", "")
