"""Time and memory against the number of modalities."""

from typing import Any

from memorysam.benchmark import memory
from memorysam.benchmark.machine import describe
from memorysam.benchmark.plan import Plan, make_images, make_labels, make_model, our_inference, our_training
from memorysam.benchmark.timing import Call, Spread, in_turns
from memorysam.models.cost import forward_flops

COUNTS = (1, 2, 4, 8, 16)


def scaling(plan: Plan, counts: tuple[int, ...]) -> dict[str, Any]:
    """Measure ours with each number of modalities.

    Args:
        plan: what is measured; its own number of modalities does not count.
        counts: of modalities.

    Raises:
        MemorySAMError: weights that cannot be read.
    """
    return {
        "machine": describe(plan.device),
        "plan": plan.as_dict() | {"modalities": list(counts)},
        "scaling": [_with(plan.seeing(count)) for count in counts],
    }


def _with(plan: Plan) -> dict[str, Any]:
    model, images, labels = make_model(plan), make_images(plan), make_labels(plan)
    row: dict[str, Any] = {
        "modalities": plan.modalities,
        "flops": forward_flops(model, plan.model.image_size) * plan.batch,
    }
    for precision in plan.precisions:
        calls: dict[str, Call] = {"inference": our_inference(model, images, precision)}
        if plan.train:
            calls["train"] = our_training(model, images, labels, precision)
        seconds = in_turns(calls, plan.repeats, plan.device)
        row[precision] = {
            kind: {**Spread.of(seconds[kind]).as_dict(), "peak_bytes": memory.peak(call, plan.device)}
            for kind, call in calls.items()
        }
    return row
