"""The sensors besides the colour camera: depth, events and a laser scanner. All look through the same pinhole."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from memorysam.data.scenes import materials
from memorysam.data.scenes.names import Key
from memorysam.data.scenes.raster import Frame
from memorysam.data.scenes.textures import Floats, noise
from memorysam.data.scenes.weather import Weather

Picture = NDArray[np.uint8]
"""`[H, W, 3]`."""

LOW_RES: Final = 4
"""How many times coarser the event camera is where it fails."""
_GATHERED: Final = 0.06
"""Seconds over which events are gathered."""
_THRESHOLD: Final = 0.15
"""Change of the logarithm of brightness that makes an event."""
_LEVELS: Final = np.asarray([0, 140, 200, 255], np.uint8)
"""Brightness of a pixel with so many events."""
_BEAMS: Final = (-25.0, 12.0)
"""Elevation of the lowest and the highest laser, degrees."""
_PAINTED: Final = [
    materials.NUMBER[name] for name in ("body", "panel", "facade", "plaster", "planks", "coat", "trousers")
]
"""Their colour decides how much of a laser's light comes back."""


def depth(frame: Frame, weather: Weather, key: Key) -> Picture:
    """Return an HHA picture: disparity, height above the road, angle between surface and ground; 0 where unknown.

    Stereo measures disparity, so noise is constant there and grows with the square of distance in metres. Holes open
    to the left of near edges, where only one of two eyes sees, and beyond the reach. Height is compressed, so that a
    kerb shows beside a house.
    """
    rng = key.chance(3)
    height, width = frame.surface.shape
    near = frame.nearness
    rough = frame.spread(materials.columns().rough[frame.surfaces.material])
    error = noise(rng, height, width) * (np.float32(0.0011) + rough * near * near)
    coarse = noise(rng, -(-height // 8), -(-width // 8)) * np.float32(
        0.0014
    )  # blocks that are matched wrongly together
    measured = near + error + cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    valid = (near > 1 / weather.depth_reach) & (measured > 1 / (1.15 * weather.depth_reach))
    shift = max(1, round(width / 160))
    valid[:, :-shift] &= near[:, shift:] < 1.35 * near[:, :-shift] + np.float32(0.01)
    valid &= noise(rng, height, width) < 2.6 - 1.6 * min(2 * weather.drops, 1)
    np.maximum(measured, np.float32(1e-3), out=measured)
    above = np.maximum(frame.view.up / measured + np.float32(frame.view.eye + 0.3), np.float32(0.01))
    tilt = np.degrees(np.arccos(np.clip(frame.surfaces.normal[:, 1], -1, 1)))
    angle = frame.spread((tilt * (255 / 180)).astype(np.float32))
    angle += noise(rng, height, width) * (2 + np.float32(0.25) * np.minimum(frame.depth, 80) + 40 * rough)
    channels = (measured * np.float32(255 * 2.4), 255 * above / (above + np.float32(2.5)), cv2.blur(angle, (3, 3)))
    picture: Picture = cv2.merge([np.clip(channel, 1, 255).astype(np.uint8) * valid for channel in channels])
    return picture


def events(frame: Frame, light: Floats, weather: Weather, key: Key) -> Picture:
    """Return events gathered over a short time: red where it got brighter, blue where darker, black elsewhere.

    What moves in the picture does so by the camera's motion, by its turning and by its own; brightness counts by its
    logarithm. The picture is smaller than the others where the sensor fails with a low resolution.
    """
    rng, view, turn = key.chance(4), frame.view, frame.world.turn
    bright = light[0] * np.float32(0.30) + light[1] * np.float32(0.59) + light[2] * np.float32(0.11)
    near, surface, right, up = frame.nearness, frame.surface, view.right, view.up
    coarse = LOW_RES if key.failure == "eventlowres" else 1
    if coarse > 1:
        rows, columns = (_middles(side, max(1, side // coarse)) for side in surface.shape)
        bright = cv2.resize(bright, (len(columns), len(rows)), interpolation=cv2.INTER_AREA)
        near, surface = near[np.ix_(rows, columns)], surface[np.ix_(rows, columns)]
        right, up = right[:, columns], up[rows]
    height, width = bright.shape
    velocity = frame.surfaces.velocity
    sideways = np.take(velocity[:, 0], surface)
    ahead = np.take(velocity[:, 1], surface) - np.float32(frame.world.speed)
    scale = np.float32(view.focal / coarse * _GATHERED)
    flow_x = ((sideways - right * ahead) * near - np.float32(turn) * (1 + right * right)) * scale
    flow_y = (up * ahead * near + np.float32(turn) * right * up) * scale
    log = cv2.log(bright + np.float32(0.0015 if weather.dark else 0.01))
    log = cv2.GaussianBlur(log, (3, 3), 0.6)
    step_x = cv2.Sobel(log, cv2.CV_32F, 1, 0, ksize=1, scale=0.5)
    step_y = cv2.Sobel(log, cv2.CV_32F, 0, 1, ksize=1, scale=0.5)
    most = np.float32(max(1.0, 2.5 * view.width / 256 / coarse))  # an edge changes a pixel by no more than itself
    change = np.clip(flow_x, -most, most) * -step_x
    change -= np.clip(flow_y, -most, most) * step_y
    change += noise(rng, height, width) * np.float32(0.056 if weather.dark or weather.drops else 0.035)
    if weather.drops:
        change += _falling(rng, height, width)
    count = np.clip(np.trunc(change * np.float32(1 / _THRESHOLD)), -3, 3).astype(np.intp)
    brighter, darker = np.take(_LEVELS, np.maximum(count, 0)), np.take(_LEVELS, np.maximum(-count, 0))
    picture: Picture = cv2.merge([brighter, np.zeros((height, width), np.uint8), darker])
    return picture


def lidar(frame: Frame, weather: Weather, key: Key) -> Picture:
    """Return the points of a laser scanner: nearness, height and strength of the echo; black where there is none.

    Paint on roads, signs and number plates throw much back, glass and what is far away or hit at a flat angle little.
    """
    rng, view, table, stuff = key.chance(5), frame.view, frame.surfaces, materials.columns()
    row, column = _scan(frame, rng)
    surface, near = frame.surface[row, column], frame.nearness[row, column]
    material = table.material[surface]
    ray = np.stack([view.right[0, column], view.up[row, 0], np.ones_like(near)], 1)
    length = np.linalg.norm(ray, axis=1)
    distance = length / near
    incidence = np.abs((table.normal[surface] * ray).sum(1)) / length
    paint = np.where(np.isin(material, _PAINTED), 0.5 + 1.2 * table.colour[surface].mean(1), 1)
    strength = np.clip(stuff.echo[material] * paint * (0.35 + 0.65 * incidence), 0, 1)
    chance = rng.random((3, len(near)), dtype=np.float32)
    reach = weather.lidar_reach * np.clip(0.45 + 0.9 * np.sqrt(strength), 0, 1.1)
    seen = (distance < reach * (0.9 + 0.2 * chance[0])) & (chance[1] > 0.03 + weather.drops)
    seen &= ~stuff.glass[material] | (chance[2] < 0.15)

    distance = distance + rng.normal(0, 0.03, len(near)).astype(np.float32)
    above = ray[:, 1] / length * distance + view.eye
    colours = np.stack([_nearness(distance), 40 + 215 * np.clip((above + 1) / 11, 0, 1), 40 + 215 * strength], 1)
    if weather.haze > 0.03:  # fog throws some pulses back at once
        back, close = rng.random(len(near)) < 0.04, rng.uniform(2, 8, len(near))
        colours[back] = np.stack([_nearness(close), np.full_like(close, 80), np.full_like(close, 50)], 1)[back]
        distance, seen = np.where(back, close, distance), seen | back
    height, width = frame.surface.shape
    if key.failure == "lidarjitter":
        off = rng.uniform(0.012, 0.035, 2) * rng.choice([-1, 1], 2)
        scatter = rng.normal(0, 0.008, (2, len(near))) + off[:, None]
        row = np.rint(row + scatter[0] * height).astype(np.intp)
        column = np.rint(column + scatter[1] * width).astype(np.intp)
        seen &= (row >= 0) & (row < height) & (column >= 0) & (column < width)
    picture = np.zeros((height, width, 3), np.uint8)
    order = np.flatnonzero(seen)[np.argsort(-distance[seen], kind="stable")]  # the nearest point wins
    dot = range(2 if width >= 768 else 1)
    for down, across in ((down, across) for down in dot for across in dot):
        rows, columns = np.minimum(row[order] + down, height - 1), np.minimum(column[order] + across, width - 1)
        picture[rows, columns] = np.rint(colours[order])
    return picture


def _scan(frame: Frame, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return row and column of the pixels that lasers meet: each beam draws a cone, in the picture a hyperbola."""
    height, width = frame.surface.shape
    view = frame.view
    turn = np.linspace(view.right[0, 0], view.right[0, -1], max(16, min(width // 2, 512)), dtype=np.float32)
    tilt = np.tan(np.radians(np.linspace(*_BEAMS, int(np.clip(height / 8, 32, 64)), dtype=np.float32)))
    rise = tilt[:, None] * np.sqrt(1 + turn * turn)
    start = rng.uniform(-0.3, 0.3, 2)
    row = np.floor(view.middle - rise * view.focal + start[0]).astype(np.intp).ravel()
    column = np.floor(np.broadcast_to(turn * view.focal + width / 2 + start[1], rise.shape)).astype(np.intp).ravel()
    inside = np.flatnonzero((row >= 0) & (row < height) & (column >= 0) & (column < width))
    row, column = row[inside], column[inside]
    hit = np.flatnonzero(frame.nearness[row, column] > 0)
    return row[hit], column[hit]


def _nearness(distance: NDArray[np.floating]) -> NDArray[np.floating]:
    """From 255 at 2 m down to 40 at 120 m, by the logarithm of the distance."""
    nearness: NDArray[np.floating] = 40 + 215 * np.clip(1 - np.log(np.maximum(distance, 2) / 2) / np.log(60), 0, 1)
    return nearness


def _middles(side: int, parts: int) -> NDArray[np.intp]:
    """Return the middle pixel of each of so many equal parts of a side."""
    return ((np.arange(parts) + 0.5) * (side / parts)).astype(np.intp)


def _falling(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Return changes of brightness by drops that fall past the lens."""
    count = 70
    start = rng.random((count, 2)) * (width, height)
    fall = np.stack([np.zeros(count), height * rng.uniform(0.02, 0.07, count)], 1)
    canvas = np.zeros((height, width), np.uint8)
    cv2.polylines(canvas, list(np.rint(np.stack([start, start + fall], 1)).astype(np.int32)), False, 255)
    return canvas * np.float32(0.25 / 255)
