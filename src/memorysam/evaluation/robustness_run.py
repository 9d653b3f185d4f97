"""Scoring a model under missing and noisy sensors, pass by pass; what is done is kept, so that it can be interrupted.

A pass is one condition in one variant over the whole split. What no variant changes is scored once.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import torch

from memorysam.config import EvaluateSettings
from memorysam.data.dataset import Source, fingerprint
from memorysam.data.remember import Remembered
from memorysam.errors import InputError, SettingsError
from memorysam.evaluation.evaluate import Evaluation, evaluate
from memorysam.evaluation.perturb import Perturbation, without_gaussian
from memorysam.evaluation.robustness import (
    PARTS,
    VARIANTS,
    Condition,
    Part,
    Subset,
    Variant,
    conditions,
    missing,
    subsets,
)
from memorysam.files import write_json
from memorysam.models.base import SegmentationModel

Passes = dict[str, dict[str, Any]]
"""By `key`: `miou` in percent (None where a model does not take what is left, with `refused`, or where it is
undefined), `iou` by class, and `by` tag and value."""
Progress = Callable[[int, int, str], None]
"""Called with the number of images done, their total over all passes, and the pass that runs."""
_RULES = 1
"""Raised when a rule changes numbers: what was kept is then not used."""


@dataclass(frozen=True)
class Plan:
    """What is scored."""

    sensors: tuple[str, ...]
    """Names, in the model's order; the model gets to see no others."""
    variants: tuple[Variant, ...] = VARIANTS
    parts: tuple[Part, ...] = PARTS
    seed: int = 0
    spared: tuple[str, ...] | None = None
    """Sensors that get no Gaussian noise; by default those with `event` in their names."""
    by: tuple[str, ...] = ()
    """Tags to score separately."""

    @property
    def no_gaussian(self) -> tuple[str, ...]:
        """The sensors that get no Gaussian noise."""
        return without_gaussian(self.sensors) if self.spared is None else self.spared

    def passes(self) -> dict[str, tuple[Condition, Variant]]:
        """Return all passes by their keys, each once: nothing missing is the same in every part and variant."""
        every = product(conditions(self.sensors, self.parts), self.variants)
        return {key(condition, variant): (condition, variant) for condition, variant in every}


@dataclass(frozen=True)
class Found:
    """What came out."""

    plan: Plan
    passes: Passes
    """Those of the plan, and whatever else was kept."""
    identity: dict[str, Any]
    """What decides the numbers."""
    about: dict[str, Any] = field(default_factory=dict)
    """What else there is to say."""

    @property
    def facts(self) -> dict[str, Any]:
        """What the scores hold for."""
        return {**self.about, **self.identity}

    def as_dict(self) -> dict[str, Any]:
        """Return what is kept, as JSON."""
        return {"about": self.about, "identity": self.identity, "passes": self.passes}

    def miou(self, condition: Condition, variant: Variant) -> float | None:
        """Return a pass's mIoU in percent; None where there is none."""
        value = self.passes.get(key(condition, variant), {}).get("miou")
        return None if value is None else float(value)

    def scores(
        self, part: Part, variant: Variant, loss: float = 1.0, tag: tuple[str, str] | None = None
    ) -> dict[Subset, float | None]:
        """Return the mIoU by subset, in EMM or at a loss of RMM; of samples with a tag's value only, if given."""
        found: dict[Subset, float | None] = {}
        for subset in subsets(self.plan.sensors):
            condition = missing(self.plan.sensors, subset, part, loss)
            content: Mapping[str, Any] = self.passes.get(key(condition, variant), {})
            if tag is not None:
                content = content.get("by", {}).get(tag[0], {}).get(tag[1], {})
            found[subset] = content.get("miou")
        return found


def key(condition: Condition, variant: Variant) -> str:
    """Return the name of a pass."""
    return condition.name if condition.harmless else f"{variant}/{condition.name}"


