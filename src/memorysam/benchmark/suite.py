"""The whole measurement, as one object for JSON."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from memorysam.benchmark import memory
from memorysam.benchmark.machine import describe, limits
from memorysam.benchmark.parts import by_part
from memorysam.benchmark.plan import (
    Inference,
    Plan,
    TrainingStep,
    make_images,
    make_labels,
    make_model,
    our_inference,
    our_training,
    plain_inference,
    plain_training,
)
from memorysam.benchmark.share import encoder_share
from memorysam.benchmark.timing import Spread, in_turns, times_faster
from memorysam.models.cost import forward_flops
from memorysam.models.memorysam import MemorySAM

BASELINE = "baseline"
UNTOUCHED = "baseline before ours was prepared"
CHECKPOINTING = " checkpointing"
"""Follows the precision in the name of a training step."""
_FEW = 3
"""Repeats of what is timed besides."""
_FOUR = [(kind, precision) for kind in ("inference", "train") for precision in ("fp32", "bf16")]


def measure(plan: Plan) -> dict[str, Any]:
    """Measure everything that a plan asks for.

    Raises:
        MemorySAMError: weights that cannot be read, a model that has no baseline.
    """
    model, images = make_model(plan), make_images(plan)
    # Preparing changes how this process allocates memory, which serves the baseline as well.
    before = untouched(model, plan, images)
    result: dict[str, Any] = {
        "machine": describe(plan.device),
        "plan": plan.as_dict(),
        "limits": limits(plan.device, plan.precisions),
        "flops": {"inference": forward_flops(model, plan.model.image_size) * plan.batch},
        "memory": None,
    }
    inference = {BASELINE: plain_inference(model, images)}
    inference |= {precision: our_inference(model, images, precision) for precision in plan.precisions}
    result["agreement"] = agreement(inference)
    times, parts = {}, {}
    times["inference"], parts["inference"] = _timed(inference, plan)
    result["encoder"] = {
        precision: encoder_share(inference[precision], inference[BASELINE], plan.repeats, plan.device)
        for precision in plan.precisions
    }
    del inference
    if plan.train:
        result["flops"]["train"] = training_flops(model, plan.model.image_size, plan.batch)
        steps = training_steps(model, plan, images)
        times["train"], parts["train"] = _timed(steps, plan)
        result["memory"] = memory_of(steps, times["train"], plan)
    result["ratios"] = {f"{kind}_{precision}": _ratio(times, kind, precision) for kind, precision in _FOUR}
    result["times"] = {
        kind: {name: Spread.of(values).as_dict() for name, values in {**found, UNTOUCHED: before[kind]}.items()}
        for kind, found in times.items()
    }
    result["ratios_to_untouched"] = {
        f"{kind}_{precision}": found[UNTOUCHED]["median"] / found[precision]["median"]
        for kind, found in result["times"].items()
        for precision in plan.precisions
    }
    result["parts"] = parts
    result["share_of_limit"] = _shares(result)
    return result


def _timed(calls: Mapping[str, Inference | TrainingStep], plan: Plan) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Return the seconds of calls that take turns, and those of their parts."""
    seconds = in_turns(calls, plan.repeats, plan.device)
    parts = {}
    for name, call in calls.items():
        spreads = by_part(call, min(plan.repeats, _FEW), plan.device)
        parts[name] = {part: spread.as_dict() for part, spread in spreads.items()}
    return seconds, parts


def untouched(model: MemorySAM, plan: Plan, images: dict[str, Tensor]) -> dict[str, list[float]]:
    """Time the baseline in a process in which nothing of ours has been prepared yet."""
    repeats = min(plan.repeats, _FEW)
    found = in_turns({"inference": plain_inference(model, images)}, repeats, plan.device)
    if plan.train:
        found |= in_turns({"train": plain_training(model, plan, images, make_labels(plan))}, repeats, plan.device)
    return found


