"""One image mirrored, or in windows, for a graph of one size: what `evaluation.inference` does, in NumPy."""

from collections.abc import Mapping
from math import ceil

import numpy as np
from numpy.typing import NDArray

from memorysam.config import EvaluateSettings
from memorysam.errors import SettingsError
from memorysam.export.answer import Graph, Images
from memorysam.spec import Modality, Size


def probabilities(graph: Graph, images: Images, size: Size, settings: EvaluateSettings) -> NDArray[np.float32]:
    """Return class probabilities `[C, *size]` of one scene.

    Args:
        graph: of one size.
        images: normalised, `[1, K, H, W]`: at the graph's size, or of any size for `method: windows`.
        size: height and width of the answer.
        settings: method and flip.

    Raises:
        SettingsError: what a graph of one size cannot do.
    """
    require_possible(settings)
    found = _one_view(graph, images, size, settings)
    if not settings.flip:
        return found
    mirrored = {m.name: mirror(images[m.name], m) for m in graph.about.inputs}
    other = _one_view(graph, mirrored, size, settings)
    return np.asarray((found + other[..., ::-1]) / 2, np.float32)


def require_possible(settings: EvaluateSettings) -> None:
    """Raise if settings ask for views that a graph of one size cannot have.

    Raises:
        SettingsError: other scales, or images at their own size.
    """
    if settings.scales != (1.0,):
        raise SettingsError(
            "an exported file sees images of one size: it knows no other scales", where="scales", expected="1.0",
            fix="use the checkpoint",
        )  # fmt: skip
    if settings.method == "native":
        raise SettingsError(
            "an exported file sees images of one size, not at their own", where="method",
            expected="resize or windows", fix="use the checkpoint, or export it for the size of the images",
        )  # fmt: skip


def mirror(image: NDArray[np.float32], modality: Modality) -> NDArray[np.float32]:
    """Flip normalised `[1, K, H, W]` from left to right, and with it what is an angle in the image plane."""
    flipped: NDArray[np.float32] = image[..., ::-1].copy()
    k = modality.mirrored
    if k is not None:
        # A raw value of 0 is `zero` after normalisation; its sign changes about that.
        low, high = modality.range_of(np.dtype(np.float32))
        mean, std = (values[k if len(values) > 1 else 0] for values in (modality.mean, modality.std))
        flipped[:, k] = 2 * (-low / (high - low) - mean) / std - flipped[:, k]
    return flipped


def _one_view(graph: Graph, images: Images, size: Size, settings: EvaluateSettings) -> NDArray[np.float32]:
    if settings.method == "windows":
        return _in_windows(graph, images, settings.overlap)
    found: NDArray[np.float32] = graph.run(images, size).probabilities[0]
    return found


def _in_windows(graph: Graph, images: Images, overlap: float) -> NDArray[np.float32]:
    """Return probabilities `[C, H, W]` from overlapping windows; near its edges a window counts less."""
    window = graph.about.task.image_size
    padded, (height, width) = _pad(images, window)
    total_h, total_w = next(iter(padded.values())).shape[-2:]
    weight = _ramp(window[0])[:, None] * _ramp(window[1])
    total = np.zeros((len(graph.about.task.classes), total_h, total_w), np.float32)
    weights = np.zeros((total_h, total_w), np.float32)
    for top in _starts(total_h, window[0], overlap):
        for left in _starts(total_w, window[1], overlap):
            area = (..., slice(top, top + window[0]), slice(left, left + window[1]))
            answer = graph.run({name: image[area] for name, image in padded.items()}, window)
            total[area] += answer.probabilities[0] * weight
            weights[area] += weight
    found: NDArray[np.float32] = (total / weights)[..., :height, :width]
    return found


def _pad(images: Images, least: Size) -> tuple[Mapping[str, NDArray[np.float32]], Size]:
    """Repeat the bottom and right edges up to `least`; also return the old size."""
    height, width = next(iter(images.values())).shape[-2:]
    edges = ((0, 0), (0, 0), (0, max(0, least[0] - height)), (0, max(0, least[1] - width)))
    return {name: np.pad(image, edges, mode="edge") for name, image in images.items()}, (height, width)


def _starts(length: int, window: int, overlap: float) -> list[int]:
    """Return window positions that cover `length` evenly with at least `overlap`."""
    count = 1 + ceil((length - window) / max(1, window * (1 - overlap)))
    return [round(i * (length - window) / (count - 1)) for i in range(count)] if count > 1 else [0]


def _ramp(length: int) -> NDArray[np.float32]:
    """Return weights that rise from the edges to the middle and are never 0."""
    steps = np.arange(1, length + 1, dtype=np.float32)
    return np.asarray(np.minimum(steps, length + 1 - steps) / ((length + 1) / 2), np.float32)
