"""The models of the world: streets are furnished with these, scaled, turned and coloured."""

from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np

from memorysam.data.scenes.shapes import CORNERS, Library, Shape, assemble

WALK: Final = ("person", "person_walking", "person_striding")
CARS: Final = ("sedan", "hatchback", "suv", "van")
TREES: Final = ("tree_round", "tree_wide", "tree_tall", "conifer")
SIGNS: Final = ("sign_round", "sign_square", "sign_triangle", "sign_board")


@cache
def library() -> Library:
    """Return every model."""
    return assemble({name: build() for name, build in _MODELS.items()})


def _patch(kind: str, material: str) -> Callable[[], Shape]:
    """A metre by a metre, flat on the ground."""

    def build() -> Shape:
        shape = Shape(kind, lift=None)
        shape.face([(-0.5, 0, -0.5), (0.5, 0, -0.5), (0.5, 0, 0.5), (-0.5, 0, 0.5)], material, (0, 1, 0))
        return shape

    return build


def _block(kind: str, side: str, top: str | None = None) -> Callable[[], Shape]:
    """A box of a metre in each direction."""

    def build() -> Shape:
        shape = Shape(kind)
        shape.box((-0.5, 0.5), (0, 1), (-0.5, 0.5), side, top)
        return shape

    return build


def _house() -> Shape:
    """A gable roof over four walls, in a box of one metre; the ridge runs along z."""
    shape = Shape("Building")
    shape.box((-0.5, 0.5), (0, 0.62), (-0.5, 0.5), "facade")
    for z, way in ((-0.5, -1), (0.5, 1)):
        shape.face([(-0.5, 0.62, z), (0.5, 0.62, z), (0, 1, z), (0, 1, z)], "plaster", (0, 0, way))
    for way in (-1, 1):
        eave = 0.55 * way
        shape.face([(eave, 0.58, -0.54), (eave, 0.58, 0.54), (0, 1, 0.54), (0, 1, -0.54)], "roof", (way, 1, 0))
    return shape


def _crown(blobs: int, seed: int, middle: float, wide: float, high: float, trunk: float) -> Callable[[], Shape]:
    """A trunk under a heap of ragged discs, the lower and outer ones darker."""

    def build() -> Shape:
        rng, shape = np.random.default_rng((91, seed)), Shape("Vegetation", lift=0.3)
        if trunk:
            shape.sheet((-trunk, trunk), (0, middle), "bark", top=(-0.6 * trunk, 0.6 * trunk))
        around = np.linspace(0, 2 * np.pi, blobs, endpoint=False) + rng.uniform(0, 1)
        places = [(0.55 * wide * np.cos(a), middle + 0.5 * high * np.sin(a), 0.3 * wide * np.sin(3 * a)) for a in around]
        for x, y, z in [*sorted(places, key=lambda place: -place[2]), (0.0, middle + 0.1 * high, -0.4 * wide)]:
            size = rng.uniform(0.42, 0.6)
            ragged = rng.uniform(-0.13, 0.1, CORNERS)
            material = "leaf_light" if y > middle else "leaf"
            shape.disc((x, y, z), (size * wide, size * high), material, ragged=ragged.tolist())
        return shape

    return build


def _conifer() -> Shape:
    shape = Shape("Vegetation", lift=0.1)
    shape.sheet((-0.13, 0.13), (0, 1.2), "bark")
    for low, high, wide in ((0.8, 3.6, 1.7), (2.2, 5.2, 1.35), (3.8, 7.0, 0.95)):
        shape.sheet((-wide, wide), (low, high), "leaf" if low < 3 else "leaf_light", z=-0.1 * low, top=(-0.12, 0.12))
    return shape


def _lamp() -> Shape:
    """A street lamp whose arm reaches to the left."""
    shape = Shape("Pole", lift=None)
    shape.sheet((-0.11, 0.11), (0, 7), "metal", top=(-0.07, 0.07))
    shape.sheet((-1.9, 0.05), (6.9, 7.02), "metal")
    shape.sheet((-2.3, -1.5), (6.82, 6.98), "lamp", z=-0.02)
    return shape


def _post() -> Shape:
    shape = Shape("Pole", lift=None)
    shape.sheet((-0.5, 0.5), (0, 1), "metal")
    return shape


def _bollard() -> Shape:
    shape = Shape("Pole", lift=None)
    shape.sheet((-0.09, 0.09), (0, 0.95), "metal")
    shape.sheet((-0.09, 0.09), (0.75, 0.85), "symbol", z=-0.01)
    return shape


