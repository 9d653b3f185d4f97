"""What lies beside the road: plots with buildings, gardens, parks, walls and yards, and the skyline behind them."""

from dataclasses import dataclass
from typing import Final

from memorysam.data.scenes.materials import Rgb
from memorysam.data.scenes.models import CARS, TREES
from memorysam.data.scenes.plan import Dice, Look, Triple, World

_FAR: Final = 140.0
"""How far plots reach."""

CAR_COLOURS: Final[tuple[Rgb, ...]] = (
    (0.11, 0.11, 0.115), (0.16, 0.16, 0.165), (0.22, 0.22, 0.23), (0.035, 0.035, 0.04), (0.60, 0.60, 0.60),
    (0.35, 0.36, 0.37), (0.30, 0.03, 0.03), (0.04, 0.07, 0.22), (0.05, 0.10, 0.07), (0.35, 0.28, 0.08),
    (0.20, 0.15, 0.10), (0.02, 0.16, 0.24),
)  # fmt: skip
"""Half of them greys that roads and walls have as well."""
LEAVES: Final[tuple[Rgb, ...]] = ((0.05, 0.09, 0.025), (0.07, 0.10, 0.03), (0.09, 0.10, 0.03), (0.035, 0.065, 0.03))
_AUTUMN: Final[tuple[Rgb, ...]] = ((0.22, 0.12, 0.03), (0.16, 0.07, 0.025))
_FACADES: Final[tuple[Rgb, ...]] = (
    (0.32, 0.30, 0.27), (0.42, 0.36, 0.27), (0.27, 0.15, 0.10), (0.20, 0.20, 0.21), (0.50, 0.48, 0.44),
    (0.36, 0.27, 0.17), (0.24, 0.27, 0.31), (0.15, 0.15, 0.16), (0.40, 0.22, 0.15),
)  # fmt: skip
_ROOFS: Final[tuple[Rgb, ...]] = ((0.22, 0.08, 0.05), (0.10, 0.10, 0.11), (0.16, 0.12, 0.10), (0.28, 0.27, 0.25))
_FENCES: Final[tuple[Rgb, ...]] = ((0.17, 0.11, 0.06), (0.07, 0.11, 0.05), (0.24, 0.24, 0.24), (0.45, 0.44, 0.41))
_SHOPS: Final[tuple[Rgb, ...]] = ((0.35, 0.05, 0.04), (0.04, 0.12, 0.25), (0.05, 0.16, 0.08), (0.35, 0.26, 0.06))


@dataclass(frozen=True)
class Style:
    """What kind of town a map is."""

    plots: dict[str, float]
    """Weights of what lies beside the road."""
    storeys: tuple[int, int]
    wide: float
    """Chance of two lanes in a direction."""
    parking: float
    """Chance of a parking lane on a side."""
    walk: float
    """Chance of a sidewalk on a side."""
    trees: float
    """Chance of trees along a kerb."""
    people: float
    """Mean number of groups on the sidewalks."""
    heavy: float
    """Share of buses and trucks among what drives."""
    junction: float = 0.45
    """Chance of a crossing street."""


STYLES: Final = (
    Style({"block": 7, "park": 1, "wall": 1.5, "yard": 1}, (4, 11), 0.7, 0.5, 1.0, 0.4, 6, 0.3, 0.6),
    Style({"block": 5, "house": 1, "wall": 2.5, "park": 0.6}, (2, 4), 0.1, 0.6, 1.0, 0.25, 6, 0.15),
    Style({"house": 6, "park": 1, "field": 2, "wall": 1.5}, (2, 3), 0.1, 0.5, 0.85, 0.5, 3, 0.15),
    Style({"park": 5, "block": 2, "house": 2, "wall": 1}, (3, 6), 0.5, 0.4, 0.9, 0.8, 4, 0.2),
    Style({"hall": 3, "wall": 4, "yard": 3, "field": 1}, (2, 3), 0.4, 0.35, 0.75, 0.15, 2, 0.5),
    Style({"field": 5, "park": 3, "house": 2, "wall": 1}, (2, 2), 0.1, 0.1, 0.3, 0.35, 1.5, 0.25, 0.3),
    Style({"block": 2, "house": 2, "park": 2, "wall": 3, "yard": 2, "hall": 1}, (2, 7), 0.4, 0.4, 0.9, 0.4, 4, 0.25),
    Style({"hall": 2, "block": 3, "park": 3, "yard": 2}, (3, 6), 0.4, 0.4, 0.95, 0.5, 5, 0.3, 0.6),
)
"""One for each map."""

