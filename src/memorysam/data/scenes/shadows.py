"""What things do to the ground that they stand on: shadows, and mirror images where it is wet."""

from typing import Final

import cv2
import numpy as np

from memorysam.data.scenes.faces import SKY
from memorysam.data.scenes.models import library
from memorysam.data.scenes.names import ID
from memorysam.data.scenes.raster import Frame
from memorysam.data.scenes.textures import Floats
from memorysam.data.scenes.view import fill
from memorysam.data.scenes.weather import Weather

_PAVED: Final = [ID[name] for name in ("Road", "RoadLine", "SideWalk")]
_FLAT: Final = [*_PAVED, ID["Terrain"]]
_FARTHEST: Final = 80.0
"""Shadows of what is farther than this are not drawn, metres."""


def shadows(frame: Frame, weather: Weather) -> Floats:
    """Return the share of light that is left, `[H, W]`, on the ground: hard shadows of the sun, else soft ones."""
    things, view = frame.world.things, frame.view
    lift = library().lift[things["shape"]]
    casts = ~np.isnan(lift) & (things["position"][:, 2] < _FARTHEST)
    things, lift = things[casts], lift[casts][:, None]
    extent = library().extent[things["shape"]] * np.abs(things["size"])
    grown = 1.0 if weather.sunny else 1.12
    cos, sin = np.cos(things["yaw"]), np.sin(things["yaw"])
    across = np.stack([cos, -sin], 1) * (grown * extent[:, :1])
    along = np.stack([sin, cos], 1) * (grown * extent[:, 2:])
    place = things["position"][:, [0, 2]]
    corners = [place - across - along, place + across - along, place + across + along, place - across + along]
    quads = [np.stack(corners, 1)[lift[:, 0] == 0]]
    if weather.sunny:  # upright sheets through each thing, thrown on the ground
        x, y, z = frame.world.sun
        end = np.asarray([-x / y, -z / y], np.float32) * extent[:, 1:2]
        for a, b in ((0, 2), (1, 3), (0, 1), (2, 3)):
            first, second = corners[a], corners[b]
            quads.append(np.stack([first + end * lift, second + end * lift, second + end, first + end], 1))
    flat = np.concatenate(quads).astype(np.float32)
    points = np.stack([flat[..., 0], np.zeros_like(flat[..., 0]), flat[..., 1]], -1)
    mask = np.zeros((view.height, view.width), np.uint8)
    for outline in view.outlines(points):
        fill(mask, outline, 255)
    soft = max(1, round(view.width / (400 if weather.sunny else 48))) | 1
    strength = np.isin(frame.surfaces.label, _FLAT) * np.float32((0.6 if weather.sunny else 0.45) / 255)
    shade: Floats = 1 - cv2.blur(mask, (soft, soft)) * frame.spread(strength)
    return shade


def mirror(frame: Frame, weather: Weather, light: Floats) -> None:
    """Let the wet ground mirror what stands behind it, smeared downwards; changes `light`, `[3, H, W]`.

    A mirrored ray seems to start below the road, as deep as the eye is above it. What it meets is looked up where the
    camera sees the same point; how far that is off is guessed from what lies in the mirrored direction.
    """
    height, width = frame.surface.shape
    middle = min(max(round(frame.view.middle), 1), height - 1)
    first = np.clip(2 * middle - np.arange(middle, height), 0, middle - 1)
    lower = np.take(frame.nearness, first, axis=0) * np.float32(2 * frame.view.eye * frame.view.focal)
    row = np.clip(first[:, None] + lower, 0, middle - 1).astype(np.intp)
    flat = row * width + np.arange(width)
    sky = np.take(frame.surface, flat) == SKY
    paved = np.take(np.isin(frame.surfaces.label, _PAVED).astype(np.float32), frame.surface[middle:])
    smear = (max(1, width // 100), max(3, height // 24))
    for c, whole in enumerate(light):
        above = np.take(whole, flat)
        np.copyto(above, np.float32(weather.horizon[c]), where=sky)
        plane = whole[middle:]
        plane *= 1 - paved * np.float32(0.5 * weather.wet)
        plane += paved * cv2.blur(above, smear) * np.float32(0.3 * weather.wet)
