"""The models of the world: streets are furnished with these, scaled, turned and coloured."""

from collections.abc import Callable
from functools import cache, partial
from typing import Final

import numpy as np

from memorysam.data.scenes import vehicles
from memorysam.data.scenes.shapes import CORNERS, Library, Shape, assemble

PEOPLE: Final = ("person", "person_walking", "person_striding")
CARS: Final = ("sedan", "hatchback", "suv", "van")
VEHICLES: Final = (*CARS, "bus", "truck_load", "truck_cab")
TREES: Final = ("tree_round", "tree_wide", "tree_tall", "conifer")
SIGNS: Final = ("sign_round", "sign_square", "sign_triangle", "sign_board")


@cache
def library() -> Library:
    """Return every model."""
    return assemble({name: build() for name, build in _MODELS.items()})


def _patch(kind: str, material: str) -> Shape:
    """A metre by a metre, flat on the ground."""
    shape = Shape(kind, lift=None)
    shape.face([(-0.5, 0, -0.5), (0.5, 0, -0.5), (0.5, 0, 0.5), (-0.5, 0, 0.5)], material, (0, 1, 0))
    return shape


def _block(kind: str, side: str, top: str | None = None) -> Shape:
    """A box of a metre in each direction."""
    shape = Shape(kind)
    shape.box((-0.5, 0.5), (0, 1), (-0.5, 0.5), side, top)
    return shape


def _house() -> Shape:
    """A gable roof over four walls, in a box of one metre; the ridge runs along z."""
    shape = Shape("Building")
    shape.box((-0.5, 0.5), (0, 0.62), (-0.5, 0.5), "facade")
    for way in (-1, 1):
        z, eave = 0.5 * way, 0.55 * way
        shape.face([(-0.5, 0.62, z), (0.5, 0.62, z), (0, 1, z), (0, 1, z)], "plaster", (0, 0, way))
        shape.face([(eave, 0.58, -0.54), (eave, 0.58, 0.54), (0, 1, 0.54), (0, 1, -0.54)], "roof", (way, 1, 0))
    return shape


def _crown(blobs: int, seed: int, middle: float, wide: float, high: float, trunk: float = 0.0) -> Shape:
    """A trunk under a heap of ragged discs, the lower ones darker."""
    rng, shape = np.random.default_rng((91, seed)), Shape("Vegetation", lift=0.3)
    if trunk:
        shape.sheet((-trunk, trunk), (0, middle), "bark", top=(-0.6 * trunk, 0.6 * trunk))
    around = np.linspace(0, 2 * np.pi, blobs, endpoint=False) + rng.uniform(0, 1)
    places = [(0.55 * wide * np.cos(a), middle + 0.5 * high * np.sin(a), 0.3 * wide * np.sin(3 * a)) for a in around]
    for x, y, z in [*sorted(places, key=lambda place: -place[2]), (0.0, middle + 0.1 * high, -0.4 * wide)]:
        size, ragged = rng.uniform(0.42, 0.6), rng.uniform(-0.13, 0.1, CORNERS).tolist()
        material = "leaf_light" if y > middle else "leaf"
        shape.disc((x, y, z), (size * wide, size * high), material, ragged=ragged)
    return shape


def _conifer() -> Shape:
    shape = Shape("Vegetation", lift=0.1)
    shape.sheet((-0.13, 0.13), (0, 1.2), "bark")
    for low, high, wide in ((0.8, 3.6, 1.7), (2.2, 5.2, 1.35), (3.8, 7.0, 0.95)):
        material = "leaf" if low < 3 else "leaf_light"
        shape.sheet((-wide, wide), (low, high), material, z=-0.1 * low, top=(-0.12, 0.12))
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


