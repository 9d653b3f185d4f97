"""One scene as a plan: where the road runs, what lies on the ground, what stands in the street, how it is lit.

Metres throughout: x to the right of the camera, y up from the road, z ahead. Nothing here knows of pixels, so that a
scene is the same at every size.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from memorysam.data.scenes.catalog import Key
from memorysam.data.scenes.materials import Rgb
from memorysam.data.scenes.models import library

T = TypeVar("T")

THING: Final = np.dtype(
    [
        ("shape", "i4"),
        ("position", "f4", 3),
        ("yaw", "f4"),  # of its forward direction, clockwise from ahead
        ("size", "f4", 3),  # factors on the model's width, height, length
        ("first", "f4", 3),
        ("second", "f4", 3),
        ("velocity", "f4", 2),  # x and z, metres per second
        ("layer", "f4"),  # distance by which it is sorted; 0: that of its far end
        ("lit", "f4"),  # whether its lamps are on
        ("shift", "f4"),  # of its texture, tiles
    ]
)
"""A thing that stands in the scene."""


class Dice:
    """Chance that is cheap to ask for one number at a time."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._draw = _stream(rng).__next__

    def between(self, low: float, high: float) -> float:
        """Uniform."""
        return low + (high - low) * self._draw()

    def chance(self, probability: float) -> bool:
        """Whether something happens."""
        return self._draw() < probability

    def count(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return low + int(self._draw() * (high - low + 1))

    def pick(self, options: Sequence[T]) -> T:
        """One of them."""
        return options[int(self._draw() * len(options))]

    def weighted(self, options: dict[str, float]) -> str:
        """One of the names, by weight."""
        place = self._draw() * sum(options.values())
        for name, weight in options.items():
            place -= weight
            if place < 0:
                return name
        return name

    def bell(self, spread: float) -> float:
        """About normal with mean 0, never beyond three times the spread."""
        return spread * 2 * (self._draw() + self._draw() + self._draw() - 1.5)

    def tint(self, colour: Rgb, spread: float = 0.2) -> Rgb:
        """The colour, somewhat lighter or darker and shifted in hue."""
        light = 1 + self.bell(spread)
        red, green, blue = (max(0.012, c * light * (1 + self.bell(0.25 * spread))) for c in colour)
        return red, green, blue


def _stream(rng: np.random.Generator) -> Iterator[float]:
    while True:
        yield from rng.random(1024).tolist()


@dataclass(frozen=True)
class Road:
    """Cross-section and course. `s` is the distance to the right of the line that parts the two directions."""

    centre: float
    """x of that line beside the camera."""
    slope: float
    bend: float
    lane: float
    """Width of a lane."""
    lanes: tuple[int, int]
    """Against and along the camera's direction."""
    parking: tuple[float, float]
    """Width of the parking lanes, left and right; 0 for none."""
    walk: tuple[float, float]
    """Width of the sidewalks, left and right; 0 for none."""

    def x(self, z: float) -> float:
        """Where the line is at a distance."""
        return self.centre + self.slope * z + 0.5 * self.bend * z * z

    def heading(self, z: float) -> float:
        """Direction of the road there, radians clockwise from ahead."""
        return math.atan(self.slope + self.bend * z)

    def edge(self, side: int) -> float:
        """Distance of the kerb from the line, on the left (-1) or the right (1)."""
        return self.lanes[side > 0] * self.lane + self.parking[side > 0]


@dataclass(frozen=True)
class Ribbon:
    """A strip of ground along the whole road."""

    kind: str
    """Class."""
    material: str
    left: float  # s
    right: float
    low: float = 0.0  # y at its left and at its right
    high: float = 0.0
    upright: bool = False


@dataclass
class World:
    """A scene."""

    key: Key
    road: Road
    eye: float
    """Height of the camera."""
    horizon: float
    """Share of the picture above the horizon."""
    speed: float
    """Of the camera, metres per second."""
    turn: float
    """Of the camera, radians per second to the right."""
    sun: tuple[float, float, float]
    """Direction to the sun."""
    ground: dict[str, Rgb]
    """Colours of what lies on the ground."""
    junction: tuple[float, float] | None = None
    """Distance and width of a crossing street."""
    ribbons: list[Ribbon] = field(default_factory=list)
    lamps: list[tuple[float, float, float]] = field(default_factory=list)
    """Where street lamps shine."""
    _things: list[tuple[object, ...]] = field(default_factory=list)

    def add(
        self, shape: str, x: float, z: float, *, y: float = 0.0, yaw: float = 0.0,
        size: tuple[float, float, float] = (1.0, 1.0, 1.0), first: Rgb = (0.3, 0.3, 0.3), second: Rgb = (0.3, 0.3, 0.3),
        velocity: tuple[float, float] = (0.0, 0.0), layer: float = 0.0, lit: float = 1.0, shift: float = 0.0,
    ) -> None:  # fmt: skip
        """Put a thing at a point."""
        number = library().number[shape]
        self._things.append((number, (x, y, z), yaw, size, first, second, velocity, layer, lit, shift))

    def along(self, shape: str, s: float, z: float, *, turn: float = 0.0, facing: bool = False, **rest: object) -> None:
        """Put a thing beside the road, turned with it, or flat and facing the camera."""
        x = self.road.x(z) + s
        yaw = math.atan2(x, z) if facing else self.road.heading(z) + turn
        self.add(shape, x, z, yaw=yaw, **rest)  # type: ignore[arg-type]

    @property
    def things(self) -> NDArray[np.void]:
        """All things, `[N]` of `THING`."""
        return np.array(self._things, THING)
