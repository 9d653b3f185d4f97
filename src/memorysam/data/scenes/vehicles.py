"""Models of vehicles and people. Vehicles look along +z; people are flat and face the camera."""

from typing import Final

import numpy as np

from memorysam.data.scenes.shapes import Point, Shape

_CARS: Final[dict[str, tuple[float, float, float, float, tuple[float, float, float, float]]]] = {
    "sedan": (4.6, 1.82, 0.88, 1.45, (-1.75, 1.0, -1.05, 0.25)),
    "hatchback": (4.0, 1.76, 0.9, 1.5, (-1.92, 0.95, -1.45, 0.25)),
    "suv": (4.7, 1.95, 1.05, 1.78, (-2.2, 1.1, -1.85, 0.45)),
    "van": (5.2, 2.0, 1.15, 2.2, (-2.55, 2.0, -2.5, 1.2)),
}
"""Length, width, height of the belt line and of the roof, and the cabin's rear and front at both heights."""


def car(name: str) -> Shape:
    """Return a hull with a glazed cabin."""
    length, width, belt, height, (rear, front, roof_rear, roof_front) = _CARS[name]
    shape, half, end = Shape("Cars"), width / 2, length / 2
    tapered = ((-0.97 * half, 0.97 * half), (-0.97 * end, 0.96 * end))
    shape.box((-half, half), (0.22, belt), (-end, end), "body", upper=tapered)
    foot, head = 0.92 * half, 0.74 * half
    shape.box((-foot, foot), (belt, height), (rear, front), "body", upper=((-head, head), (roof_rear, roof_front)))

    def on_side(side: int, along: float, up: float) -> Point:
        """A point just outside the cabin's side, by its shares of length and height."""
        back, ahead = rear + up * (roof_rear - rear), front + up * (roof_front - front)
        x = 1.012 * side * (foot + up * (head - foot))
        return x, belt + up * (height - belt), back + along * (ahead - back)

    low, high = 0.12, 0.86
    for along, way in ((-0.005, -1), (1.005, 1)):
        corners = [on_side(-1, along, low), on_side(1, along, low), on_side(1, along, high), on_side(-1, along, high)]
        shape.face([(0.86 * x, y, z) for x, y, z in corners], "glass", (0, 0.2, way))
    for side in (-1, 1):
        for a, b in ((0.06, 0.48), (0.53, 0.94)):
            corners = [on_side(side, a, low), on_side(side, b, low), on_side(side, b, high), on_side(side, a, high)]
            shape.face(corners, "glass", (side, 0.2, 0))
    _wheels(shape, half, (-0.31 * length, 0.31 * length), 0.33)
    _lights(shape, -end - 0.01, half, belt - 0.3, belt - 0.1, "taillight")
    _lights(shape, end + 0.01, half, belt - 0.33, belt - 0.15, "headlight")
    return shape


def bus() -> Shape:
    """Return a bus with a row of windows."""
    shape, half, end = Shape("Bus"), 1.27, 5.8
    shape.box((-half, half), (0.3, 3.1), (-end, end), "body")
    for side in (-1, 1):
        for z in np.arange(-end + 0.3, end - 1, 1.4):
            _panel(shape, side, half + 0.01, (z, z + 1.25), (1.3, 2.5), "cabin_light")
        _panel(shape, side, half + 0.01, (-end, end), (2.7, 3.0), "panel")
    for z, low in ((-end - 0.01, 1.5), (end + 0.01, 1.1)):
        _across(shape, z, (-1.12, 1.12), (low, 2.45), "cabin_light")
        _across(shape, z, (-0.9, 0.9), (2.6, 2.9), "housing")
    _wheels(shape, half, (-0.6 * end, 0.55 * end), 0.48)
    _lights(shape, -end - 0.02, half, 0.75, 1.05, "taillight")
    _lights(shape, end + 0.02, half, 0.65, 0.9, "headlight")
    return shape


def truck_load() -> Shape:
    """Return the box of a truck."""
    shape = Shape("Truck")
    shape.box((-1.25, 1.25), (0.95, 3.5), (-3.2, 3.2), "panel")
    shape.box((-1.1, 1.1), (0.5, 0.95), (-3.2, 3.4), "housing")
    _wheels(shape, 1.2, (-2.3, -1.2), 0.5)
    _lights(shape, -3.21, 1.2, 0.7, 0.9, "taillight")
    return shape


