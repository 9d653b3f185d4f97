"""Whether a graph computes what its model computes: the same inputs to both, the answers side by side."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from memorysam.errors import MemorySAMError
from memorysam.export.about import Verified
from memorysam.export.answer import Answer, Graph
from memorysam.export.graph import inputs_of
from memorysam.models.base import SegmentationModel

ABSOLUTE, RELATIVE = 1e-3, 1e-3
"""A logit of the graph differs from the model's by no more than this, and this times the model's."""
AGREEMENT = 0.9999
"""Least share of pixels, at the image size, that get the same class."""
BATCHES = (1, 2) * 6 + (1, 1)
"""Twenty images."""


@dataclass(frozen=True)
class Comparison:
    """A graph beside its model."""

    verified: Verified
    seconds: float
    """Of the graph, for one image: the median."""
    model_seconds: float
    """Of the model, likewise."""


def compare(
    graph: Graph,
    model: SegmentationModel,
    batches: tuple[int, ...] = BATCHES,
    tell: Callable[[int, int], None] = lambda _done, _total: None,
) -> Comparison:
    """Give a graph and its model the same images, and require the same answers.

    Args:
        graph: as it will be used: read from its file.
        model: prepared for predictions, on the CPU.
        batches: number of images of each call.
        tell: called after each with how many calls are done, and how many there are.

    Raises:
        MemorySAMError: they differ by more than `ABSOLUTE` and `RELATIVE`, or agree on fewer pixels than `AGREEMENT`.
    """
    size, modalities = model.task.image_size, graph.about.inputs
    worst, excess, equal, pixels = 0.0, 0.0, 0, 0
    seconds: tuple[list[float], list[float]] = ([], [])
    for seed, batch in enumerate(batches):
        images = dict(zip(graph.about.modalities, inputs_of(modalities, size, batch, seed), strict=True))
        began = time.perf_counter()
        answer = graph.run({name: image.numpy() for name, image in images.items()}, size)
        between = time.perf_counter()
        with torch.no_grad():
            output = model(images)
            full = output.at(size)
            labels, _ = full.argmax(dim=1), full.softmax(dim=1)
        ended = time.perf_counter()
        if batch == 1 and seed > 0:  # the first call of either prepares
            seconds[0].append(between - began)
            seconds[1].append(ended - between)
        reference = output.logits.float().numpy()
        _same_shape(answer, reference)
        difference = np.abs(answer.logits - reference)
        worst = max(worst, _largest(difference))
        excess = max(excess, _largest(difference / (ABSOLUTE + RELATIVE * np.abs(reference))))
        equal += int((answer.labels == labels.numpy()).sum())
        pixels += labels.numel()
        tell(seed + 1, len(batches))
    found = Verified(images=sum(batches), difference=min(worst, 1e30), agreement=equal / pixels)
    _require(found, excess)
    own, theirs = (statistics.median(one) if one else float("nan") for one in seconds)
    return Comparison(found, own, theirs)


def _largest(values: NDArray[np.float32]) -> float:
    """Return the largest value; one that is no number is larger than all."""
    return float(np.nan_to_num(values, nan=np.inf).max())


def _same_shape(answer: Answer, reference: NDArray[np.float32]) -> None:
    if answer.logits.shape != reference.shape:
        raise MemorySAMError(
            f"the exported graph gives logits of shape {list(answer.logits.shape)}", expected=list(reference.shape)
        )


def _require(found: Verified, excess: float) -> None:
    if excess <= 1 and found.agreement >= AGREEMENT:
        return
    raise MemorySAMError(
        f"the exported graph does not compute what the model computes: on {found.images} images logits differ by up to "
        f"{found.difference:.3g}, and {found.agreement:.4%} of the pixels get the same class",
        expected=f"differences up to {ABSOLUTE:g} + {RELATIVE:g} of the logit, and {AGREEMENT:.2%} of the pixels",
        fix="the file was not kept; use the checkpoint itself, and report which versions of torch and onnx these were",
    )
