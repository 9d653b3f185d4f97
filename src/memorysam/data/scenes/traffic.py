"""Who uses the road: parked and driving vehicles, two-wheelers, people on foot."""

import math
from typing import Final

from memorysam.data.scenes.materials import Rgb
from memorysam.data.scenes.models import CARS, PEOPLE
from memorysam.data.scenes.plan import Dice, Look, World
from memorysam.data.scenes.plots import CAR_COLOURS, Style
from memorysam.data.scenes.street import KERB

_CLOTHES: Final[tuple[Rgb, ...]] = (
    (0.05, 0.05, 0.06), (0.13, 0.13, 0.14), (0.30, 0.29, 0.27), (0.30, 0.05, 0.05), (0.05, 0.08, 0.20),
    (0.09, 0.11, 0.06), (0.38, 0.28, 0.10), (0.16, 0.10, 0.06), (0.55, 0.55, 0.53),
)  # fmt: skip
_LOADS: Final[tuple[Rgb, ...]] = (*CAR_COLOURS, (0.7, 0.7, 0.68))
_LENGTHS: Final = {"car": 5.0, "bus": 12.5, "truck": 11.5}
"""Room that vehicles take on the road."""
_CROSSING: Final = {"sedan": 2, "hatchback": 2, "suv": 1, "van": 1, "bus": 0.35, "motorbike": 0.5}


def populate(world: World, dice: Dice, style: Style, own: int) -> None:
    """Put everybody on the road; `own` is the camera's lane, counted from the middle."""
    _park(world, dice, style)
    _drive(world, dice, style, own)
    _cross(world, dice)
    _walk(world, dice, style)


def _vehicle(world: World, dice: Dice, kind: str, s: float, z: float, away: bool, speed: float, lit: bool) -> float:
    """Put a vehicle on the road from `z` on and return its length; `speed` is along its own direction."""
    length = _LENGTHS.get(kind, 2.5)
    z += length / 2
    turn = (0.0 if away else math.pi) + dice.bell(0.02)
    heading = world.road.heading(z) + turn
    look: Look = {
        "first": dice.tint(dice.pick(CAR_COLOURS), 0.15),
        "second": dice.tint(dice.pick(_LOADS), 0.15),
        "velocity": (speed * math.sin(heading), speed * math.cos(heading)),
        "lit": float(lit),
    }
    grown = dice.between(0.93, 1.08)
    if kind == "car":
        look["size"] = (grown, grown, grown)
        world.along(dice.pick(CARS), s, z, turn, **look)
    elif kind == "bus":
        look["size"] = (1, grown, grown)
        world.along("bus", s, z, turn, **look)
    elif kind == "truck":
        ahead = 1 if away else -1
        tall, long = dice.between(0.8, 1.1), dice.between(0.7, 1.25)
        look["size"] = (1, tall, long)
        world.along("truck_load", s, z - 1.1 * ahead, turn, **look)
        look["size"] = (1, 0.95 * min(tall, 1), 1)
        world.along("truck_cab", s, z + ahead * (3.3 * long - 0.1), turn, **look)
    else:
        world.along(kind, s, z, turn, **look)
        look["first"], look["second"] = dice.tint(dice.pick(_CLOTHES)), dice.tint(dice.pick(_CLOTHES))
        look["layer"] = z + 0.9
        world.along("rider", s, z, turn, **look)
    return length


def _park(world: World, dice: Dice, style: Style) -> None:
    """Rows of cars at the kerb, two-wheelers on the sidewalk."""
    road = world.road
    for side in (-1, 1):
        if road.parking[side > 0]:
            filled, z = dice.between(0.3, 0.95), dice.between(3.5, 9)
            while z < 75:
                if not world.near_junction(z, 6) and dice.chance(filled):
                    kind = dice.weighted({"car": 1, "truck": 0.25 * style.heavy})
                    z += _vehicle(world, dice, kind, side * (road.edge(side) - 1.1), z, side > 0, 0.0, False)
                else:
                    z += 5.0
                z += dice.between(0.6, 2.0)
        if road.walk[side > 0] and dice.chance(0.22):
            kind, z = dice.pick(("motorbike", "bicycle")), dice.between(5, 18)
            for n in range(dice.count(1, 4)):
                turn, colour = dice.between(0.9, 1.6) * side, dice.tint(dice.pick(CAR_COLOURS))
                world.along(kind, side * (road.edge(side) + 1.1), z + n, turn, y=KERB, first=colour, lit=0)


