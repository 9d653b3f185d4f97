"""From images to class probabilities: whole or in windows, mirrored, at several scales.

Shapes: images `{modality: [B, K, H, W]}`, probabilities `[B, C, H', W']` at the size asked for.
"""

from collections.abc import Iterator, Mapping
from math import ceil

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from memorysam.config import EvaluateSettings
from memorysam.models.base import Segmentation, SegmentationModel, upsample
from memorysam.spec import STRIDE, Modality, Size

Images = Mapping[str, Tensor]


@torch.no_grad()
def probabilities(model: SegmentationModel, images: Images, size: Size, settings: EvaluateSettings) -> Tensor:
    """Return class probabilities `[B, C, *size]`, averaged over the scales and flips that `settings` ask for.

    Args:
        model: in evaluation mode.
        images: normalised; at the network's size for `method: resize`, at any size for the others.
        size: height and width of the answer.
        settings: method, scales and flips.
    """
    total: Tensor | None = None
    views = 0
    modalities = {modality.name: modality for modality in model.task.modalities}
    for view, flipped in _views(images, settings, modalities):
        one = _one_view(model, view, size, settings)
        one = one.flip(-1) if flipped else one
        total = one if total is None else total + one
        views += 1
    if total is None:
        raise AssertionError("settings.scales is never empty")
    return total / views


def _one_view(model: SegmentationModel, images: Images, size: Size, settings: EvaluateSettings) -> Tensor:
    if settings.method == "windows":
        own = in_windows(model, images, model.task.image_size, settings.overlap)
        return own if own.shape[-2:] == size else upsample(own, size)
    padded, (height, width) = pad(images)
    output = run(model, padded)
    whole = next(iter(padded.values())).shape[-2:]
    if tuple(whole) == (height, width):
        return output.at(size).softmax(dim=1)
    # What was padded must be cut at the size at which it was padded.
    return upsample(output.at(whole)[..., :height, :width], size).softmax(dim=1)


def run(model: SegmentationModel, images: Images) -> Segmentation:
    """Call a model with images in the type of its weights; bfloat16 has too few digits for the numbers of regions."""
    kind, regions = next(model.parameters()).dtype, model.task.regions
    output: Segmentation = model({name: image if name in regions else image.to(kind) for name, image in images.items()})
    return output


def in_windows(model: SegmentationModel, images: Images, window: Size, overlap: float) -> Tensor:
    """Return probabilities `[B, C, H, W]` from overlapping windows; near its edges a window counts less.

    Args:
        model: in evaluation mode.
        images: of any size; padded where they are smaller than a window.
        window: height and width, multiples of 32.
        overlap: share that neighbours have in common, at least.
    """
    padded, (height, width) = pad(images, least=window, multiple=1)
    first = next(iter(padded.values()))
    total_h, total_w = first.shape[-2:]
    weight = _ramp(window[0], first.device)[:, None] * _ramp(window[1], first.device)
    total = first.new_zeros(first.shape[0], len(model.task.classes), total_h, total_w)
    weights = first.new_zeros(total_h, total_w)
    for top in _starts(total_h, window[0], overlap):
        for left in _starts(total_w, window[1], overlap):
            area = (..., slice(top, top + window[0]), slice(left, left + window[1]))
            output = run(model, {name: image[area] for name, image in padded.items()})
            total[area] += output.at(window).softmax(dim=1) * weight
            weights[area] += weight
    return (total / weights)[..., :height, :width]


def pad(images: Images, least: Size = (STRIDE, STRIDE), multiple: int = STRIDE) -> tuple[dict[str, Tensor], Size]:
    """Repeat the bottom and right edges up to a multiple of 32 and at least `least`; also return the old size."""
    height, width = next(iter(images.values())).shape[-2:]
    down = max(ceil(height / multiple) * multiple, least[0]) - height
    right = max(ceil(width / multiple) * multiple, least[1]) - width
    padded = {n: F.pad(image, (0, right, 0, down), mode="replicate") for n, image in images.items()}
    return padded, (height, width)


def _views(
    images: Images, settings: EvaluateSettings, modalities: Mapping[str, Modality]
) -> Iterator[tuple[Images, bool]]:
    for scale in settings.scales:
        scaled = images
        if scale != 1.0:
            scaled = {name: _scaled(image, scale, modalities[name]) for name, image in images.items()}
        yield scaled, False
        if settings.flip:
            yield {name: mirror(image, modalities[name]) for name, image in scaled.items()}, True


def mirror(image: Tensor, modality: Modality) -> Tensor:
    """Flip normalised `[B, K, H, W]` from left to right, and with it what is an angle in the image plane."""
    flipped = image.flip(-1)
    k = modality.mirrored
    if k is None:
        return flipped
    # A raw value of 0 is `zero` after normalisation; its sign changes about that.
    low, high = modality.range_of(np.dtype(np.float32))
    pick = [values[k if len(values) > 1 else 0] for values in (modality.mean, modality.std)]
    zero = (-low / (high - low) - pick[0]) / pick[1]
    flipped[:, k] = 2 * zero - flipped[:, k]
    return flipped


def _scaled(image: Tensor, scale: float, modality: Modality) -> Tensor:
    size = [max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in image.shape[-2:]]
    if modality.interpolation == "nearest":
        return F.interpolate(image, size=size, mode="nearest-exact")  # of pixel centres
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=scale < 1)


def _starts(length: int, window: int, overlap: float) -> list[int]:
    """Return window positions that cover `length` evenly with at least `overlap`."""
    count = 1 + ceil((length - window) / max(1, window * (1 - overlap)))
    if count <= 1:
        return [0]
    return [round(i * (length - window) / (count - 1)) for i in range(count)]


def _ramp(length: int, device: torch.device) -> Tensor:
    """Return weights that rise from the edges to the middle and are never 0."""
    steps = torch.arange(length, device=device, dtype=torch.float32) + 1
    return torch.minimum(steps, length + 1 - steps) / ((length + 1) / 2)
