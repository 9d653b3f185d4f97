"""Draws the plan of a scene from the seed of a sample."""

import math
from typing import Final

from memorysam.data.scenes.materials import Rgb
from memorysam.data.scenes.names import Key
from memorysam.data.scenes.plan import Dice, Road, World
from memorysam.data.scenes.plots import STYLES, build_plots
from memorysam.data.scenes.street import furnish, lay_ground
from memorysam.data.scenes.traffic import populate

_SOILS: Final[tuple[Rgb, ...]] = (
    (0.07, 0.11, 0.035), (0.09, 0.12, 0.04), (0.20, 0.17, 0.09), (0.18, 0.175, 0.17), (0.12, 0.09, 0.06),
)  # fmt: skip


def build(key: Key) -> World:
    """Plan the scene of a sample."""
    dice = Dice(key.chance(0))
    style = STYLES[key.style]
    lanes = (1 + dice.chance(style.wide), 1 + dice.chance(style.wide))
    own = dice.count(1, lanes[1])  # the camera's lane, counted from the middle
    lane = dice.between(2.9, 3.6)
    road = Road(
        centre=-(own - 0.5) * lane + dice.bell(0.25),
        slope=dice.bell(0.025),
        bend=dice.bell(0.0022) if dice.chance(0.6) else 0.0,
        lane=lane,
        lanes=lanes,
        parking=(2.2 * dice.chance(style.parking), 2.2 * dice.chance(style.parking)),
        walk=(
            dice.between(1.8, 4.8) * dice.chance(style.walk),
            dice.between(1.8, 4.8) * dice.chance(style.walk),
        ),
    )
    speed = 0.0 if dice.chance(0.12) else dice.between(4, 15)
    azimuth, elevation = dice.between(0, 2 * math.pi), dice.between(0.5, 1.15)
    world = World(
        key,
        road,
        eye=dice.between(1.4, 2.0),
        horizon=dice.between(0.44, 0.56),
        speed=speed,
        turn=road.bend * speed + dice.bell(0.02),
        sun=(
            math.cos(elevation) * math.sin(azimuth),
            math.sin(elevation),
            math.cos(elevation) * math.cos(azimuth),
        ),
        ground=_ground_colours(dice),
        junction=(dice.between(13, 50), dice.between(7, 12)) if dice.chance(style.junction) else None,
    )
    lay_ground(world, dice)
    build_plots(world, dice, style)
    furnish(world, dice, style)
    populate(world, dice, style, own)
    return world


def _ground_colours(dice: Dice) -> dict[str, Rgb]:
    """Sidewalks are sometimes as grey as the road: then only their height tells."""
    asphalt = dice.between(0.07, 0.19)
    paving = dice.between(0.15, 0.32) if dice.chance(0.7) else asphalt * dice.between(0.9, 1.2)
    white, yellow = (0.62, 0.62, 0.60), (0.55, 0.40, 0.06)
    return {
        "road": (asphalt, asphalt, asphalt * dice.between(0.97, 1.06)),
        "walk": (paving * 1.03, paving, paving * 0.96),
        "kerb": (paving * 1.2, paving * 1.2, paving * 1.15),
        "line": dice.tint(white if dice.chance(0.85) else yellow, 0.2),
        "soil": dice.tint(dice.pick(_SOILS), 0.15),
    }