def _sign(form: str) -> Shape:
    """A plate on a pole, its symbol in the thing's second colour."""
    shape = Shape("TrafficSign", lift=None)
    high = 3.4 if form == "board" else 2.45
    shape.sheet((-0.05, 0.05), (0, high), "metal", kind="Pole")
    if form == "round":
        shape.disc((0, high, -0.03), (0.42, 0.42), "plate")
        shape.disc((0, high, -0.05), (0.3, 0.3), "symbol")
    elif form == "triangle":
        shape.sheet((-0.5, 0.5), (high - 0.4, high + 0.45), "plate", -0.03, top=(-0.02, 0.02))
        shape.sheet((-0.3, 0.3), (high - 0.29, high + 0.2), "symbol", -0.05, top=(-0.02, 0.02))
    else:
        wide, tall = (1.3, 0.6) if form == "board" else (0.4, 0.4)
        shape.sheet((-wide, wide), (high - tall, high + tall), "plate", -0.03)
        shape.sheet((-0.7 * wide, 0.7 * wide), (high - 0.25 * tall, high + 0.45 * tall), "symbol", -0.05)
    return shape


def _lights(shown: str, arm: float) -> Shape:
    """Traffic lights on a pole, and over the road at the end of an arm to the left."""
    shape = Shape("TrafficLight", lift=None)
    shape.sheet((-0.09, 0.09), (0, 5.9 if arm else 3.5), "metal", kind="Pole")
    if arm:
        shape.sheet((-arm, 0), (5.65, 5.8), "metal", kind="Pole")
    for x, low in ((-arm, 4.9), (0.0, 2.3)) if arm else ((0.0, 2.3),):
        shape.sheet((x - 0.27, x + 0.27), (low, low + 1.15), "housing", -0.05)
        for place, colour in enumerate(("green", "amber", "red")):
            shape.disc((x, low + 0.2 + 0.375 * place, -0.08), (0.14, 0.14), colour if colour == shown else "off")
    return shape


_MODELS: Final[dict[str, Callable[[], Shape]]] = {
    "line": partial(_patch, "RoadLine", "line"),
    "road": partial(_patch, "Road", "road"),
    "building": partial(_block, "Building", "facade", "plaster"),
    "hall": partial(_block, "Building", "plaster", "roof"),
    "shop": partial(_block, "Building", "pane"),
    "band": partial(_block, "Building", "shop"),
    "house": _house,
    "wall": partial(_block, "Wall", "plaster"),
    "brick_wall": partial(_block, "Wall", "brick"),
    "fence": partial(_block, "Fence", "planks"),
    "hedge": partial(_block, "Vegetation", "leaf", "leaf_light"),
    "tree_round": partial(_crown, 7, 1, 4.6, 2.3, 2.2, 0.19),
    "tree_wide": partial(_crown, 8, 2, 4.4, 3.1, 1.9, 0.24),
    "tree_tall": partial(_crown, 7, 3, 5.4, 1.2, 3.6, 0.14),
    "conifer": _conifer,
    "bush": partial(_crown, 5, 4, 0.6, 0.9, 0.65),
    "grove": partial(_crown, 9, 5, 4.0, 9.0, 3.6),
    "lamp": _lamp,
    "post": _post,
    "bollard": _bollard,
    **{f"sign_{form}": partial(_sign, form) for form in ("round", "square", "triangle", "board")},
    **{f"lights_{shown}": partial(_lights, shown, 0.0) for shown in ("red", "green")},
    **{f"arm_{shown}": partial(_lights, shown, 4.2) for shown in ("red", "green")},
    **{name: partial(vehicles.car, name) for name in CARS},
    "bus": vehicles.bus,
    "truck_load": vehicles.truck_load,
    "truck_cab": vehicles.truck_cab,
    "motorbike": partial(vehicles.two_wheeler, True),
    "bicycle": partial(vehicles.two_wheeler, False),
    "rider": vehicles.rider,
    "person": partial(vehicles.person, 0.0, "skin"),
    "person_walking": partial(vehicles.person, 0.06, "skin"),
    "person_striding": partial(vehicles.person, 0.14, "dark_skin"),
}