def _sign(form: str) -> Callable[[], Shape]:
    """A plate on a pole, its symbol in the thing's second colour."""

    def build() -> Shape:
        shape = Shape("TrafficSign", lift=None)
        high = 3.4 if form == "board" else 2.45
        shape.sheet((-0.05, 0.05), (0, high), "metal", kind="Pole")
        if form == "round":
            shape.disc((0, high, -0.03), 0.42, "plate")
            shape.disc((0, high, -0.05), 0.3, "symbol")
        elif form == "triangle":
            shape.sheet((-0.5, 0.5), (high - 0.4, high + 0.45), "plate", -0.03, top=(-0.02, 0.02))
            shape.sheet((-0.3, 0.3), (high - 0.29, high + 0.2), "symbol", -0.05, top=(-0.02, 0.02))
        else:
            wide, tall = (1.3, 0.6) if form == "board" else (0.4, 0.4)
            shape.sheet((-wide, wide), (high - tall, high + tall), "plate", -0.03)
            shape.sheet((-0.7 * wide, 0.7 * wide), (high - 0.25 * tall, high + 0.45 * tall), "symbol", -0.05)
        return shape

    return build


def _signals(shape: Shape, x: float, low: float, shown: str) -> None:
    shape.sheet((x - 0.27, x + 0.27), (low, low + 1.15), "housing", -0.05)
    for place, colour in enumerate(("green", "amber", "red")):
        shape.disc((x, low + 0.2 + 0.375 * place, -0.08), 0.14, colour if colour == shown else "off")


def _lights(shown: str, arm: float) -> Callable[[], Shape]:
    """Traffic lights on a pole, and over the road at the end of an arm to the left."""

    def build() -> Shape:
        shape = Shape("TrafficLight", lift=None)
        shape.sheet((-0.09, 0.09), (0, 5.9 if arm else 3.5), "metal", kind="Pole")
        if arm:
            shape.sheet((-arm, 0), (5.65, 5.8), "metal", kind="Pole")
            _signals(shape, -arm, 4.9, shown)
        _signals(shape, 0, 2.3, shown)
        return shape

    return build


def _wheels(shape: Shape, half_width: float, axles: tuple[float, ...], radius: float) -> None:
    for side in (-1, 1):
        for z in axles:
            for size, material in ((radius, "tyre"), (0.55 * radius, "rim")):
                shape.disc((side * (half_width + 0.01), radius, z), size, material, across=False, outward=(side, 0, 0))


def _end(shape: Shape, z: float, half: float, low: float, high: float, material: str) -> None:
    """A pair of lights and a number plate at the front or the rear."""
    way = (0, 0, 1 if z > 0 else -1)
    for side in (-1, 1):
        a, b = side * 0.62 * half, side * 0.95 * half
        shape.face([(a, low, z), (b, low, z), (b, high, z), (a, high, z)], material, way)
    y = low - 0.12
    shape.face([(-0.26, y - 0.12, z), (0.26, y - 0.12, z), (0.26, y, z), (-0.26, y, z)], "number", way)


def _car(length: float, width: float, belt: float, height: float, cabin: tuple[float, float, float, float]) -> Callable[[], Shape]:
    """A hull with a glazed cabin: `cabin` gives its rear and front at the belt, then at the roof."""

    def build() -> Shape:
        shape, half, end = Shape("Cars"), width / 2, length / 2
        rear, front, roof_rear, roof_front = cabin
        shape.box((-half, half), (0.22, belt), (-end, end), "body", upper=((-0.97 * half, 0.97 * half), (-0.97 * end, 0.96 * end)))
        x, ux = 0.92 * half, 0.74 * half
        shape.box((-x, x), (belt, height), (rear, front), "body", upper=((-ux, ux), (roof_rear, roof_front)))
        low, high = 0.12, 0.86  # the panes' lower and upper edge, as shares of the cabin's height
        y0, y1 = (belt + share * (height - belt) for share in (low, high))
        x0, x1 = (1.012 * (x + share * (ux - x)) for share in (low, high))
        b0, b1 = (rear + share * (roof_rear - rear) - 0.01 for share in (low, high))
        f0, f1 = (front + share * (roof_front - front) + 0.01 for share in (low, high))
        inset = 0.86
        shape.face([(-x0 * inset, y0, b0), (x0 * inset, y0, b0), (x1 * inset, y1, b1), (-x1 * inset, y1, b1)], "glass", (0, 0.2, -1))
        shape.face([(-x0 * inset, y0, f0), (x0 * inset, y0, f0), (x1 * inset, y1, f1), (-x1 * inset, y1, f1)], "glass", (0, 0.2, 1))
        for side in (-1, 1):
            for a, b in ((0.06, 0.48), (0.53, 0.94)):
                points = [(b0, f0, a, x0, y0), (b0, f0, b, x0, y0), (b1, f1, b, x1, y1), (b1, f1, a, x1, y1)]
                corners = [(side * wide, y, back + share * (ahead - back)) for back, ahead, share, wide, y in points]
                shape.face(corners, "glass", (side, 0.2, 0))
        _wheels(shape, half, (-0.31 * length, 0.31 * length), 0.33)
        _end(shape, -end - 0.01, half, belt - 0.3, belt - 0.1, "taillight")
        _end(shape, end + 0.01, half, belt - 0.33, belt - 0.15, "headlight")
        return shape

    return build


