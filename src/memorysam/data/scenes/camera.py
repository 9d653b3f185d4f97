"""The colour camera: rain on the way, exposure, motion blur, noise and 8 bits."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from memorysam.data.scenes.names import Key
from memorysam.data.scenes.textures import Floats, noise
from memorysam.data.scenes.weather import Weather

_STREAKS: Final = 260


def photograph(light: Floats, weather: Weather, key: Key) -> NDArray[np.uint8]:
    """Return what the camera makes of light `[3, H, W]`: `[H, W, 3]`, red first."""
    rng, failure = key.chance(2), key.failure
    height, width = light.shape[1:]
    gain, grain, black = weather.exposure, weather.grain, 0.0
    if failure == "overexposure":
        gain *= rng.uniform(4, 7) * (3 if weather.dark else 1)
    elif failure == "underexposure":
        gain *= rng.uniform(0.035, 0.08) * (4 if weather.dark else 1)
        grain, black = grain + 3, 14.0
    streaks = _streaks(rng, height, width) if weather.wet else None
    glare = rng.uniform(0.0, 0.06) if weather.sunny else 0.0
    blur = max(3, round(width * rng.uniform(0.03, 0.07))) | 1 if failure == "motionblur" else 1
    planes = []
    for linear in light:
        plane = cv2.GaussianBlur(linear, (3, 3), 0.55)
        if streaks is not None:
            plane += streaks
        if blur > 1:
            plane = cv2.blur(plane, (blur, 1))
        plane *= np.float32(gain)
        plane += np.float32(glare)
        plane = cv2.sqrt(np.maximum(plane, 0))
        plane *= 255
        plane += noise(rng, height, width) * np.float32(grain) - np.float32(black)
        planes.append(np.clip(plane, 0, 255).astype(np.uint8))
    picture: NDArray[np.uint8] = cv2.merge(planes)
    return picture


def _streaks(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Return the light of falling drops, `[H, W]`: short slanted lines, smeared by their fall."""
    fall = np.asarray([rng.uniform(-0.25, 0.25), 1]) * (height * rng.uniform(0.04, 0.09))
    start = rng.random((_STREAKS, 2)) * (width, height)
    lines = np.rint(np.stack([start, start + fall], 1) * 16).astype(np.int32)
    canvas = np.zeros((height, width), np.uint8)
    cv2.polylines(canvas, list(lines), False, 255, max(1, height // 400), shift=4)
    soft: NDArray[np.uint8] = cv2.blur(canvas, (max(1, width // 256) | 1, max(1, height // 64) | 1))
    return soft * np.float32(0.13 / 255)
