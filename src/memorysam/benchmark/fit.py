"""Settings with which training fits a GPU, from memory that is counted and, where that GPU is at hand, measured."""

import re
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch

from memorysam.benchmark import memory
from memorysam.benchmark.advice import advice
from memorysam.benchmark.counted import Need, training_step
from memorysam.benchmark.plan import Plan, make_images, make_labels, make_model, our_training
from memorysam.config import TrainSettings
from memorysam.errors import SettingsError
from memorysam.models.factory import backbone_of

BATCH = int(TrainSettings().batch_size)
"""Samples in a step of the paper."""
RESERVED = 10**9
"""Bytes that the driver and its libraries take for themselves."""
USABLE = 0.95
"""Share of the rest that can be used: blocks do not fit each other without gaps."""
_UNITS = {"": 10**9, "G": 10**9, "GB": 10**9, "GIB": 2**30, "M": 10**6, "MB": 10**6, "MIB": 2**20}


@dataclass(frozen=True)
class Choice:
    """One way to take a step of `BATCH` samples, and the bytes it needs."""

    precision: str
    checkpointing: bool
    passes: int
    """Forward passes that share the step."""
    need: int

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "precision": self.precision,
            "checkpointing": self.checkpointing,
            "batch_size": BATCH,
            "accumulate": self.passes,
            "counted_bytes": self.need,
        }


def read_memory(text: str) -> int:
    """Return the bytes that `24GB`, `24 GiB`, `8000MB` or `24` (GB) say; a GB is 10^9 bytes, a GiB 2^30.

    Raises:
        SettingsError: something else, or nothing at all.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Z]*)", text.strip().upper())
    size = int(float(found[1]) * _UNITS[found[2]]) if found and found[2] in _UNITS else 0
    if size <= 0:
        raise SettingsError(f"{text!r} is no amount of memory", where="--fit", expected="such as 24GB, or 24GiB")
    return size


def usable(size: int) -> int:
    """Return what of a GPU's memory a training step can have."""
    return max(0, int((size - RESERVED) * USABLE))


def choices(plan: Plan) -> list[Choice]:
    """Return all ways to take a step, the fastest first: bf16, without recomputation, with few passes.

    Each is counted with one and with two samples; memory grows by the same amount with each further one.
    """
    model = make_model(plan)
    precisions = sorted(plan.precisions)  # bf16 before fp32
    found: list[Choice] = []
    for precision, checkpointing in product(precisions, (False, True)):
        one, two = (training_step(model, batch, precision, checkpointing) for batch in (1, 2))
        found += [
            Choice(precision, checkpointing, passes, with_samples(one, two, BATCH // passes))
            for passes in range(1, BATCH + 1)
            if BATCH % passes == 0
        ]
    return found


def fit(plan: Plan, size: int) -> dict[str, Any]:
    """Propose settings for a GPU with `size` bytes.

    Returns:
        The proposal, all choices with what they need, and the lines of a settings file.

    Raises:
        SettingsError: nothing fits.
    """
    found = choices(plan)
    there = usable(size)
    fitting = [choice for choice in found if choice.need <= there]
    if not fitting:
        least = min(found, key=lambda choice: choice.need)
        raise SettingsError(
            f"no setting fits {size / 1e9:.1f} GB, of which {there / 1e9:.1f} GB are left for training",
            where="--fit",
            expected=f"{least.need / 1e9:.1f} GB (counted), one sample at a time, {least.precision} with checkpointing",
            fix=advice(plan, there),
        )
    best = fitting[0]
    return {
        "memory_bytes": size,
        "usable_bytes": there,
        "proposal": best.as_dict(),
        "counted_only": plan.device.type != "cuda",
        "measured_bytes": _measured(plan, best, size) if plan.device.type == "cuda" else None,
        "choices": [{**choice.as_dict(), "fits": choice.need <= there} for choice in found],
        "yaml": yaml_lines(plan, best),
    }


def yaml_lines(plan: Plan, choice: Choice) -> str:
    """Return a choice as it is written in a settings file."""
    height, width = plan.model.image_size
    return "\n".join(
        [
            "model:",
            f"  backbone: {backbone_of(plan.model)}",
            f"  image_size: [{height}, {width}]",
            "train:",
            f"  batch_size: {BATCH}",
            f"  accumulate: {choice.passes}",
            f"  precision: {choice.precision}",
            f"  checkpointing: {str(choice.checkpointing).lower()}",
        ]
    )


def with_samples(one: Need, two: Need, samples: int) -> int:
    """Return the bytes of a step with more samples, from those with one and with two: they grow evenly."""
    return one.total + (two.total - one.total) * (samples - 1)


def _measured(plan: Plan, choice: Choice, size: int) -> int | None:
    """Take steps on the GPU that is there, if it is as large, and return the most that PyTorch has taken."""
    if torch.cuda.get_device_properties(plan.device).total_memory < size:
        return None
    own = replace(plan, batch=BATCH // choice.passes)
    step = our_training(make_model(own), make_images(own), make_labels(own), choice.precision, choice.checkpointing)
    held = torch.cuda.memory_allocated(plan.device)
    step()
    step.optimizer.zero_grad(set_to_none=True)
    return memory.peak(step, plan.device) + max(held, torch.cuda.memory_allocated(plan.device))