def _bus() -> Shape:
    shape = Shape("Bus")
    half, end = 1.27, 5.8
    shape.box((-half, half), (0.3, 3.1), (-end, end), "body")
    for side in (-1, 1):
        x = side * (half + 0.01)
        for z in np.arange(-end + 0.3, end - 1, 1.4):
            shape.face([(x, 1.3, z), (x, 1.3, z + 1.25), (x, 2.5, z + 1.25), (x, 2.5, z)], "cabin_light", (side, 0, 0))
        shape.face([(x, 2.7, -end), (x, 2.7, end), (x, 3.0, end), (x, 3.0, -end)], "panel", (side, 0, 0))
    for z, way, low in ((-end - 0.01, -1, 1.5), (end + 0.01, 1, 1.1)):
        shape.face([(-1.12, low, z), (1.12, low, z), (1.12, 2.45, z), (-1.12, 2.45, z)], "cabin_light", (0, 0, way))
        shape.face([(-0.9, 2.6, z), (0.9, 2.6, z), (0.9, 2.9, z), (-0.9, 2.9, z)], "housing", (0, 0, way))
    _wheels(shape, half, (-0.6 * end, 0.55 * end), 0.48)
    _end(shape, -end - 0.02, half, 0.75, 1.05, "taillight")
    _end(shape, end + 0.02, half, 0.65, 0.9, "headlight")
    return shape


def _truck_load() -> Shape:
    shape = Shape("Truck")
    shape.box((-1.25, 1.25), (0.95, 3.5), (-3.2, 3.2), "panel")
    shape.box((-1.1, 1.1), (0.5, 0.95), (-3.2, 3.4), "housing")
    _wheels(shape, 1.2, (-2.3, -1.2), 0.5)
    _end(shape, -3.21, 1.2, 0.7, 0.9, "taillight")
    return shape


def _truck_cab() -> Shape:
    shape = Shape("Truck")
    shape.box((-1.2, 1.2), (0.4, 2.9), (-0.9, 0.9), "body", upper=((-1.15, 1.15), (-0.9, 0.75)))
    shape.face([(-1.05, 1.6, 0.9), (1.05, 1.6, 0.9), (1.02, 2.5, 0.82), (-1.02, 2.5, 0.82)], "glass", (0, 0, 1))
    for side in (-1, 1):
        x = 1.21 * side
        shape.face([(x, 1.6, -0.2), (x, 1.6, 0.75), (x, 2.4, 0.65), (x, 2.4, -0.2)], "glass", (side, 0, 0))
    _wheels(shape, 1.2, (0.1,), 0.5)
    _end(shape, 0.92, 1.2, 0.7, 0.95, "headlight")
    return shape


def _two_wheeler(heavy: bool) -> Callable[[], Shape]:
    """A motorbike or a bicycle, thin seen from behind."""

    def build() -> Shape:
        shape, half, wheel = Shape("TwoWheeler"), 0.07 if heavy else 0.03, 0.32
        for z in (0.62, -0.62):
            shape.box((-half, half), (0.04, 0.6), (z - 0.25, z + 0.25), "tyre")
            for side in (-1, 1):
                x = side * (half + 0.005)
                shape.disc((x, wheel, z), wheel, "tyre", across=False, outward=(side, 0, 0))
                shape.disc((x, wheel, z), 0.6 * wheel, "rim", across=False, outward=(side, 0, 0))
        wide, low = (0.17, 0.35) if heavy else (0.05, 0.5)
        shape.box((-wide, wide), (low, 0.85), (-0.55, 0.45), "body", upper=((-wide, wide), (-0.7, 0.3)))
        shape.box((-0.34, 0.34), (0.92, 1.04), (0.34, 0.42), "housing")
        shape.box((-wide, wide), (0.85, 0.95), (-0.7, -0.05), "housing")
        if heavy:
            shape.face([(-0.09, 0.66, -0.72), (0.09, 0.66, -0.72), (0.09, 0.78, -0.72), (-0.09, 0.78, -0.72)], "taillight", (0, 0, -1))
            shape.face([(-0.1, 0.75, 0.47), (0.1, 0.75, 0.47), (0.1, 0.93, 0.47), (-0.1, 0.93, 0.47)], "headlight", (0, 0, 1))
        return shape

    return build


