"""Pictures for people: any modality as RGB, class ids in their colours, overlays, grids."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from memorysam.errors import MemorySAMError
from memorysam.spec import Classes, Modality, spread_colours

Picture = NDArray[np.uint8]
"""`[H, W, 3]`, RGB."""


def as_picture(image: NDArray[Any], modality: Modality) -> Picture:
    """Show stored values `[H, W, K]` as RGB: three bands as they are, one as grey, regions in colours of their own.

    Values of more than 8 bits are stretched between their 1st and 99th percentile.
    """
    if modality.role == "regions":
        colours = np.array(spread_colours(256), np.uint8)
        return colours[image[:, :, 0].astype(np.int64) % len(colours)]
    bands = modality.stem if isinstance(modality.stem, tuple) else (0, 0, 0) if image.shape[2] < 3 else (0, 1, 2)
    shown = image[:, :, list(bands)]
    if shown.dtype == np.uint8:
        return np.ascontiguousarray(shown)
    values = shown.astype(np.float32)
    low, high = np.percentile(values, [1, 99])
    stretched: Picture = (np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
    return stretched


def colourise(labels: NDArray[Any], classes: Classes) -> Picture:
    """Show class ids `[H, W]` in the classes' colours; ids that are no class in black."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(classes)] = classes.colors
    colours: Picture = table[labels.astype(np.uint8)]
    return colours


def overlay(picture: Picture, labels: NDArray[Any], classes: Classes, strength: float = 0.55) -> Picture:
    """Lay the classes' colours over a picture of the same size."""
    colours = colourise(labels, classes)
    mixed: Picture = cv2.addWeighted(colours, strength, picture, 1 - strength, 0).astype(np.uint8)
    return mixed


def row(pictures: Sequence[Picture], height: int, gap: int = 4) -> Picture:
    """Put pictures side by side at one height, with a white gap."""
    parts: list[NDArray[Any]] = []
    for picture in pictures:
        width = max(1, round(picture.shape[1] * height / picture.shape[0]))
        shrinks = picture.shape[0] > height
        way = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
        parts.append(cv2.resize(picture, (width, height), interpolation=way))
        parts.append(np.full((height, gap, 3), 255, np.uint8))
    return np.concatenate(parts[:-1], axis=1)


def encode_png(picture: NDArray[Any]) -> bytes:
    """Return a picture `[H, W, 3]` (RGB) or a map `[H, W]` as the bytes of a PNG file."""
    stored = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    done, data = cv2.imencode(".png", stored)
    if not done:
        raise MemorySAMError(f"a picture of shape {picture.shape} cannot be written as PNG")
    return bytes(data)