def truck_cab() -> Shape:
    """Return the cab of a truck, which is sorted by itself."""
    shape = Shape("Truck")
    shape.box((-1.2, 1.2), (0.4, 2.9), (-0.9, 0.9), "body", upper=((-1.15, 1.15), (-0.9, 0.75)))
    _across(shape, 0.91, (-1.05, 1.05), (1.6, 2.5), "glass")
    for side in (-1, 1):
        _panel(shape, side, 1.21, (-0.2, 0.7), (1.6, 2.4), "glass")
    _wheels(shape, 1.2, (0.1,), 0.5)
    _lights(shape, 0.92, 1.2, 0.7, 0.95, "headlight")
    return shape


def two_wheeler(heavy: bool) -> Shape:
    """Return a motorbike or a bicycle, thin seen from behind."""
    shape, half, wheel = Shape("TwoWheeler"), 0.07 if heavy else 0.03, 0.32
    for z in (0.62, -0.62):
        shape.box((-half, half), (0.04, 0.6), (z - 0.25, z + 0.25), "tyre")
        for side in (-1, 1):
            shape.disc((side * (half + 0.005), wheel, z), (wheel, wheel), "tyre", side)
            shape.disc((side * (half + 0.005), wheel, z), (0.6 * wheel, 0.6 * wheel), "rim", side)
    wide, low = (0.17, 0.35) if heavy else (0.05, 0.5)
    shape.box((-wide, wide), (low, 0.85), (-0.55, 0.45), "body", upper=((-wide, wide), (-0.7, 0.3)))
    shape.box((-0.34, 0.34), (0.92, 1.04), (0.34, 0.42), "housing")
    shape.box((-wide, wide), (0.85, 0.95), (-0.7, -0.05), "housing")
    if heavy:
        _across(shape, -0.72, (-0.09, 0.09), (0.66, 0.78), "taillight")
        _across(shape, 0.47, (-0.1, 0.1), (0.75, 0.93), "headlight")
    return shape


def rider() -> Shape:
    """Return somebody who sits on a two-wheeler."""
    shape = Shape("Pedestrian")
    shape.box((-0.22, 0.22), (0.85, 1.45), (-0.3, 0.05), "coat", upper=((-0.2, 0.2), (-0.15, 0.15)))
    shape.box((-0.2, 0.2), (0.45, 0.9), (-0.15, 0.2), "trousers")
    shape.box((-0.12, 0.12), (1.47, 1.75), (-0.08, 0.18), "hair")
    return shape


def person(stride: float, skin: str) -> Shape:
    """Return a walker 1.75 m tall; `stride` is half the distance of the feet."""
    shape = Shape("Pedestrian")
    for side in (-1, 1):
        foot, hip = side * (0.1 + stride), side * 0.09
        shape.face([(foot - 0.08, 0, 0), (foot + 0.08, 0, 0), (hip + 0.1, 0.88, 0), (hip - 0.1, 0.88, 0)], "trousers")
        hand, shoulder = side * (0.25 + 0.5 * stride), side * 0.2
        shape.face(
            [(hand - 0.05, 0.78, 0), (hand + 0.05, 0.78, 0), (shoulder + 0.07, 1.42, 0), (shoulder - 0.07, 1.42, 0)],
            "coat",
        )
    shape.sheet((-0.19, 0.19), (0.8, 1.47), "coat", -0.02, top=(-0.23, 0.23))
    shape.disc((0, 1.61, -0.02), (0.11, 0.14), skin)
    shape.sheet((-0.11, 0.11), (1.64, 1.76), "hair", -0.03, top=(-0.07, 0.07))
    return shape


def _across(shape: Shape, z: float, x: tuple[float, float], y: tuple[float, float], material: str) -> None:
    """Add a pane to the front or the rear."""
    points = [(x[0], y[0], z), (x[1], y[0], z), (x[1], y[1], z), (x[0], y[1], z)]
    shape.face(points, material, (0, 0, 1 if z > 0 else -1))


def _panel(shape: Shape, side: int, x: float, z: tuple[float, float], y: tuple[float, float], material: str) -> None:
    """Add a pane to the left (-1) or the right (1)."""
    points = [(side * x, y[0], z[0]), (side * x, y[0], z[1]), (side * x, y[1], z[1]), (side * x, y[1], z[0])]
    shape.face(points, material, (side, 0, 0))


def _wheels(shape: Shape, half_width: float, axles: tuple[float, ...], radius: float) -> None:
    for side in (-1, 1):
        for z in axles:
            for size, material in ((radius, "tyre"), (0.55 * radius, "rim")):
                shape.disc((side * (half_width + 0.01), radius, z), (size, size), material, side)


def _lights(shape: Shape, z: float, half: float, low: float, high: float, material: str) -> None:
    """Add a pair of lights and a number plate at the front or the rear."""
    for side in (-1, 1):
        _across(shape, z, (side * 0.62 * half, side * 0.95 * half), (low, high), material)
    _across(shape, z, (-0.26, 0.26), (low - 0.24, low - 0.12), "number")
