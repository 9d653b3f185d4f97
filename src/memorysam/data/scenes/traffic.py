"""Who uses the road: parked and driving vehicles, two-wheelers, people on foot."""

import math
from typing import Final

from memorysam.data.scenes.materials import Rgb
from memorysam.data.scenes.models import CARS, WALK
from memorysam.data.scenes.street import CAR_COLOURS, KERB, Style
from memorysam.data.scenes.plan import Dice, World

_CLOTHES: Final[tuple[Rgb, ...]] = (
    (0.05, 0.05, 0.06), (0.13, 0.13, 0.14), (0.30, 0.29, 0.27), (0.30, 0.05, 0.05), (0.05, 0.08, 0.20), (0.09, 0.11, 0.06),
    (0.38, 0.28, 0.10), (0.16, 0.10, 0.06), (0.55, 0.55, 0.53),
)  # fmt: skip


def populate(world: World, dice: Dice, style: Style, own: int) -> None:
    """Put everybody on the road; `own` is the camera's lane, counted from the middle."""
    _park(world, dice, style)
    _drive(world, dice, style, own)
    _cross(world, dice)
    _walk(world, dice, style)


def _vehicle(world: World, dice: Dice, kind: str, s: float, z: float, away: bool, speed: float, lit: bool, side: float = 0.0) -> float:
    """Put a vehicle on the road and return its length; `speed` is along its own direction."""
    turn = (0.0 if away else math.pi) + dice.bell(0.02)
    heading = world.road.heading(z) + turn
    velocity = (speed * math.sin(heading), speed * math.cos(heading))
    first, second = dice.tint(dice.pick(CAR_COLOURS), 0.15), dice.tint(dice.pick(CAR_COLOURS + ((0.7, 0.7, 0.68),)), 0.15)
    rest = {"turn": turn, "first": first, "second": second, "velocity": velocity, "lit": float(lit)}
    grown = dice.between(0.93, 1.08)
    if kind == "car":
        world.along(dice.pick(CARS), s, z, size=(grown, grown, grown), **rest)
        return 5.0
    if kind == "bus":
        world.along("bus", s, z, size=(1, grown, grown), **rest)
        return 12.0
    if kind == "truck":
        ahead = 1 if away else -1
        tall, long = dice.between(0.8, 1.1), dice.between(0.7, 1.25)
        world.along("truck_load", s, z - 0.9 * ahead, size=(1, tall, long), **rest)
        world.along("truck_cab", s, z + ahead * (3.35 * long + 0.1), size=(1, 0.95 * min(tall, 1), 1), **rest)
        return 10.0
    world.along(kind, s, z, y=side, **rest)
    if lit or dice.chance(0.2):
        clothes = {"first": dice.tint(dice.pick(_CLOTHES)), "second": dice.tint(dice.pick(_CLOTHES))}
        world.along("rider", s, z, y=side, layer=z + 0.9, **{**rest, **clothes})
    return 3.0


def _park(world: World, dice: Dice, style: Style) -> None:
    """Rows at the kerb, and two-wheelers on the sidewalk."""
    road = world.road
    for side in (-1, 1):
        if road.parking[side > 0]:
            filled, z = dice.between(0.3, 0.95), dice.between(3.5, 9)
            while z < 75:
                blocked = world.junction and abs(z - world.junction[0]) < world.junction[1] / 2 + 6
                if not blocked and dice.chance(filled):
                    kind = dice.weighted({"car": 1.0, "truck": 0.25 * style.heavy})
                    z += _vehicle(world, dice, kind, side * (road.edge(side) - 1.1), z + 2.5, side > 0, 0.0, False) - 5
                z += dice.between(5.6, 7)
        if road.walk[side > 0] and dice.chance(0.22):
            kind, z = dice.pick(("motorbike", "bicycle")), dice.between(5, 18)
            for n in range(dice.count(1, 4)):
                turned = dice.between(0.9, 1.6) * side
                first = dice.tint(dice.pick(CAR_COLOURS))
                world.along(kind, side * (road.edge(side) + 1.1), z + 0.8 * n, turn=turned, y=KERB, first=first, lit=0)