_FRONTS: Final[dict[str, dict[str, float]]] = {
    "wall": {"wall": 3, "brick_wall": 2},
    "house": {"fence": 3, "wall": 1, "hedge": 2, "brick_wall": 1, "open": 2},
    "park": {"fence": 2, "hedge": 1.5, "open": 4},
    "yard": {"fence": 3, "wall": 1},
    "hall": {"fence": 2, "open": 2, "hedge": 1},
    "field": {"fence": 1, "open": 5},
}
"""What parts a kind of plot from the street, by weight."""
_MOST_TREES: Final = {"park": 4, "house": 2, "field": 1, "wall": 1}


def build_plots(world: World, dice: Dice, style: Style) -> None:
    """Line both sides of the road with plots, open where a street crosses; behind them stands a skyline."""
    palette = [dice.tint(dice.pick(_FACADES)) for _ in range(3)]
    leaves = dice.pick(_AUTUMN if dice.chance(0.12) else LEAVES)
    middle, width = world.junction or (1e9, 0.0)
    begin, end = middle - width / 2 - 2, middle + width / 2 + 2
    for side in (-1, 1):
        kind, z = dice.weighted(style.plots), dice.between(-9, -3)
        while z < _FAR:
            length = dice.between(9, 17) * (1 if z < 60 else 1.5)
            if z < end and z + length > begin:
                length = begin - z
            if length < 4:
                z = end
                continue
            if dice.chance(0.35):
                kind = dice.weighted(style.plots)
            _Plot(world, dice, style, side, z, length, dice.tint(dice.pick(palette), 0.1), leaves).fill(kind)
            z += length
    for _ in range(dice.count(6, 12)):
        x, far = dice.between(-170, 170), dice.between(150, 230)
        if dice.chance(0.55):
            green, size = dice.tint(leaves, 0.15), (dice.between(1.5, 3), dice.between(0.8, 1.8), 1.0)
            world.add("grove", x, far, size=size, first=green, second=green, layer=far)
        else:
            colour, size = dice.tint(dice.pick(palette)), (dice.between(15, 40), dice.between(8, 45), 15.0)
            world.add("building", x, far, size=size, first=colour, layer=far, shift=dice.between(0, 1))


def plant(
    world: World, dice: Dice, s: float, z: float, leaves: Rgb, shape: str, y: float = 0.0, layer: float = 0.0
) -> None:
    """Plant a tree or a bush."""
    red, green, blue = dice.tint(leaves, 0.15)
    light, grown = (1.45 * red, 1.45 * green, 1.45 * blue), dice.between(0.75, 1.3)
    size = (grown * dice.pick((-1, 1)), grown * dice.between(0.85, 1.15), grown)
    look: Look = {"first": (red, green, blue), "second": light, "size": size, "y": y, "layer": layer}
    look["shift"] = dice.between(0, 1)
    world.facing(shape, s, z, **look)


