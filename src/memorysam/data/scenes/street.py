"""The ground of a street, and what stands along its kerbs."""

from typing import Final

from memorysam.data.scenes.materials import Rgb
from memorysam.data.scenes.models import SIGNS, TREES
from memorysam.data.scenes.plan import Dice, Ribbon, World
from memorysam.data.scenes.plots import LEAVES, Style, plant

KERB: Final = 0.15
"""Height of sidewalks."""
_UNDER: Final = 1e6
"""Layer of what is painted on the ground, below everything that stands."""

_WHITE, _RED, _BLUE, _YELLOW = (0.75, 0.75, 0.72), (0.55, 0.03, 0.03), (0.03, 0.10, 0.45), (0.70, 0.54, 0.05)
_PLATES: Final[dict[str, tuple[tuple[Rgb, Rgb], ...]]] = {
    "sign_round": ((_RED, _WHITE), (_BLUE, _WHITE), (_RED, _RED)),
    "sign_square": ((_BLUE, _WHITE), (_WHITE, _YELLOW)),
    "sign_triangle": ((_RED, _WHITE),),
    "sign_board": ((_BLUE, _WHITE), ((0.03, 0.22, 0.10), _WHITE), (_YELLOW, (0.05, 0.05, 0.05))),
}
"""Colours of plates and of what is on them."""


def lay_ground(world: World, dice: Dice) -> None:
    """Lay sidewalks, the carriageway, its markings, a crossing street, and traces of use."""
    road = world.road
    for side in (-1, 1):
        width, edge = road.walk[side > 0], road.edge(side)
        if width:
            inner, outer = side * edge, side * (edge + width)
            world.ribbons.append(Ribbon("SideWalk", "walk", min(inner, outer), max(inner, outer), KERB, KERB))
            world.ribbons.append(Ribbon("SideWalk", "kerb", inner, inner, 0, KERB))
    world.ribbons.append(Ribbon("Road", "road", -road.edge(-1), road.edge(1)))
    if not dice.chance(0.12):  # else worn away, or never painted
        _mark(world, dice)
    for _ in range(dice.count(0, 5)):  # repairs
        s, z = dice.between(-road.edge(-1) + 1, road.edge(1) - 1), dice.between(4, 40)
        size = (dice.between(0.6, 2.5), 1.0, dice.between(0.6, 6))
        world.along("road", s, z, size=size, first=dice.tint(world.ground["road"], 0.35), layer=_UNDER)
    if world.junction:
        z, width = world.junction
        world.along("road", 0, z, size=(160, 1, width), first=world.ground["road"], layer=_UNDER - 1)
        if dice.chance(0.75):
            _zebra(world, z - width / 2 - 2.2, dice.between(2.5, 3.5))
        if dice.chance(0.5):
            _zebra(world, z + width / 2 + 2.2, 3)
        half = road.lanes[1] * road.lane
        _paint(world, half / 2, z - width / 2 - 4.6, half, 0.4)
    elif dice.chance(0.25):
        _zebra(world, dice.between(7, 35), dice.between(2.5, 4))


def _paint(world: World, s: float, z: float, wide: float, long: float) -> None:
    world.along("line", s, z, size=(wide, 1, long), first=world.ground["line"], layer=_UNDER - 2)


def _zebra(world: World, z: float, length: float) -> None:
    s = 0.6 - world.road.edge(-1)
    while s < world.road.edge(1) - 0.4:
        _paint(world, s, z, 0.5, length)
        s += 1.0


def _mark(world: World, dice: Dice) -> None:
    """Paint lines between and beside the lanes: solid ones are ribbons, dashes are patches."""
    road = world.road
    solid = []
    dashed = [side * n * road.lane for side in (-1, 1) for n in range(1, road.lanes[side > 0])]
    middle = dice.weighted({"dashes": 3, "double": 2, "single": 1})
    if middle == "dashes":
        dashed.append(0.0)
    else:
        solid += [-0.18, 0.18] if middle == "double" else [0.0]
    if dice.chance(0.7):
        for side in (-1, 1):
            inwards = 0.0 if road.parking[side > 0] else 0.25
            solid.append(side * (road.lanes[side > 0] * road.lane - inwards))
    world.ribbons += [Ribbon("RoadLine", "line", s - 0.075, s + 0.075) for s in solid]
    dash, gap = dice.pick(((3.0, 4.5), (3.0, 9.0), (1.5, 3.0)))
    for s in dashed:
        z = 1.0 + dice.between(0, dash + gap)
        while z < 75:
            if not world.near_junction(z, 3):
                _paint(world, s, z + dash / 2, 0.15, dash)
            z += dash + gap


def furnish(world: World, dice: Dice, style: Style) -> None:
    """Set lamps, trees, signs, bollards and traffic lights along the kerbs."""
    road = world.road
    grey = dice.tint((0.14, 0.14, 0.15), 0.4)
    for side in (-1, 1):
        edge, y = road.edge(side), KERB if road.walk[side > 0] else 0.0
        if dice.chance(0.75):
            step, z = dice.between(18, 32), dice.between(4, 26)
            while z < 95:
                world.facing("lamp", side * (edge + 0.5), z, y=y, size=(side, 1, 1), first=grey)
                world.lamps.append((road.x(z) + side * (edge - 1.4), 6.8, z))
                z += step
        elif dice.chance(0.5):
            z = dice.between(5, 25)
            while z < 95:
                world.facing("post", side * (edge + 0.6), z, y=y, size=(0.26, 8.5, 1), first=(0.13, 0.09, 0.06))
                z += 27
        if dice.chance(style.trees):
            leaves, shape = dice.pick(LEAVES), dice.pick(TREES[:3])
            step, z = dice.between(8, 14), dice.between(5, 16)
            while z < 90:
                if not world.near_junction(z, 5):
                    plant(world, dice, side * (edge + 1.0), z + dice.bell(0.6), leaves, shape, y)
                z += step
        for _ in range(dice.count(0, 2) if side < 0 else dice.count(0, 4)):
            shape, s, z = dice.pick(SIGNS), side * (edge + dice.between(0.4, 0.9)), dice.between(6, 45)
            plate, symbol = dice.pick(_PLATES[shape])
            world.along(shape, s, z, dice.bell(0.15), y=y, first=plate, second=symbol)
        if dice.chance(0.15):
            z = dice.between(4, 12)
            for n in range(dice.count(4, 10)):
                world.facing("bollard", side * (edge + 0.35), z + 2 * n, y=y, first=grey, second=(0.6, 0.6, 0.55))
    if world.junction:
        _signal(world, dice, *world.junction, grey)
    elif dice.chance(0.2):
        _signal(world, dice, dice.between(14, 40), 0.0, grey)


def _signal(world: World, dice: Dice, z: float, width: float, grey: Rgb) -> None:
    """Set traffic lights on both sides of a crossing, some of them on arms over the road."""
    if not dice.chance(0.85):
        return
    shown = dice.pick(("red", "green"))
    for at in (z - width / 2 - 3.5, z + width / 2 + 3):
        for side in (-1, 1):
            if at > 5 and dice.chance(0.8):
                shape = f"{'arm' if dice.chance(0.4) else 'lights'}_{shown}"
                world.facing(shape, side * (world.road.edge(side) + 0.6), at, y=KERB, size=(side, 1, 1), first=grey)
