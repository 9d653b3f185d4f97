"""One scene as a plan: where the road runs, what lies on the ground, what stands in the street, how it is lit.

Metres throughout: x to the right of the camera, y up from the road, z ahead. Nothing here knows of pixels, so that a
scene is the same at every size.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypedDict, TypeVar, Unpack

import numpy as np
from numpy.typing import NDArray

from memorysam.data.scenes.materials import Rgb
from memorysam.data.scenes.models import library
from memorysam.data.scenes.names import Key

T = TypeVar("T")

Triple = tuple[float, float, float]

THING: Final = np.dtype(
    [
        ("shape", "i4"),
        ("position", "f4", 3),
        ("yaw", "f4"),  # of its forward direction, clockwise from ahead, radians
        ("size", "f4", 3),  # factors on the model's width, height, length
        ("first", "f4", 3),
        ("second", "f4", 3),
        ("velocity", "f4", 2),  # x and z, metres per second
        ("layer", "f4"),  # distance by which it is sorted; 0: worked out
        ("lit", "f4"),  # whether its lamps are on
        ("shift", "f4"),  # of its texture, tiles
    ]
)
"""A thing that stands in the scene."""


class Look(TypedDict, total=False):
    """What may be said of a thing besides its place; see `THING`."""

    y: float
    size: Triple
    first: Rgb
    second: Rgb
    velocity: tuple[float, float]
    layer: float
    lit: float
    shift: float


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
        return next(reversed(options))

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
    """1 / radius of its curve."""
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

    @property
    def upright(self) -> bool:
        """Whether it is a kerb's side."""
        return self.left == self.right


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
    sun: Triple
    """Direction to the sun, of length 1."""
    ground: dict[str, Rgb]
    """Colours of what lies on the ground: material -> colour."""
    junction: tuple[float, float] | None = None
    """Distance and width of a crossing street."""
    ribbons: list[Ribbon] = field(default_factory=list)
    lamps: list[Triple] = field(default_factory=list)
    """Where street lamps shine."""
    _things: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, shape: str, x: float, z: float, yaw: float = 0.0, **look: Unpack[Look]) -> None:
        """Put a thing at a point."""
        say = look.get
        colours, motion = (say("first", _GREY), say("second", _GREY)), say("velocity", (0, 0))
        place, size = (x, say("y", 0.0), z), say("size", (1, 1, 1))
        rest = (say("layer", 0.0), say("lit", 1.0), say("shift", 0.0))
        self._things.append((library().number[shape], place, yaw, size, *colours, motion, *rest))

    def along(self, shape: str, s: float, z: float, turn: float = 0.0, **look: Unpack[Look]) -> None:
        """Put a thing beside the road, turned with it."""
        self.add(shape, self.road.x(z) + s, z, self.road.heading(z) + turn, **look)

    def facing(self, shape: str, s: float, z: float, **look: Unpack[Look]) -> None:
        """Put a flat thing beside the road, facing the camera."""
        x = self.road.x(z) + s
        self.add(shape, x, z, math.atan2(x, z), **look)

    def near_junction(self, z: float, margin: float) -> bool:
        """Whether a distance lies within the crossing street, or so many metres beside it."""
        return self.junction is not None and abs(z - self.junction[0]) < self.junction[1] / 2 + margin

    @cached_property
    def things(self) -> NDArray[np.void]:
        """All things, `[N]` of `THING`; to be asked for once all have been added."""
        return np.array(self._things, THING)


_GREY: Final = (0.3, 0.3, 0.3)
