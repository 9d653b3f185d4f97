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


def heat(values: NDArray[Any]) -> Picture:
    """Show numbers from 0 to 1, `[H, W]`, from dark blue to yellow."""
    whole = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return as_rgb(cv2.applyColorMap(whole, cv2.COLORMAP_VIRIDIS))


def glow(picture: Picture, weights: NDArray[Any]) -> Picture:
    """Lay weights `[h, w]` of any size over a picture: grey where they are 0, bright where they are largest."""
    height, width = picture.shape[:2]
    scaled = (weights / max(float(weights.max()), 1e-12)).astype(np.float32)
    scaled = cv2.resize(scaled, (width, height), interpolation=cv2.INTER_LINEAR)
    colours = as_rgb(cv2.applyColorMap(np.rint(scaled * 255).astype(np.uint8), cv2.COLORMAP_INFERNO))
    share = (0.15 + 0.7 * np.sqrt(scaled))[:, :, None]
    mixed: Picture = (grey(picture) * (1 - share) + colours * share).astype(np.uint8)
    return mixed


def changes(picture: Picture, labels: NDArray[np.uint8], changed: NDArray[np.bool_], classes: Classes) -> Picture:
    """Show what changed, `[H, W]`, in the colours of what it is now, over the dimmed picture."""
    shown: Picture = np.where(changed[:, :, None], colourise(labels, classes), grey(picture) // 3 + 24).astype(np.uint8)
    return shown


def grey(picture: Picture) -> Picture:
    """Take the colour away."""
    return np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2).astype(np.uint8)


def as_rgb(bgr: NDArray[Any]) -> Picture:
    """Turn OpenCV's order of colours into ours."""
    return np.ascontiguousarray(bgr[:, :, ::-1]).astype(np.uint8)


def fit(picture: Picture, longest: int) -> Picture:
    """Bring the longer side to `longest` pixels; pixels of small pictures become squares."""
    height, width = picture.shape[:2]
    factor = longest / max(height, width)
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    resized: Picture = cv2.resize(picture, size, interpolation=way).astype(np.uint8)
    return resized


def marked(picture: Picture, y: float, x: float) -> Picture:
    """Draw a ring about a place, given as shares of height and width."""
    height, width = picture.shape[:2]
    centre, radius = (round(x * width), round(y * height)), max(3, round(0.02 * max(height, width)))
    ring = picture.copy()
    for colour, thickness in ((0, max(3, radius // 2)), (255, max(1, radius // 5))):
        cv2.circle(ring, centre, radius, (colour,) * 3, thickness=thickness, lineType=cv2.LINE_AA)
    return ring


def sheet(rows: Sequence[tuple[str, Sequence[Picture]]], titles: Sequence[str], height: int = 160) -> Picture:
    """Put rows of pictures below each other, each under its name, the columns under their titles.

    Args:
        rows: name and pictures of each.
        titles: of the columns.
        height: of the pictures.
    """
    strips = [_strip([_cut(title, p, height) for title, p in zip(titles, rows[0][1], strict=True)], rows[0][1], height)]
    for name, shown in rows:
        pictures = row(shown, height)
        strips += [_line([(name, 0)], pictures.shape[1]), pictures]
    width = max(strip.shape[1] for strip in strips)
    return np.concatenate(
        [np.pad(strip, ((2, 2), (4, 4 + width - strip.shape[1]), (0, 0)), constant_values=255) for strip in strips]
    )


def legend(classes: Classes) -> Picture:
    """Return each class's colour beside its name, below each other in the order of their ids."""
    lines, width = [], 36 + 9 * max(map(len, classes.names))
    for name, colour in zip(classes.names, classes.colors, strict=True):
        line = _line([(name, 28)], width)
        line[2:-2, 4:22] = colour
        lines.append(line)
    return np.concatenate(lines)


def _cut(title: str, picture: Picture, height: int) -> str:
    """Shorten a title to the width of its column."""
    return title[: max(1, round(picture.shape[1] * height / picture.shape[0]) // 8)]


def _strip(titles: Sequence[str], pictures: Sequence[Picture], height: int, gap: int = 4) -> Picture:
    widths = [max(1, round(p.shape[1] * height / p.shape[0])) + gap for p in pictures]
    starts = [sum(widths[:i]) for i in range(len(widths))]
    return _line(list(zip(titles, starts, strict=True)), sum(widths) - gap)


def _line(words: Sequence[tuple[str, int]], width: int) -> Picture:
    """Return a white line with words that begin at columns; OpenCV's letters are ASCII."""
    line = np.full((18, width, 3), 255, np.uint8)
    for word, start in words:
        plain = word.encode("ascii", "replace").decode()
        cv2.putText(line, plain, (start, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (60, 60, 60), 1, cv2.LINE_AA)
    return line
