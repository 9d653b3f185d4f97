"""Draws the plan of a scene from the seed of a sample."""

import math
from typing import Final

from memorysam.data.scenes.catalog import Key
from memorysam.data.scenes.materials import Rgb
from memorysam.data.scenes.plan import Dice, Road, World
from memorysam.data.scenes.street import STYLES, build_plots, furnish, lay_ground
from memorysam.data.scenes.traffic import populate

_SOILS: Final[tuple[Rgb, ...]] = ((0.07, 0.11, 0.035), (0.09, 0.12, 0.04), (0.20, 0.17, 0.09), (0.18, 0.175, 0.17), (0.12, 0.09, 0.06))


def build(key: Key) -> World:
    """Plan the scene of a sample."""
    dice = Dice(key.chance(0))
    style = STYLES[key.style]
    lanes = (2 if dice.chance(style.wide) else 1, 2 if dice.chance(style.wide) else 1)
    parking = (2.2 if dice.chance(style.parking) else 0.0, 2.2 if dice.chance(style.parking) else 0.0)
    walk = tuple(dice.between(1.8, 4.2) if dice.chance(style.walk) else 0.0 for _ in range(2))
    lane = dice.between(3.0, 3.7)
    own = dice.count(1, lanes[1])  # the camera's lane, counted from the middle
    slope, bend = dice.bell(0.025), dice.bell(0.0022) if dice.chance(0.6) else 0.0
    road = Road(
        -(own - 0.5) * lane + dice.bell(0.25), slope, bend, lane, lanes, parking, (walk[0], walk[1])
    )
    asphalt = dice.between(0.07, 0.19)
    paving = dice.between(0.15, 0.32) if dice.chance(0.7) else asphalt * dice.between(0.9, 1.2)
    azimuth, elevation = dice.between(0, 2 * math.pi), dice.between(0.42, 1.05)
    speed = 0.0 if dice.chance(0.12) else dice.between(4, 15)
    flat = math.cos(elevation)
    world = World(
        key, road, dice.between(1.4, 2.0), dice.between(0.4, 0.5), speed, bend * speed + dice.bell(0.02),
        (flat * math.sin(azimuth), math.sin(elevation), flat * math.cos(azimuth)),
        {
            "road": (asphalt, asphalt, asphalt * dice.between(0.97, 1.06)),
            "walk": (paving * 1.03, paving, paving * 0.96),
            "kerb": (paving * 1.2, paving * 1.2, paving * 1.15),
            "line": dice.tint((0.62, 0.62, 0.60), 0.2) if dice.chance(0.85) else dice.tint((0.55, 0.40, 0.06), 0.15),
            "soil": dice.tint(dice.pick(_SOILS), 0.15),
        },
        junction=(dice.between(16, 55), dice.between(7, 12)) if dice.chance(style.junction) else None,
    )  # fmt: skip
    lay_ground(world, dice)
    build_plots(world, dice, style)
    furnish(world, dice, style)
    populate(world, dice, style, own)
    return world