def _drive(world: World, dice: Dice, style: Style, own: int) -> None:
    """Vehicles in the lanes, near enough to each other to be seen."""
    road = world.road
    kinds = {"car": 1 - style.heavy, "bus": 0.42 * style.heavy, "truck": 0.58 * style.heavy, "motorbike": 0.1, "bicycle": 0.07}
    dense = dice.between(0.3, 1.0)
    for side in (-1, 1):
        for number in range(1, road.lanes[side > 0] + 1):
            mine = side > 0 and number == own
            z = dice.between(8, 26) if mine else dice.between(4, 22)
            pace = dice.between(0, 4) if world.speed == 0 else world.speed * dice.between(0.6, 1.2)
            while z < 100:
                if dice.chance(dense):
                    kind = dice.weighted(kinds)
                    s = side * (number - 0.5) * road.lane + dice.bell(0.15)
                    if kind == "bicycle":
                        s += side * (0.4 * road.lane)
                    if kind == "bus":
                        z += 4
                    z += _vehicle(world, dice, kind, s, z + 2.5, side > 0, pace * dice.between(0.85, 1.15), True)
                z += dice.between(4, 24)


def _cross(world: World, dice: Dice) -> None:
    """Vehicles on the crossing street."""
    if not world.junction:
        return
    z, width = world.junction
    for way in (-1, 1):
        x = dice.between(-28, -8)
        while x < 28:
            if dice.chance(0.3):
                grown, speed = dice.between(0.95, 1.05), dice.between(0, 9)
                lane = z - way * width / 4  # keep right
                shape = dice.weighted({"sedan": 2, "hatchback": 2, "suv": 1, "van": 1, "bus": 0.35, "motorbike": 0.5})
                first, second = dice.tint(dice.pick(CAR_COLOURS), 0.15), dice.tint(dice.pick(CAR_COLOURS), 0.15)
                place, yaw = world.road.x(z) + x, world.road.heading(z) + way * math.pi / 2
                size = (grown, grown, grown)
                world.add(shape, place, lane, yaw=yaw, size=size, first=first, second=second, velocity=(way * speed, 0), layer=lane + 1)
                if shape == "motorbike":
                    coat = dice.tint(dice.pick(_CLOTHES))
                    world.add("rider", place, lane, yaw=yaw, first=coat, second=coat, velocity=(way * speed, 0), layer=lane + 0.9)
            x += dice.between(7, 18)


def _walk(world: World, dice: Dice, style: Style) -> None:
    """People on the sidewalks, at the roadside, and crossing."""
    road = world.road

    def person(s: float, z: float, y: float, velocity: tuple[float, float]) -> None:
        tall = dice.between(0.9, 1.1) if dice.chance(0.88) else dice.between(0.6, 0.8)
        size = (tall * dice.between(0.9, 1.2) * dice.pick((-1, 1)), tall, 1)
        shape = dice.pick(WALK)
        first, second = dice.tint(dice.pick(_CLOTHES)), dice.tint(dice.pick(_CLOTHES))
        world.along(shape, s, z, facing=True, y=y, size=size, first=first, second=second, velocity=velocity)

    for _ in range(int(dice.between(0, 2 * style.people) + 0.5)):
        side = dice.pick((-1, 1))
        wide, edge, z = road.walk[side > 0], road.edge(side), dice.between(4, 14) if dice.chance(0.3) else dice.between(8, 45)
        for n in range(dice.pick((1, 1, 1, 2, 3))):
            s = edge + dice.between(0.5, max(0.9, wide - 0.4))
            person(side * s, z + 0.5 * n, KERB if wide else 0.0, (0.0, dice.pick((-1.3, 1.3, 0.0))))
    if dice.chance(0.35):
        z = dice.between(7, 28)
        for _ in range(dice.count(1, 3)):
            s = dice.between(-road.edge(-1), road.edge(1))
            person(s, z + dice.bell(0.7), 0.0, (dice.pick((-1.4, 1.4)), 0.0))