@dataclass
class _Plot:
    """A stretch beside the road, filled from its back to its front; what it holds is sorted by its far end."""

    world: World
    dice: Dice
    style: Style
    side: int
    z: float
    length: float
    colour: Rgb
    leaves: Rgb

    def fill(self, kind: str) -> None:
        """Build what its kind demands."""
        dice = self.dice
        self.edge = self.world.road.edge(self.side) + self.world.road.walk[self.side > 0]
        self.shift = dice.between(0, 1)
        if kind == "block":
            self._block()
            return
        if kind == "hall":
            size = (18.0, dice.between(5, 10), self.length - 1)
            self._stand("hall", dice.between(1, 7), size, 0, second=dice.pick(_ROOFS))
        elif kind == "house":
            size = (dice.between(7, 9), dice.between(6, 9.5), 0.72 * self.length)
            self._stand("house", dice.between(3, 6), size, 0, second=dice.tint(dice.pick(_ROOFS)))
        elif kind == "wall" and dice.chance(0.6):
            self._stand("building", 7, (10, 3.1 * dice.count(*self.style.storeys), 0.8 * self.length), 0)
        elif kind == "yard":
            self._park()
        self._grow(kind)
        front = dice.weighted(_FRONTS[kind])
        if front != "open":
            height = dice.between(1.6, 4.0) if kind == "wall" else dice.between(0.9, 2.2)
            paint = {"hedge": self.leaves, "fence": dice.pick(_FENCES)}.get(front, dice.pick(_FACADES))
            self.colour = dice.tint(paint, 0.15)
            self._stand(front, 0.3, (0.9 if front == "hedge" else 0.25, height, self.length), 5, second=self.colour)

    def _stand(
        self, shape: str, setback: float, size: Triple, front: int, second: Rgb = _ROOFS[0], y: float = 0
    ) -> None:
        """Put a box along the plot, so far behind its edge; `front` orders what is in the same plot."""
        s, z = self.side * (self.edge + setback + size[0] / 2), self.z + self.length / 2
        look: Look = {"first": self.colour, "second": second, "y": y, "size": size, "shift": self.shift}
        look["layer"] = self.z + self.length - 0.01 * front
        self.world.along(shape, s, z, **look)

    def _block(self) -> None:
        """A building at the sidewalk, perhaps with a shop."""
        dice, deep = self.dice, 12.0
        height = 3.1 * dice.count(*self.style.storeys) + dice.between(0.3, 1.2)
        setback = dice.pick((0.0, 0.0, 0.0, 2.0)) + 0.3
        self._stand("building", setback, (deep, height, self.length - dice.pick((0.0, 0.0, 1.5))), 0)
        if dice.chance(0.5):
            self._stand("shop", setback - 0.1, (deep, 2.9, 0.86 * self.length), 1)
            sign = dice.tint(dice.pick(_SHOPS))
            self._stand("band", setback - 0.3, (deep, 0.6, 0.9 * self.length), 2, second=sign, y=2.9)

    def _park(self) -> None:
        """Cars stand about."""
        dice = self.dice
        for _ in range(dice.count(1, 3)):
            s, z = self.side * (self.edge + dice.between(3, 7)), self.z + dice.between(2.5, max(2.6, self.length - 2.5))
            colour, layer = dice.tint(dice.pick(CAR_COLOURS)), self.z + self.length - 0.02
            self.world.along(dice.pick(CARS), s, z, dice.pick((1.57, -1.57, 0.0)), first=colour, layer=layer, lit=0)

    def _grow(self, kind: str) -> None:
        """Trees and bushes."""
        dice, end = self.dice, self.z + self.length
        trees = dice.count(2 if kind == "park" else 0, _MOST_TREES.get(kind, 0))
        bushes = dice.count(0, 2) if kind in ("park", "field", "house") else 0
        deep = 11 if kind in ("park", "field") else 3  # else a building stands there
        for n in range(trees + bushes):
            shape, back = dice.pick(TREES) if n < trees else "bush", dice.between(1.5, deep)
            z = dice.between(self.z + 1, end - 1)
            layer = end - 0.02 - 0.02 * (end - z) / self.length  # before the building, behind the fence
            plant(self.world, dice, self.side * (self.edge + back), z, self.leaves, shape, layer=layer)
