"""The street itself: its ground, the plots beside it, and what is fixed to it."""

from dataclasses import dataclass
from typing import Final

from memorysam.data.scenes.materials import Rgb
from memorysam.data.scenes.models import SIGNS, TREES
from memorysam.data.scenes.plan import Dice, Ribbon, World

KERB: Final = 0.15
"""Height of sidewalks."""
_FAR: Final = 140.0
"""How far plots reach."""
_UNDER: Final = 1e6
"""Layer of what is painted on the ground."""

FACADES: Final[tuple[Rgb, ...]] = (
    (0.32, 0.30, 0.27), (0.42, 0.36, 0.27), (0.27, 0.15, 0.10), (0.20, 0.20, 0.21), (0.50, 0.48, 0.44),
    (0.36, 0.27, 0.17), (0.24, 0.27, 0.31), (0.15, 0.15, 0.16), (0.40, 0.22, 0.15),
)  # fmt: skip
_ROOFS: Final[tuple[Rgb, ...]] = ((0.22, 0.08, 0.05), (0.10, 0.10, 0.11), (0.16, 0.12, 0.10), (0.28, 0.27, 0.25))
_FENCES: Final[tuple[Rgb, ...]] = ((0.17, 0.11, 0.06), (0.07, 0.11, 0.05), (0.24, 0.24, 0.24), (0.45, 0.44, 0.41))
_LEAVES: Final[tuple[Rgb, ...]] = ((0.05, 0.09, 0.025), (0.07, 0.10, 0.03), (0.09, 0.10, 0.03), (0.035, 0.065, 0.03))
_AUTUMN: Final[tuple[Rgb, ...]] = ((0.22, 0.12, 0.03), (0.16, 0.07, 0.025))
CAR_COLOURS: Final[tuple[Rgb, ...]] = (
    (0.11, 0.11, 0.115), (0.16, 0.16, 0.165), (0.22, 0.22, 0.23), (0.035, 0.035, 0.04), (0.60, 0.60, 0.60), (0.35, 0.36, 0.37),
    (0.30, 0.03, 0.03), (0.04, 0.07, 0.22), (0.05, 0.10, 0.07), (0.35, 0.28, 0.08), (0.20, 0.15, 0.10), (0.02, 0.16, 0.24),
)  # fmt: skip
"""Half of them greys that roads and walls have as well."""
_SHOPS: Final[tuple[Rgb, ...]] = ((0.35, 0.05, 0.04), (0.04, 0.12, 0.25), (0.05, 0.16, 0.08), (0.35, 0.26, 0.06), (0.06, 0.06, 0.06))
_PLATES: Final[dict[str, tuple[tuple[Rgb, Rgb], ...]]] = {
    "sign_round": (((0.55, 0.03, 0.03), (0.75, 0.75, 0.72)), ((0.03, 0.10, 0.45), (0.75, 0.75, 0.75)), ((0.55, 0.03, 0.03), (0.55, 0.03, 0.03))),
    "sign_square": (((0.03, 0.10, 0.45), (0.75, 0.75, 0.75)), ((0.75, 0.75, 0.72), (0.70, 0.52, 0.05))),
    "sign_triangle": (((0.55, 0.03, 0.03), (0.75, 0.75, 0.72)),),
    "sign_board": (((0.03, 0.10, 0.40), (0.72, 0.72, 0.72)), ((0.03, 0.22, 0.10), (0.72, 0.72, 0.72)), ((0.70, 0.55, 0.05), (0.05, 0.05, 0.05))),
}  # fmt: skip


@dataclass(frozen=True)
class Style:
    """What kind of town a map is."""

    plots: dict[str, float]
    """Weights of what lies beside the road."""
    storeys: tuple[int, int]
    wide: float
    """Chance of two lanes in a direction."""
    parking: float
    walk: float
    """Chance of a sidewalk on a side."""
    trees: float
    """Chance of trees along the kerb."""
    people: float
    """Mean number of walkers on the sidewalks."""
    heavy: float
    """Share of buses and trucks among what drives."""
    junction: float = 0.45


