"""What the five conditions do to light and to the reach of sensors."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from memorysam.data.scenes.materials import Rgb
from memorysam.data.scenes.names import Key

_NO_LIGHT: Final = (0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Weather:
    """Light is linear, on a scale on which white paper under a cloudy sky is about 1."""

    ambient: Rgb
    """From the whole sky."""
    zenith: Rgb
    horizon: Rgb
    clouds: float
    """How much clouds vary the sky's brightness."""
    haze: float
    """Share of light lost for each metre."""
    exposure: float
    """Of the camera."""
    grain: float
    """Noise of the camera, 8-bit steps."""
    sun: Rgb = _NO_LIGHT
    depth_reach: float = 60.0
    """Where the depth camera sees no more, metres."""
    lidar_reach: float = 105.0
    """Where bright things stop to send an echo, metres."""
    drops: float = 0.0
    """Share of laser pulses and depth pixels lost to rain."""
    wet: float = 0.0
    """How much the ground mirrors, 0 to 1."""
    dark: bool = False
    """Whether lamps are on."""

    @property
    def sunny(self) -> bool:
        """Whether the sun casts shadows."""
        return max(self.sun) > 0.5


_CONDITIONS: Final = {
    "cloud": Weather(
        ambient=(0.86, 0.89, 0.94), sun=(0.14, 0.13, 0.12), zenith=(0.62, 0.67, 0.74), horizon=(0.82, 0.84, 0.86),
        clouds=0.25, haze=0.0015, exposure=1.15, grain=2.0,
    ),
    "fog": Weather(
        ambient=(0.72, 0.73, 0.75), zenith=(0.60, 0.61, 0.63), horizon=(0.62, 0.63, 0.64),
        clouds=0.02, haze=0.08, exposure=1.1, grain=3.0, depth_reach=30, lidar_reach=62,
    ),
    "night": Weather(
        ambient=(0.006, 0.007, 0.010), zenith=(0.002, 0.003, 0.006), horizon=(0.010, 0.008, 0.008),
        clouds=0.3, haze=0.002, exposure=1.25, grain=7.0, dark=True,
    ),
    "rain": Weather(
        ambient=(0.46, 0.48, 0.52), zenith=(0.34, 0.36, 0.40), horizon=(0.46, 0.48, 0.51),
        clouds=0.3, haze=0.011, exposure=1.3, grain=4.0, depth_reach=50, lidar_reach=75, drops=0.22, wet=0.75,
    ),
    "sun": Weather(
        ambient=(0.42, 0.46, 0.54), sun=(1.35, 1.24, 1.05), zenith=(0.20, 0.38, 0.75), horizon=(0.68, 0.78, 0.90),
        clouds=0.15, haze=0.001, exposure=1.1, grain=2.0,
    ),
}  # fmt: skip


def weather(key: Key) -> Weather:
    """Return the weather of a sample: that of its condition, somewhat more or less of it."""
    rng = key.chance(1)
    base = _CONDITIONS[key.condition]
    more, bright = rng.uniform(0.75, 1.35), rng.uniform(0.85, 1.12)
    dense = np.sqrt(more) if key.condition == "fog" else 1.0
    return replace(
        base,
        haze=base.haze * more,
        exposure=base.exposure * bright,
        grain=base.grain * rng.uniform(0.8, 1.3),
        clouds=base.clouds * rng.uniform(0.3, 1.3),
        drops=base.drops * more,
        wet=base.wet * rng.uniform(0.6, 1.2),
        depth_reach=base.depth_reach / dense,
        lidar_reach=base.lidar_reach / dense,
    )
