"""Light that arrives at the camera: colours under sun, sky and lamps, through the weather. Linear, not a picture."""

from typing import Final

import cv2
import numpy as np

from memorysam.data.scenes import materials
from memorysam.data.scenes.faces import SKY
from memorysam.data.scenes.raster import Frame
from memorysam.data.scenes.shadows import mirror, shadows
from memorysam.data.scenes.textures import CLOUDS, Floats, shades
from memorysam.data.scenes.weather import Weather

_LIT_BY_DAY: Final = [materials.NUMBER[name] for name in ("red", "green", "taillight")]
_WINDOW: Final = (0.32, 0.25, 0.15)
_STREET_LAMP: Final = (0.17, 0.122, 0.071)
_MOST_LAMPS: Final = 8
_COARSE: Final = 4
"""Lamps light the scene on every fourth pixel: their light is soft."""


def radiance(frame: Frame, weather: Weather) -> Floats:
    """Return the light that arrives from each pixel, `[3, H, W]`, red first."""
    shade, panes = frame.texture
    shade = shade * frame.spread(materials.columns().contrast[frame.surfaces.material]) + 1
    light = _night(frame, weather, shade, panes) if weather.dark else _day(frame, weather, shade, panes)
    _paint_sky(frame, weather, light)
    return light


def _day(frame: Frame, weather: Weather, shade: Floats, panes: Floats) -> Floats:
    """Sun and sky; windows mirror the sky, haze adds its own light."""
    table = frame.surfaces
    facing = np.clip(table.normal @ np.asarray(frame.world.sun, np.float32), 0, None)
    open_sky = 0.68 + 0.32 * table.normal[:, 1]
    glow = materials.columns().glow[table.material] * (0.5 * table.lit * np.isin(table.material, _LIT_BY_DAY))[:, None]
    shade = shade * shadows(frame, weather)
    wall = 1 - np.minimum(panes * 3, 1)
    pane = (1 - wall) * (panes + np.float32(0.5))
    light = np.empty((3, *shade.shape), np.float32)
    for c, plane in enumerate(light):
        lit = table.colour[:, c] * (weather.ambient[c] * open_sky + weather.sun[c] * facing) + glow[:, c]
        np.multiply(frame.spread(lit.astype(np.float32)), shade, out=plane)
        plane *= wall
        plane += pane * np.float32(0.22 * weather.horizon[c])
    if weather.wet:
        mirror(frame, weather, light)
    clear = cv2.exp(frame.depth * np.float32(-weather.haze))
    for c, plane in enumerate(light):
        plane -= np.float32(weather.horizon[c])
        plane *= clear
        plane += np.float32(weather.horizon[c])
    return light


def _night(frame: Frame, weather: Weather, shade: Floats, panes: Floats) -> Floats:
    """Only headlights, street lamps and what glows by itself let anything be seen."""
    table, stuff = frame.surfaces, materials.columns()
    headlights = _headlights(frame)
    headlights *= 1 + 9 * frame.spread(stuff.shine[table.material])
    lamps = _lamps(frame)
    lit_panes = np.clip(panes * 2.5 - 1.3, 0, 1)
    shade = shade * (1 - np.minimum(panes * 3, 1))
    glow = stuff.glow[table.material] * table.lit[:, None]
    halo = max(3, round(frame.view.width / 40)) | 1
    light = np.empty((3, *shade.shape), np.float32)
    for c, plane in enumerate(light):
        np.multiply(lamps, np.float32(_STREET_LAMP[c]), out=plane)
        plane += headlights
        plane += np.float32(weather.ambient[c])
        plane *= frame.spread(table.colour[:, c])
        plane *= shade
        plane += lit_panes * np.float32(_WINDOW[c])
        plane += frame.spread(glow[:, c])
        plane += np.float32(0.1) * cv2.blur(np.minimum(plane, 2), (halo, halo))
    return light


def _headlights(frame: Frame) -> Floats:
    """A beam ahead, dimmed above its cut-off, that falls with the square of the distance."""
    across = np.exp(-((frame.view.right / 0.42) ** 2)) + 0.15
    height = 1 / (1 + np.exp(np.clip((frame.view.up - 0.03) * 60, -30, 30)))
    beam: Floats = ((0.12 + 0.88 * height) * across).astype(np.float32)
    beam *= np.float32(0.6) / (1 + (frame.depth * np.float32(1 / 11)) ** 2)
    return beam


def _lamps(frame: Frame) -> Floats:
    """Pools of light below the nearest street lamps."""
    height, width = frame.surface.shape
    x, y, z = (field[::_COARSE, ::_COARSE] for field in (frame.x, frame.y, frame.depth))
    total = np.zeros_like(x)
    for lamp in sorted(frame.world.lamps, key=lambda lamp: lamp[2])[:_MOST_LAMPS]:
        square = (x - np.float32(lamp[0])) ** 2 + (y - np.float32(lamp[1])) ** 2 + (z - np.float32(lamp[2])) ** 2
        total += 1 / (np.float32(1.5) + square * np.float32(1 / 14))
    smooth: Floats = cv2.resize(total, (width, height), interpolation=cv2.INTER_LINEAR)
    return smooth


def _paint_sky(frame: Frame, weather: Weather, light: Floats) -> None:
    """Paint the sky: a gradient, clouds, and the glare around the sun."""
    last = min(frame.view.height, round(frame.view.middle) + 1)
    sky = frame.surface[:last] == SKY
    up, right = frame.view.up[:last], frame.view.right
    rise = np.clip(up / np.float32(0.7), 0, 1) ** np.float32(0.6)
    flat = np.float32(0.25) / (np.abs(up) + np.float32(0.15))  # clouds get flatter towards the horizon
    drift = np.float32(frame.world.key.index * 0.37 % 1)
    s, t = right * flat * np.float32(1.4) + drift, np.broadcast_to(flat * np.float32(1.2) + drift, sky.shape)
    cloud = shades(s, t, np.full(sky.shape, CLOUDS, np.float32))
    gain = 1 + np.clip(cloud * 3 + np.float32(0.1), -0.5, 1.2) * np.float32(weather.clouds)
    glare = np.zeros_like(gain)
    x, y, z = frame.world.sun
    if weather.sunny and z > 0.2:
        off = (right - np.float32(x / z)) ** 2 + (up - np.float32(y / z)) ** 2
        glare = 0.3 * cv2.exp(off * np.float32(-4)) + 2 * cv2.exp(off * np.float32(-300))
    for c, plane in enumerate(light):
        colour = weather.horizon[c] + (weather.zenith[c] - weather.horizon[c]) * rise
        np.copyto(plane[:last], colour * gain + glare * np.float32(weather.sun[c]), where=sky)