def training_steps(model: MemorySAM, plan: Plan, images: dict[str, Tensor]) -> dict[str, TrainingStep]:
    """Return the baseline's training step and ours, each with weights of its own."""
    labels = make_labels(plan)
    steps = {BASELINE: plain_training(model, plan, images, labels)}
    for precision in plan.precisions:
        steps[precision] = our_training(model, images, labels, precision)
        steps[precision + CHECKPOINTING] = our_training(model, images, labels, precision, checkpointing=True)
    return steps


@torch.inference_mode()
def agreement(inference: Mapping[str, Inference]) -> dict[str, Any]:
    """Return how far our logits are from the baseline's, and how often the best class is the same."""
    expected = inference[BASELINE]()
    found: dict[str, Any] = {"largest_logit": expected.abs().max().item()}
    for precision in ("fp32", "bf16"):
        there = precision in inference
        logits = inference[precision]() if there else expected
        same = (logits.argmax(dim=1) == expected.argmax(dim=1)).float().mean().item()
        found[f"{precision}_largest_difference"] = (logits - expected).abs().max().item() if there else None
        found[f"{precision}_same_class"] = same if there else None
    return found


def memory_of(steps: Mapping[str, TrainingStep], times: Mapping[str, list[float]], plan: Plan) -> dict[str, Any]:
    """Return the peak memory of each training step, its share of the baseline's, and what checkpointing costs.

    Gradients are part of a peak, weights and moments are not. `peak_bytes` are those of tensors, `resident_bytes` those
    of the whole process, for a CPU whose system tells them.
    """
    peaks: dict[str, int] = {}
    residents: dict[str, int | None] = {}
    for name, step in steps.items():
        step.optimizer.zero_grad(set_to_none=True)
        peaks[name] = memory.peak(step, plan.device)
        step.optimizer.zero_grad(set_to_none=True)
        residents[name] = memory.resident(step, plan.device)
        step.optimizer.zero_grad(set_to_none=True)
    shares = {name: peak / peaks[BASELINE] for name, peak in peaks.items() if name != BASELINE}
    slower = {
        precision: times_faster(times[precision + CHECKPOINTING], times[precision]) for precision in plan.precisions
    }
    return {
        "peak_bytes": peaks,
        "resident_bytes": residents,
        "held_bytes": held_bytes(steps[BASELINE]),
        "peak_to_baseline": shares,
        "checkpointing_time": slower,
    }


def held_bytes(step: TrainingStep) -> int:
    """Return the bytes of weights and moments, which stay from step to step and are in no peak."""
    weights = [*step.model.parameters(), *step.model.buffers()]
    moments = [value for state in step.optimizer.state.values() for value in state.values()]
    return sum(tensor.nbytes for tensor in [*weights, *moments] if isinstance(tensor, Tensor))


def training_flops(model: MemorySAM, size: tuple[int, int], batch: int) -> int:
    """Return the operations of one training step, counted without checkpointing and without losses and optimizer."""
    shadow = deepcopy(model).to("meta").train()
    images = {m.name: torch.empty(batch, m.channels, *size, device="meta") for m in model.task.modalities}
    with FlopCounterMode(display=False) as counter:
        output = shadow(images)
        (output.logits.sum() + output.features.sum()).backward()
    return int(counter.get_total_flops())


def _ratio(times: Mapping[str, Mapping[str, list[float]]], kind: str, precision: str) -> float | None:
    found = times.get(kind, {})
    return times_faster(found[BASELINE], found[precision]) if precision in found else None


def _shares(result: Mapping[str, Any]) -> dict[str, float | None]:
    """Encoder: its time to that of its products alone. Others: operations per second to the matrix product's rate."""
    encoder = result["encoder"]
    found = {f"encoder_{precision}": encoder.get(precision, {}).get("ratio") for precision in ("fp32", "bf16")}
    for kind, precision in _FOUR:
        seconds = result["times"].get(kind, {}).get(precision, {}).get("median")
        rate = result["limits"].get(precision, {}).get("flops_per_s")
        share = None if seconds is None else result["flops"][kind] / seconds / rate
        found[f"{kind}_{precision}_of_rate"] = share
    return found