def _person(stride: float, skin: str) -> Callable[[], Shape]:
    """A walker 1.75 m tall; `stride` is half the distance of the feet."""

    def build() -> Shape:
        shape = Shape("Pedestrian")
        for side in (-1, 1):
            foot = side * (0.1 + stride)
            shape.face([(foot - 0.08, 0, 0), (foot + 0.08, 0, 0), (side * 0.09 + 0.1, 0.88, 0), (side * 0.09 - 0.1, 0.88, 0)], "trousers")
            hand = side * (0.27 + 0.7 * stride)
            shape.face([(hand - 0.05, 0.78, 0.02), (hand + 0.05, 0.78, 0.02), (side * 0.2 + 0.07, 1.42, 0), (side * 0.2 - 0.07, 1.42, 0)], "coat")
        shape.sheet((-0.19, 0.19), (0.8, 1.47), "coat", -0.02, top=(-0.23, 0.23))
        shape.disc((0, 1.61, -0.02), (0.11, 0.14), skin)
        shape.sheet((-0.11, 0.11), (1.64, 1.76), "hair", -0.03, top=(-0.07, 0.07))
        return shape

    return build


def _rider() -> Shape:
    """Sits on a two-wheeler; seen from any side."""
    shape = Shape("Pedestrian")
    shape.box((-0.22, 0.22), (0.85, 1.45), (-0.3, 0.05), "coat", upper=((-0.2, 0.2), (-0.15, 0.15)))
    shape.box((-0.2, 0.2), (0.45, 0.9), (-0.15, 0.2), "trousers")
    shape.box((-0.12, 0.12), (1.47, 1.75), (-0.08, 0.18), "hair")
    return shape


_MODELS: Final[dict[str, Callable[[], Shape]]] = {
    "line": _patch("RoadLine", "line"),
    "road": _patch("Road", "road"),
    "walk": _patch("SideWalk", "walk"),
    "soil": _patch("Terrain", "soil"),
    "building": _block("Building", "facade", "plaster"),
    "hall": _block("Building", "plaster", "roof"),
    "shop": _block("Building", "pane"),
    "band": _block("Building", "shop"),
    "house": _house,
    "wall": _block("Wall", "plaster"),
    "brick_wall": _block("Wall", "brick"),
    "fence": _block("Fence", "planks"),
    "hedge": _block("Vegetation", "leaf", "leaf_light"),
    "tree_round": _crown(7, 1, 4.6, 2.3, 2.2, 0.19),
    "tree_wide": _crown(8, 2, 4.4, 3.1, 1.9, 0.24),
    "tree_tall": _crown(7, 3, 5.4, 1.2, 3.6, 0.14),
    "conifer": _conifer,
    "bush": _crown(5, 4, 0.6, 0.9, 0.65, 0.0),
    "grove": _crown(9, 5, 4.0, 9.0, 3.6, 0.0),
    "lamp": _lamp,
    "post": _post,
    "bollard": _bollard,
    **{f"sign_{form}": _sign(form) for form in ("round", "square", "triangle", "board")},
    **{f"lights_{shown}": _lights(shown, 0) for shown in ("red", "green")},
    **{f"arm_{shown}": _lights(shown, 4.2) for shown in ("red", "green")},
    "sedan": _car(4.6, 1.82, 0.88, 1.45, (-1.75, 1.0, -1.05, 0.25)),
    "hatchback": _car(4.0, 1.76, 0.9, 1.5, (-1.92, 0.95, -1.45, 0.25)),
    "suv": _car(4.7, 1.95, 1.05, 1.78, (-2.2, 1.1, -1.85, 0.45)),
    "van": _car(5.2, 2.0, 1.15, 2.2, (-2.55, 2.0, -2.5, 1.2)),
    "bus": _bus,
    "truck_load": _truck_load,
    "truck_cab": _truck_cab,
    "motorbike": _two_wheeler(True),
    "bicycle": _two_wheeler(False),
    "rider": _rider,
    "person": _person(0.0, "skin"),
    "person_walking": _person(0.13, "skin"),
    "person_striding": _person(0.24, "dark_skin"),
}