STYLES: Final = (
    Style({"block": 8, "park": 1, "wall": 0.7, "yard": 0.7}, (4, 11), 0.7, 0.5, 1.0, 0.4, 6, 0.3, 0.6),
    Style({"block": 6, "house": 1, "wall": 1.5, "park": 0.6}, (2, 4), 0.1, 0.6, 1.0, 0.25, 6, 0.15),
    Style({"house": 7, "park": 1, "field": 1, "wall": 0.6}, (2, 3), 0.1, 0.5, 0.85, 0.5, 3, 0.15),
    Style({"park": 5, "block": 2, "house": 2}, (3, 6), 0.5, 0.4, 0.9, 0.8, 4, 0.2),
    Style({"hall": 4, "wall": 3, "yard": 3, "field": 1}, (2, 3), 0.4, 0.35, 0.75, 0.15, 2, 0.5),
    Style({"field": 5, "park": 3, "house": 2, "wall": 0.5}, (2, 2), 0.1, 0.1, 0.3, 0.35, 1.5, 0.25, 0.3),
    Style({"block": 2, "house": 2, "park": 2, "wall": 2, "yard": 2, "hall": 1}, (2, 7), 0.4, 0.4, 0.9, 0.4, 4, 0.25),
    Style({"hall": 2, "block": 3, "park": 3, "yard": 2}, (3, 6), 0.4, 0.4, 0.95, 0.5, 5, 0.3, 0.6),
)
"""One for each map."""


def lay_ground(world: World, dice: Dice) -> None:
    """Lay sidewalks, the carriageway, its markings, a crossing street, and traces of use."""
    road = world.road
    ribbons = world.ribbons
    for side in (-1, 1):
        width, edge = road.walk[side > 0], road.edge(side)
        if width:
            inner, outer = side * edge, side * (edge + width)
            ribbons.append(Ribbon("SideWalk", "walk", min(inner, outer), max(inner, outer), KERB, KERB))
            ribbons.append(Ribbon("SideWalk", "kerb", inner, inner, 0, KERB, upright=True))
    ribbons.append(Ribbon("Road", "road", -road.edge(-1), road.edge(1)))
    worn = dice.chance(0.12)
    if not worn:
        _mark(world, dice)
    for _ in range(dice.count(0, 5)):  # repairs and covers
        shade = dice.tint(world.ground["road"], 0.35)
        size = (dice.between(0.6, 2.5), 1.0, dice.between(0.6, 6))
        world.along("road", dice.between(-road.edge(-1) + 1, road.edge(1) - 1), dice.between(4, 40), size=size, first=shade, layer=_UNDER)
    if world.junction:
        z, width = world.junction
        x, turn, paint = world.road.x(z), world.road.heading(z), world.ground["line"]
        world.add("road", x, z, yaw=turn, size=(160, 1, width), first=world.ground["road"], layer=_UNDER - 1)
        if dice.chance(0.75):
            _zebra(world, z - width / 2 - 2.2, dice.between(2.5, 3.5), paint)
        if dice.chance(0.5):
            _zebra(world, z + width / 2 + 2.2, 3, paint)
        half = road.lanes[1] * road.lane
        world.along("line", half / 2, z - width / 2 - 4.6, size=(half, 1, 0.4), first=paint, layer=_UNDER - 2)
    elif dice.chance(0.25):
        _zebra(world, dice.between(7, 35), dice.between(2.5, 4), world.ground["line"])


def _zebra(world: World, z: float, length: float, paint: Rgb) -> None:
    road = world.road
    s = -road.edge(-1) + 0.6
    while s < road.edge(1) - 0.4:
        world.along("line", s, z, size=(0.5, 1, length), first=paint, layer=_UNDER - 2)
        s += 1.0


def _mark(world: World, dice: Dice) -> None:
    """Lines between and beside the lanes: solid ones are ribbons, dashes are patches."""
    road, paint = world.road, world.ground["line"]
    dashed = [side * n * road.lane for side in (-1, 1) for n in range(1, road.lanes[side > 0])]
    middle = dice.weighted({"dashes": 3, "double": 2, "single": 1})
    if middle == "dashes":
        dashed.append(0.0)
    else:
        for s in (-0.18, 0.18) if middle == "double" else (0.0,):
            world.ribbons.append(Ribbon("RoadLine", "line", s - 0.075, s + 0.075))
    if dice.chance(0.7):
        for side in (-1, 1):
            s = side * (road.lanes[side > 0] * road.lane - (0.0 if road.parking[side > 0] else 0.25))
            world.ribbons.append(Ribbon("RoadLine", "line", s - 0.075, s + 0.075))
    dash, gap = dice.pick(((3.0, 4.5), (3.0, 9.0), (1.5, 3.0)))
    for s in dashed:
        z = 1.0 + dice.between(0, dash + gap)
        while z < 75:
            inside = world.junction and abs(z - world.junction[0]) < world.junction[1] / 2 + 3
            if not inside:
                world.along("line", s, z + dash / 2, size=(0.15, 1, dash), first=paint, layer=_UNDER - 2)
            z += dash + gap