class Robustness:
    """Scores a model in every pass of a plan.

    Args:
        model: on its device.
        source: with labels; it is read once in each pass, so give what `held` returns.
        settings: how to predict and score.
        plan: what is scored.
        split: name of the split, for the record.
        kept: file to which each pass is written when it is done, and from which those that are done are taken.
        about: what else there is to say in that file; it decides nothing.

    Raises:
        SettingsError: `kept` holds the passes of another model, other settings or other data.
    """

    def __init__(
        self,
        model: SegmentationModel,
        source: Source,
        settings: EvaluateSettings,
        plan: Plan,
        *,
        split: str = "",
        kept: Path | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self._model, self._source, self._settings, self._plan = model, source, settings, plan
        self._split, self._kept = split, kept
        self._todo = plan.passes()
        facts = identity(model, source, settings, plan, split)
        passes = {} if kept is None else _taken(kept, facts)
        self._found = Found(plan, passes, facts, dict(about or {}))

    @property
    def images(self) -> int:
        """Images of all passes together."""
        return len(self._todo) * len(self._source.ids)

    @property
    def done(self) -> int:
        """How many of them are done."""
        return sum(name in self._found.passes for name in self._todo) * len(self._source.ids)

    def run(self, workers: int = 0, progress: Progress | None = None) -> Found:
        """Score what is not done yet.

        Args:
            workers: processes that read.
            progress: called as it goes on.

        Raises:
            DataError: a sample that cannot be read, or without a label.
        """
        for name, (condition, variant) in self._todo.items():
            if name in self._found.passes:
                continue

            def tell(now: int, _total: int, name: str = name, before: int = self.done) -> None:
                if progress is not None:
                    progress(before + now, self.images, name)

            self._found.passes[name] = self._score(condition, variant, workers, tell)
            if self._kept is not None:
                write_json(self._kept, self._found.as_dict())
        return self._found

    def _score(
        self, condition: Condition, variant: Variant, workers: int, tell: Callable[[int, int], None]
    ) -> dict[str, Any]:
        plan = self._plan
        # Sensors that are really absent are not even read.
        seen = condition.present if variant == "strict" and condition.part == "emm" else plan.sensors
        perturb = Perturbation(condition, variant, plan.seed, plan.no_gaussian)
        try:
            result = evaluate(
                self._model, self._source, self._settings, modalities=seen, split=self._split, workers=workers,
                by=plan.by, progress=tell, perturb=perturb,
            )  # fmt: skip
        except InputError as error:
            if len(seen) == len(plan.sensors):
                raise
            return {"miou": None, "refused": error.what}  # a system that does not do without a sensor
        return _content(result)


def held(source: Source, modalities: Sequence[str], gigabytes: float) -> Source:
    """Return a source that decodes each sample once, if all of them fit into `gigabytes`; the same one if not.

    Args:
        source: its first sample says how large all are.
        modalities: those that are read.
        gigabytes: of decoded images and labels, at most.
    """
    first = source.read(0, modalities)
    arrays = [*first.images.values(), *([] if first.label is None else [first.label])]
    size = sum(array.nbytes for array in arrays) * len(source.ids)
    return Remembered(source, modalities) if size <= gigabytes * 1e9 else source


def emm(
    model: SegmentationModel, source: Source, settings: EvaluateSettings, split: str = "", workers: int = 0
) -> dict[Subset, float]:
    """Return the mIoU in percent with each subset of a model's sensors, the others really absent (`strict`)."""
    near = Remembered(source, model.task.names)
    found = {}
    for subset in subsets(model.task.sensors):
        result = evaluate(model, near, settings, modalities=subset, split=split, workers=workers)
        found[subset] = result.scores.miou
    return found


def identity(
    model: SegmentationModel, source: Source, settings: EvaluateSettings, plan: Plan, split: str
) -> dict[str, Any]:
    """Return what decides the numbers of a pass: two runs of equal identity have equal numbers."""
    facts = {
        "weights": _digest(model),
        "model": model.settings(),
        "data": fingerprint(source),
        "split": split,
        "images": len(source.ids),
        "sensors": list(plan.sensors),
        "regions": list(model.task.regions),
        "size": list(model.task.image_size),
        **settings.model_dump(mode="json"),
        "seed": plan.seed,
        "no_gaussian": list(plan.no_gaussian),
        "by": list(plan.by),
        "rules": _RULES,
    }
    content: dict[str, Any] = json.loads(json.dumps(facts))  # as it will be read: without tuples
    return content


def _content(result: Evaluation) -> dict[str, Any]:
    whole = result.as_dict()
    by = {
        tag: {value: {"miou": scores["miou"], "images": scores["images"]} for value, scores in values.items()}
        for tag, values in whole["by"].items()
    }
    return {"miou": whole["miou"], "iou": {name: one["iou"] for name, one in whole["classes"].items()}, "by": by}


def _taken(path: Path, facts: Mapping[str, Any]) -> Passes:
    """Return the passes that a file holds; none if there is no such file."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        theirs, passes = content["identity"], content["passes"]
        differing = [name for name in {**theirs, **facts} if theirs.get(name) != facts.get(name)]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SettingsError(
            "this file of an earlier evaluation is damaged", where=path, fix="remove it, or choose another --out"
        ) from None
    if differing:
        name = differing[0]
        raise SettingsError(
            f"an earlier evaluation with other {', '.join(differing)} is kept here",
            where=path,
            expected=f"{name} {facts.get(name)!r}, not {theirs.get(name)!r}",
            fix="choose another --out, or remove that file",
        )
    return dict(passes)


def _digest(model: SegmentationModel) -> str:
    """Return a short name of a model's tensors and task."""
    digest = hashlib.sha256(model.task.model_dump_json().encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
