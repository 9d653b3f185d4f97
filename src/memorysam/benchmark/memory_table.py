"""Memory of a training step by backbone, modalities, size, batch, precision and checkpointing: counted, on no GPU."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from multiprocessing import get_context
from typing import Any

from memorysam.benchmark.counted import training_step
from memorysam.benchmark.fit import with_samples
from memorysam.benchmark.plan import Plan, make_model, model_settings
from memorysam.benchmark.timing import Progress

BACKBONES = ("sam2-tiny", "sam2-small", "sam2-base-plus", "sam2-large")
MODALITIES = (1, 2, 3, 4)
SIZES = (512, 1024)
BATCHES = (1, 2, 4)
"""Samples in one forward pass."""

Case = tuple[str, int, int]
"""Backbone, height and width, number of modalities."""


def memory_table(
    plan: Plan,
    options: dict[str, Any],
    processes: int,
    progress: Progress,
) -> dict[str, Any]:
    """Count every case.

    Args:
        plan: classes and precisions; its own backbone, size, batch and modalities do not count.
        options: other settings of the models.
        processes: that count side by side.
        progress: called with the number of models counted and their total.
    """
    cases: list[Case] = list(product(BACKBONES, SIZES, MODALITIES))
    jobs = [(case, plan.classes, plan.precisions, options, tuple(BATCHES)) for case in cases]
    found: dict[Case, list[dict[str, Any]]] = {}
    if processes == 1:
        for job in jobs:
            found[job[0]] = _count(*job)
            progress(len(found), len(cases))
    else:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            waiting = {pool.submit(_count, *job): job[0] for job in jobs}
            for done in as_completed(waiting):
                found[waiting[done]] = done.result()
                progress(len(found), len(cases))
    return {
        "counted_only": True,
        "classes": plan.classes,
        "options": options,
        "batches": list(BATCHES),
        "precisions": list(plan.precisions),
        "rows": [row for case in cases for row in found[case]],
    }


def _count(
    case: Case, classes: int, precisions: Sequence[str], options: dict[str, Any], batches: Sequence[int]
) -> list[dict[str, Any]]:
    """Count one model: with one and with two samples, from which others follow."""
    backbone, size, modalities = case
    model = make_model(Plan(model_settings(backbone, size, options), modalities=modalities, classes=classes))
    rows = []
    for precision, checkpointing in product(sorted(precisions), (False, True)):
        one, two = (training_step(model, batch, precision, checkpointing) for batch in (1, 2))
        rows.append(
            {
                "backbone": backbone,
                "size": size,
                "modalities": modalities,
                "precision": precision,
                "checkpointing": checkpointing,
                "counted_bytes": {str(batch): with_samples(one, two, batch) for batch in batches},
            }
        )
    return rows