def build_plots(world: World, dice: Dice, style: Style) -> None:
    """Line both sides of the road with plots, open where a street crosses; what is behind shows a skyline."""
    road = world.road
    gap = (world.junction[0] - world.junction[1] / 2 - 2, world.junction[0] + world.junction[1] / 2 + 2) if world.junction else None
    palette = [dice.tint(dice.pick(FACADES)) for _ in range(3)]
    leaves = dice.pick(_AUTUMN) if dice.chance(0.12) else dice.pick(_LEAVES)
    for side in (-1, 1):
        edge = road.edge(side) + road.walk[side > 0]
        kind = dice.weighted(style.plots)
        z = dice.between(-9, -3)
        while z < _FAR:
            length = dice.between(9, 17) * (1 if z < 60 else 1.5)
            if gap and z < gap[1] and z + length > gap[0]:
                if gap[0] - z > 4:
                    length = gap[0] - z
                else:
                    z = gap[1]
                    continue
            if dice.chance(0.35):
                kind = dice.weighted(style.plots)
            _plot(world, dice, style, kind, side, edge, z, length, palette, leaves)
            z += length
    for _ in range(dice.count(6, 12)):  # the skyline
        x, far = dice.between(-170, 170), dice.between(150, 230)
        if dice.chance(0.55):
            green = dice.tint(leaves, 0.15)
            world.add("grove", x, far, size=(dice.between(1.5, 3), dice.between(0.8, 1.8), 1), first=green, second=green, layer=far)
        else:
            size = (dice.between(15, 40), dice.between(8, 45), 15.0)
            world.add("building", x, far, size=size, first=dice.tint(dice.pick(palette)), layer=far, shift=dice.between(0, 1))


def _plot(
    world: World, dice: Dice, style: Style, kind: str, side: int, edge: float, z: float, length: float,
    palette: list[Rgb], leaves: Rgb,
) -> None:  # fmt: skip
    """Fill one plot, from its back to its front; everything in it is sorted by its far end."""
    middle, end = z + length / 2, z + length
    colour, shift = dice.tint(dice.pick(palette), 0.1), dice.between(0, 1)

    def stand(shape: str, s: float, size: tuple[float, float, float], front: int, at: float = middle, second: Rgb = (0.2, 0.2, 0.2), y: float = 0.0) -> None:
        world.along(shape, side * s, at, y=y, size=size, first=colour, second=second, layer=end - 0.01 * front, shift=shift)

    if kind == "block":
        depth, height = 12.0, 3.1 * dice.count(*style.storeys) + dice.between(0.3, 1.2)
        setback = dice.pick((0.0, 0.0, 0.0, 2.0)) + 0.15
        stand("building", edge + setback + depth / 2, (depth, height, length - dice.pick((0.0, 0.0, 1.5))), 0)
        if dice.chance(0.5):
            stand("shop", edge + setback + depth / 2, (depth + 0.2, 2.9, 0.86 * length), 1)
            stand("band", edge + setback + depth / 2, (depth + 0.6, 0.6, 0.9 * length), 2, second=dice.tint(dice.pick(_SHOPS)), y=2.9)
        return
    if kind == "hall":
        depth, setback = 18.0, dice.between(1, 7)
        stand("hall", edge + setback + depth / 2, (depth, dice.between(5, 10), length - 1), 0, second=dice.tint(dice.pick(_ROOFS)))
    elif kind == "house":
        depth, setback = dice.between(7, 9), dice.between(3, 6)
        stand("house", edge + setback + depth / 2, (depth, dice.between(6, 9.5), 0.72 * length), 0, second=dice.tint(dice.pick(_ROOFS)))
    elif kind == "wall" and dice.chance(0.6):
        stand("building", edge + 12, (10, 3.1 * dice.count(*style.storeys), 0.8 * length), 0)
    elif kind == "yard":
        for _ in range(dice.count(1, 3)):
            shape, paint = dice.pick(("sedan", "hatchback", "suv", "van")), dice.tint(dice.pick(CAR_COLOURS))
            at = dice.between(z + 2.5, end - 2.5)
            world.along(shape, side * (edge + dice.between(3, 7)), at, turn=dice.pick((1.57, -1.57, 0.0)), first=paint, layer=end - 0.02, lit=0)
    trees = {"park": dice.count(2, 4), "house": dice.count(0, 2), "field": dice.count(0, 1), "wall": dice.count(0, 1)}.get(kind, 0)
    for _ in range(trees):
        plant(world, dice, side * (edge + dice.between(1.8, 11)), dice.between(z + 1, end - 1), leaves, 0.0, dice.pick(TREES))
    for _ in range(dice.count(0, 2) if kind in ("park", "field", "house") else 0):
        plant(world, dice, side * (edge + dice.between(0.8, 5)), dice.between(z + 1, end - 1), leaves, 0.0, "bush")
    front = {
        "wall": {"wall": 3.0, "brick_wall": 2.0},
        "house": {"fence": 3.0, "wall": 1.0, "hedge": 2.0, "brick_wall": 1.0, "none": 2.0},
        "park": {"fence": 2.0, "hedge": 1.5, "none": 4.0},
        "yard": {"fence": 3.0, "wall": 1.0},
        "hall": {"fence": 2.0, "none": 2.0, "hedge": 1.0},
        "field": {"fence": 1.0, "none": 5.0},
    }[kind]
    shape = dice.weighted(front)
    if shape != "none":
        height = dice.between(1.5, 3.4) if kind == "wall" else dice.between(0.8, 1.9)
        thick = 0.9 if shape == "hedge" else 0.25
        colour = dice.tint(leaves if shape == "hedge" else dice.pick(_FENCES if shape == "fence" else FACADES), 0.15)
        stand(shape, edge + 0.3 + thick / 2, (thick, height, length), 5, second=colour)