def _drive(world: World, dice: Dice, style: Style, own: int) -> None:
    """Vehicles in the lanes."""
    road, heavy = world.road, style.heavy
    kinds = {"car": 1 - heavy, "bus": 0.42 * heavy, "truck": 0.58 * heavy, "motorbike": 0.11, "bicycle": 0.08}
    dense = dice.between(0.3, 1.0)
    for side in (-1, 1):
        for number in range(1, road.lanes[side > 0] + 1):
            z = dice.between(6, 24) if side > 0 and number == own else dice.between(3, 20)
            pace = dice.between(0, 4) if world.speed == 0 else world.speed * dice.between(0.6, 1.2)
            while z < 100:
                if dice.chance(dense):
                    kind = dice.weighted(kinds)
                    s = side * (number - 0.5) * road.lane + dice.bell(0.15)
                    if kind == "bicycle":
                        s += side * 0.4 * road.lane
                    z += _vehicle(world, dice, kind, s, z, side > 0, pace * dice.between(0.85, 1.15), True)
                z += dice.between(4, 24)


def _cross(world: World, dice: Dice) -> None:
    """Vehicles on the crossing street."""
    if not world.junction:
        return
    z, width = world.junction
    yaw = world.road.heading(z)
    for way in (-1, 1):
        x, lane = dice.between(-28, -8), z - way * width / 4  # they keep to the right
        while x < 28:
            if dice.chance(0.3):
                shape, grown = dice.weighted(_CROSSING), dice.between(0.95, 1.05)
                look: Look = {
                    "first": dice.tint(dice.pick(CAR_COLOURS), 0.15),
                    "second": dice.tint(dice.pick(CAR_COLOURS), 0.15),
                    "velocity": (way * dice.between(0, 9), 0),
                    "size": (grown, grown, grown),
                    "layer": lane + 1,
                }
                place, turned = world.road.x(z) + x, yaw + way * math.pi / 2
                world.add(shape, place, lane, turned, **look)
                if shape == "motorbike":
                    look["first"], look["layer"] = dice.tint(dice.pick(_CLOTHES)), lane + 0.9
                    world.add("rider", place, lane, turned, **look)
            x += dice.between(7, 18)


def _walk(world: World, dice: Dice, style: Style) -> None:
    """People on the sidewalks or at the roadside, alone and in groups, and some who cross the road."""
    road = world.road
    for _ in range(int(dice.between(0, 2 * style.people) + 0.5)):
        side = dice.pick((-1, 1))
        wide, z = road.walk[side > 0], dice.between(4, 14) if dice.chance(0.3) else dice.between(8, 45)
        for n in range(dice.pick((1, 1, 1, 2, 3))):
            s = side * (road.edge(side) + dice.between(0.5, max(0.9, wide - 0.4)))
            _person(world, dice, s, z + 0.5 * n, KERB if wide else 0.0, (0.0, dice.pick((-1.3, 1.3, 0.0))))
    if dice.chance(0.35):
        z = dice.between(7, 28)
        for _ in range(dice.count(1, 3)):
            s = dice.between(-road.edge(-1), road.edge(1))
            _person(world, dice, s, z + dice.bell(0.7), 0.0, (dice.pick((-1.4, 1.4)), 0.0))


def _person(world: World, dice: Dice, s: float, z: float, y: float, velocity: tuple[float, float]) -> None:
    tall = dice.between(0.9, 1.1) if dice.chance(0.88) else dice.between(0.6, 0.8)
    size = (tall * dice.between(0.9, 1.2) * dice.pick((-1, 1)), tall, 1)
    coat, trousers = dice.tint(dice.pick(_CLOTHES)), dice.tint(dice.pick(_CLOTHES))
    world.facing(dice.pick(PEOPLE), s, z, y=y, size=size, first=coat, second=trousers, velocity=velocity)
