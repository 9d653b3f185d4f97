"""The camera through which every sensor looks: from metres to pixels, and what lies behind it cut off."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from memorysam.data.scenes.plan import World
from memorysam.data.scenes.shapes import CORNERS
from memorysam.data.scenes.textures import Floats

NEAR: Final = 0.8
"""Nothing nearer than this is seen, metres."""
_FOCAL: Final = 0.72
"""Focal length as a share of the picture's longer side."""
_FRACTION: Final = 4
"""Bits behind the point in the coordinates that OpenCV draws with."""

Outlines = NDArray[np.int32]
"""`[..., 2]`: column and row of corners, as fixed-point numbers."""


@dataclass(frozen=True)
class View:
    """A pinhole camera that looks along z, its picture `height` by `width` pixels, its eye `eye` metres up."""

    height: int
    width: int
    focal: float
    """Pixels."""
    middle: float
    """Row of the horizon."""
    eye: float

    @classmethod
    def of(cls, world: World, size: tuple[int, int]) -> "View":
        """Return the camera of a scene: at every size it sees the same along the longer side."""
        height, width = size
        return cls(height, width, _FOCAL * max(size), world.horizon * height, world.eye)

    @cached_property
    def right(self) -> Floats:
        """`[1, W]`: how far a ray goes to the right for each metre ahead."""
        columns = np.arange(self.width, dtype=np.float32) + np.float32(0.5 - self.width / 2)
        return columns[None] / np.float32(self.focal)

    @cached_property
    def up(self) -> Floats:
        """`[H, 1]`: how far a ray rises for each metre ahead."""
        rows = np.arange(self.height, dtype=np.float32) + np.float32(0.5 - self.middle)
        return rows[:, None] / np.float32(-self.focal)

    def project(self, points: Floats) -> Floats:
        """Return the pixel coordinates `[..., 2]` (column, row) of points `[..., 3]` in front of the camera."""
        scale = np.float32(self.focal) / points[..., 2]
        column = points[..., 0] * scale + np.float32(self.width / 2)
        row = (np.float32(self.eye) - points[..., 1]) * scale + np.float32(self.middle)
        return np.stack([column, row], axis=-1)

    def outlines(self, quads: Floats) -> Outlines:
        """Return the outlines of those of the quadrilaterals `[K, 4, 3]` that reach before the camera."""
        front = quads[..., 2] >= NEAR
        corners = np.repeat(quads, CORNERS // 4, axis=1)
        split = front.any(1) & ~front.all(1)
        corners[split] = cut(quads[split])
        return fixed(self.project(corners[front.any(1)]))


def cut(quads: Floats) -> Floats:
    """Cut quadrilaterals `[K, 4, 3]` off at the near plane; give them twelve corners, some of them repeated."""
    before, after = np.roll(quads, 1, axis=1), np.roll(quads, -1, axis=1)
    z = quads[..., 2:]

    def meet(other: Floats) -> Floats:
        """Where the edge to another corner meets the plane."""
        gap = other[..., 2:] - z
        point = quads + (NEAR - z) / np.where(np.abs(gap) < 1e-6, 1, gap) * (other - quads)
        point[..., 2] = NEAR
        return point

    seen_before, seen_after = before[..., 2:] >= NEAR, after[..., 2:] >= NEAR
    entry = np.where(seen_before, meet(before), meet(after))
    leave = np.where(seen_after, meet(after), meet(before))
    pairs = np.where((z < NEAR)[:, :, None], np.stack([entry, leave], axis=2), quads[:, :, None])
    hidden = ((z < NEAR) & ~seen_before & ~seen_after)[..., 0]
    previous = np.roll(pairs[:, :, 1], 1, axis=1)
    pairs[hidden] = previous[hidden][:, None]  # nothing of it is left: stand on the corner before
    corners = pairs.reshape(len(quads), 8, 3)
    return np.concatenate([corners, np.repeat(corners[:, -1:], CORNERS - 8, axis=1)], axis=1)


def fixed(pixels: Floats) -> Outlines:
    """Return pixel coordinates as OpenCV's fixed-point numbers, whose whole values are the centres of pixels."""
    numbers: Outlines = np.rint((np.clip(pixels, -30000, 30000) - 0.5) * (1 << _FRACTION)).astype(np.int32)
    return numbers


def fill(canvas: NDArray[np.generic], outline: Outlines, value: int) -> None:
    """Fill a convex outline, `[corners, 2]`."""
    cv2.fillConvexPoly(canvas, outline, value, shift=_FRACTION)


def fill_strip(canvas: NDArray[np.generic], outline: Outlines, value: int) -> None:
    """Fill an outline of any form, `[corners, 2]`."""
    cv2.fillPoly(canvas, [outline], value, shift=_FRACTION)