def plant(world: World, dice: Dice, s: float, z: float, leaves: Rgb, y: float, shape: str) -> None:
    """Plant a tree or a bush."""
    dark = dice.tint(leaves, 0.15)
    light = tuple(1.45 * c for c in dark)
    grown = dice.between(0.75, 1.3)
    size = (grown * dice.pick((-1, 1)), grown * dice.between(0.85, 1.15), grown)
    world.along(shape, s, z, facing=True, y=y, size=size, first=dark, second=light, shift=dice.between(0, 1))


def furnish(world: World, dice: Dice, style: Style) -> None:
    """Set lamps, trees, signs and traffic lights along the kerbs."""
    road = world.road
    grey = dice.tint((0.14, 0.14, 0.15), 0.4)
    for side in (-1, 1):
        edge, y = road.edge(side), KERB if road.walk[side > 0] else 0.0
        if dice.chance(0.75):
            step, z = dice.between(18, 32), dice.between(4, 26)
            while z < 95:
                world.along("lamp", side * (edge + 0.5), z, facing=True, y=y, size=(side, 1, 1), first=grey)
                world.lamps.append((road.x(z) + side * (edge - 1.4), 6.8, z))
                z += step
        elif dice.chance(0.5):
            z = dice.between(5, 25)
            while z < 95:
                world.along("post", side * (edge + 0.6), z, facing=True, y=y, size=(0.26, 8.5, 1), first=(0.13, 0.09, 0.06))
                z += 27
        if dice.chance(style.trees):
            leaves, shape = dice.pick(_LEAVES), dice.pick(TREES[:3])
            step, z = dice.between(8, 14), dice.between(5, 16)
            while z < 90:
                if not (world.junction and abs(z - world.junction[0]) < world.junction[1] / 2 + 5):
                    plant(world, dice, side * (edge + 1.0), z + dice.bell(0.6), leaves, y, shape)
                z += step
        for _ in range(dice.count(0, 2) if side < 0 else dice.count(0, 4)):
            shape = dice.pick(SIGNS)
            first, second = dice.pick(_PLATES[shape])
            z = dice.between(6, 45)
            world.along(shape, side * (edge + dice.between(0.4, 0.9)), z, turn=dice.bell(0.15), y=y, first=first, second=second)
        if dice.chance(0.15):
            z = dice.between(4, 12)
            for n in range(dice.count(4, 10)):
                world.along("bollard", side * (edge + 0.35), z + 2 * n, facing=True, y=y, first=grey, second=(0.6, 0.6, 0.55))
    if world.junction:
        _signal(world, dice, world.junction[0], world.junction[1], grey)
    elif dice.chance(0.2):
        _signal(world, dice, dice.between(14, 40), 0.0, grey)


def _signal(world: World, dice: Dice, z: float, width: float, grey: Rgb) -> None:
    """Traffic lights on both sides of a crossing, some on arms over the road."""
    if not dice.chance(0.85):
        return
    road, shown = world.road, dice.pick(("red", "green"))
    for side, at in ((1, z - width / 2 - 3.5), (-1, z - width / 2 - 3.5), (1, z + width / 2 + 3), (-1, z + width / 2 + 3)):
        if at > 5 and dice.chance(0.8):
            shape = f"{'arm' if dice.chance(0.4) else 'lights'}_{shown}"
            world.along(shape, side * (road.edge(side) + 0.6), at, facing=True, y=KERB, size=(side, 1, 1), first=grey)
