"""How models are put together from faces: upright sheets, discs and boxes.

Metres: x to the right, y up from the ground, z forward. A face has twelve corners: a disc uses all, a quadrilateral
repeats each thrice. Boxes show only their outer sides; flat things (leaves, people, signs) are seen from both.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from memorysam.data.scenes.materials import NUMBER
from memorysam.data.scenes.names import ID

CORNERS: Final = 12
Point = tuple[float, float, float]
Span = tuple[float, float]


@dataclass
class Shape:
    """Faces in the order in which they are painted."""

    kind: str
    """Class of faces that do not name another."""
    lift: float | None = 0.0
    """Share of the height below which it casts no shadow; None for things that cast none at all."""
    corners: list[NDArray[np.float64]] = field(default_factory=list)
    material: list[int] = field(default_factory=list)
    label: list[int] = field(default_factory=list)
    both: list[bool] = field(default_factory=list)
    outward: list[Point] = field(default_factory=list)

    def face(
        self, points: Sequence[Point], material: str, outward: Point | None = None, kind: str | None = None
    ) -> None:
        """Add a face of four or twelve corners; without a direction it is seen from both sides."""
        self.corners.append(np.repeat(np.asarray(points, float), CORNERS // len(points), axis=0))
        self.material.append(NUMBER[material])
        self.label.append(ID[kind or self.kind])
        self.both.append(outward is None)
        self.outward.append(outward or (0, 0, -1))

    def sheet(
        self, x: Span, y: Span, material: str, z: float = 0.0, top: Span | None = None, kind: str | None = None
    ) -> None:
        """Add an upright rectangle across the view; `top` narrows its upper edge to a trapezium."""
        above = top or x
        points = [(x[0], y[0], z), (x[1], y[0], z), (above[1], y[1], z), (above[0], y[1], z)]
        self.face(points, material, kind=kind)

    def disc(
        self, centre: Point, radius: Span, material: str, side: int | None = None, ragged: Sequence[float] = ()
    ) -> None:
        """Add an upright disc across the view, or one that faces left (-1) or right (1); `ragged` varies its radius."""
        angle = np.arange(CORNERS) * (2 * np.pi / CORNERS)
        size = 1 + np.asarray(ragged) if ragged else np.ones(CORNERS)
        wide, high = radius[0] * np.cos(angle) * size, radius[1] * np.sin(angle) * size
        x, y, z = centre
        if side is None:
            self.face([(x + u, y + v, z) for u, v in zip(wide, high, strict=True)], material)
        else:
            self.face([(x, y + v, z + u) for u, v in zip(wide, high, strict=True)], material, (side, 0, 0))

    def box(
        self, x: Span, y: Span, z: Span, side: str, top: str | None = None, upper: tuple[Span, Span] | None = None
    ) -> None:
        """Add a box without a floor; `upper` gives the x and z of a smaller roof."""
        (left, right), (low, high), (back, front) = x, y, z
        (in_left, in_right), (in_back, in_front) = upper or (x, z)
        a, b, c, d = (left, low, back), (right, low, back), (right, low, front), (left, low, front)
        e, f = (in_left, high, in_back), (in_right, high, in_back)
        g, h = (in_right, high, in_front), (in_left, high, in_front)
        self.face([a, b, f, e], side, (0, 0, -1))
        self.face([d, c, g, h], side, (0, 0, 1))
        self.face([a, d, h, e], side, (-1, 0, 0))
        self.face([b, c, g, f], side, (1, 0, 0))
        self.face([e, f, g, h], top or side, (0, 1, 0))


@dataclass(frozen=True)
class Library:
    """All shapes, their faces below each other."""

    number: dict[str, int]
    start: NDArray[np.int64]  # [S] first face of a shape
    count: NDArray[np.int64]  # [S] its faces
    extent: NDArray[np.float32]  # [S, 3] half width, height, half length
    lift: NDArray[np.float32]  # [S] NaN: casts no shadow
    corners: NDArray[np.float32]  # [F, 12, 3]
    centre: NDArray[np.float32]  # [F, 3]
    normal: NDArray[np.float32]  # [F, 3]
    reach: NDArray[np.float32]  # [F] distance of the farthest corner from the centre
    round: NDArray[np.bool_]  # [F] whether it is more than a quadrilateral
    material: NDArray[np.int64]  # [F]
    label: NDArray[np.uint8]  # [F]
    both: NDArray[np.bool_]  # [F] whether it is seen from both sides


def assemble(shapes: dict[str, Shape]) -> Library:
    """Stack the faces of all shapes."""
    counts = np.asarray([len(shape.corners) for shape in shapes.values()])
    corners = np.concatenate([np.stack(shape.corners) for shape in shapes.values()]).astype(np.float32)
    outward = np.concatenate([shape.outward for shape in shapes.values()]).astype(np.float32)
    extent = [np.abs(np.concatenate(shape.corners)).max(0) for shape in shapes.values()]
    centre = corners.mean(1)
    quarter = CORNERS // 4
    normal = np.cross(corners[:, 2 * quarter] - corners[:, 0], corners[:, 3 * quarter] - corners[:, quarter])
    normal *= np.where((normal * outward).sum(1, keepdims=True) < 0, np.float32(-1), np.float32(1))
    return Library(
        number={name: number for number, name in enumerate(shapes)},
        start=np.cumsum(counts) - counts,
        count=counts,
        extent=np.asarray(extent, np.float32),
        lift=np.asarray([np.nan if shape.lift is None else shape.lift for shape in shapes.values()], np.float32),
        corners=corners,
        centre=centre,
        normal=normal / np.linalg.norm(normal, axis=1, keepdims=True),
        reach=np.linalg.norm(corners - centre[:, None], axis=2).max(1),
        round=(corners[:, 0] != corners[:, 1]).any(1),
        material=np.concatenate([shape.material for shape in shapes.values()]),
        label=np.concatenate([shape.label for shape in shapes.values()]).astype(np.uint8),
        both=np.concatenate([shape.both for shape in shapes.values()]),
    )
