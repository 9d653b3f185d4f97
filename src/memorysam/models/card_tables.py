"""The tables of a model card: input, classes and scores, training, parameters."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memorysam.models.base import SegmentationModel, count

PROTOCOLS = {
    "paper": "scored at the network's size; a class that is absent counts as 0",
    "strict": "scored at the label's own size; a class that is absent is left out of the mean",
}


@dataclass(frozen=True)
class Facts:
    """What a card is made from, besides the model."""

    about: Mapping[str, Any]
    """What may be told of the run: `settings`, `scores`, `samples`, `step`; what is not there is not known."""
    base: str | None = None
    """Name of the weights that training started from; None where it is not known or there are none."""
    light: bool = False
    """Whether the checkpoint needs them."""
    name: str | None = None
    """Of the model on the Hub."""
    license: str | None = None
    """Of the model; by default that of its base."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Of the run, by group."""
        settings: Mapping[str, Any] = self.about.get("settings") or {}
        return settings

    @property
    def scores(self) -> Mapping[str, Any] | None:
        """On the validation split."""
        return self.about.get("scores")

    @property
    def from_scratch(self) -> bool:
        """Whether it is known that training started from random weights."""
        model = self.settings.get("model", {})
        return "train" in self.settings and model.get("weights") in (None, "random")

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return str(self.settings.get("data", {}).get("dataset", "unknown"))


def inputs(model: SegmentationModel) -> str:
    """Return a table of what the model is given, and what becomes of it."""
    rows = [
        [
            m.name,
            m.role,
            str(m.channels),
            f"{m.low:g} to {'the largest of the type' if m.high == 'type' else f'{m.high:g}'}",
            "the image's median" if m.zero == "median" else "the lower end",
            _values(m.mean),
            _values(m.std),
            "none" if m.holes is None else f"{m.holes[0]:g} to {m.holes[1]:g}",
            m.stem if isinstance(m.stem, str) else f"bands {_values(m.stem or ())}",
        ]
        for m in model.task.modalities
    ]
    head = ["modality", "role", "channels", "raw values that become 0 to 1", "zero is", "mean", "std", "holes"]
    return _table([*head, "to three channels"], rows)


def scores(model: SegmentationModel, facts: Facts) -> Iterable[str]:
    """Yield what the scores hold for, and a table of the classes with their colours and scores."""
    found = facts.scores
    classes = model.task.classes
    per_class = found["classes"] if found else {}
    rows = []
    for i, name in enumerate(classes.names):
        row = [str(i), name, "#{:02x}{:02x}{:02x}".format(*classes.colors[i])]
        if found:
            row += [_percent(per_class.get(name, {}).get(key)) for key in ("iou", "f1", "accuracy")]
        rows.append(row)
    if not found:
        yield "This checkpoint carries no scores."
        yield _table(["id", "class", "colour"], rows)
        return
    rows.append(["", "mean", "", *(_percent(found.get(key)) for key in ("miou", "mf1", "macc"))])
    yield (
        f"In %, on split `{found.get('split') or 'unknown'}` of {facts.dataset}, "
        f"{number(found['images'], 'image')}, with {' + '.join(found.get('modalities', []))}, "
        f"{found.get('method', 'resize')} at {sides(found.get('size', ()))}. "
        f"Protocol {found['protocol']}: {PROTOCOLS.get(found['protocol'], '')}."
    )
    yield _table(["id", "class", "colour", "IoU", "F1", "accuracy"], rows)
    yield "This split also chose the checkpoint among those of the run, which favours it."


_SHOWN = (
    "epochs", "batch_size", "optimizer", "lr", "lr_factors", "weight_decay", "schedule", "warmup_epochs", "loss",
    "dice", "class_weights", "prototype_weight", "modality_dropout", "modality_order", "clip", "average", "precision",
    "seed",
)  # fmt: skip


def training(facts: Facts) -> Iterable[str]:
    """Yield a table of the settings of training, as far as they are known."""
    train = facts.settings.get("train", {})
    if not train:
        yield "How it was trained is not recorded."
        return
    data = facts.settings.get("data", {})
    rows = [["data set", facts.dataset], ["training split", str(data.get("train_split", "unknown"))]]
    rows += [[key, str(facts.about[key])] for key in ("samples", "step") if key in facts.about]
    rows += [[key, str(train[key])] for key in _SHOWN if train.get(key) not in (None, [], {})]
    rows += [[f"augment.{key}", str(value)] for key, value in facts.settings.get("augment", {}).items()]
    yield _table(["setting", "value"], rows)


def parameters(model: SegmentationModel) -> str:
    """Return a table of the number of parameters by part."""
    parts = {name: parameters for name, parameters in model.parts().items() if parameters}
    rows = [[name, f"{count(parameters):,}"] for name, parameters in parts.items()]
    rows.append(["all", f"{sum(count(parameters) for parameters in parts.values()):,}"])
    return _table(["part", "parameters"], rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell(word) for word in line)} |" for line in lines)


def cell(text: str) -> str:
    """Keep a name from ending a cell or a line."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _values(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def sides(size: Iterable[int]) -> str:
    """Return `height x width` without spaces."""
    return "x".join(str(side) for side in size)


def number(amount: int, noun: str) -> str:
    """Return an amount with its noun."""
    return f"{amount} {noun}{'s' if amount != 1 else ''}"
