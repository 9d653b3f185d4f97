"""What to change where no setting fits a GPU: smaller images, fewer modalities, a smaller backbone, each counted."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from memorysam.benchmark.counted import training_step
from memorysam.benchmark.plan import Plan, make_model
from memorysam.models.factory import backbone_of
from memorysam.spec import STRIDE

_SIZES = ("large", "base-plus", "small", "tiny")
"""Ends of the backbones' names, the largest first."""
Change = tuple[str, dict[str, Any]]
"""In words, and in fields of a plan."""


def advice(plan: Plan, there: int) -> str:
    """Return the least change of each kind with which a step of one sample at a time fits, in words.

    Args:
        plan: of which nothing fits.
        there: bytes that a step can have.
    """
    if there <= 0:
        return "take a larger GPU: the driver and its libraries need all of this one"
    found = []
    for changes in (_precision(plan), _sizes(plan), _modalities(plan), _backbones(plan)):
        found += _first(plan, there, changes)
    if not found:
        return "take smaller images (--size), fewer modalities and a smaller backbone, together, or a larger GPU"
    return f"one of these, in bf16 with checkpointing, one sample at a time (counted): {'; '.join(found)}"


def _first(plan: Plan, there: int, changes: Iterator[Change]) -> list[str]:
    """Return the first of the changes that fits, with what it needs."""
    for words, change in changes:
        need = training_step(make_model(replace(plan, **change)), 1, "bf16", checkpointing=True).total
        if need <= there:
            return [f"{words} ({need / 1e9:.1f} GB)"]
    return []


def _precision(plan: Plan) -> Iterator[Change]:
    if "bf16" not in plan.precisions:
        yield "--precision bf16", {"model": _fresh(plan)}


def _sizes(plan: Plan) -> Iterator[Change]:
    """Three quarters, a half, a quarter of the side."""
    height, width = plan.model.image_size
    last = (height, width)
    for share in (0.75, 0.5, 0.25):
        size = (_legal(share * height), _legal(share * width))
        if size != last:
            yield f"--size {size[0]}", {"model": _fresh(plan, image_size=size)}
        last = size


def _modalities(plan: Plan) -> Iterator[Change]:
    """One less, half as many, one."""
    for count in sorted({plan.modalities - 1, plan.modalities // 2, 1} - {0, plan.modalities}, reverse=True):
        yield f"--modalities {count}", {"modalities": count, "model": _fresh(plan)}


def _backbones(plan: Plan) -> Iterator[Change]:
    """Those that are smaller, the largest first."""
    name = backbone_of(plan.model)
    family, _, size = name.partition("-")
    for smaller in _SIZES[_SIZES.index(size) + 1 :] if size in _SIZES else ():
        yield f"--backbone {family}-{smaller}", {"model": _fresh(plan, backbone=f"{family}-{smaller}")}


def _fresh(plan: Plan, **changes: Any) -> Any:
    return plan.model.model_copy(update={"weights": None, **changes})


def _legal(side: float) -> int:
    return max(STRIDE, int(side) // STRIDE * STRIDE)
