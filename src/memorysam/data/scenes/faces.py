"""From the plan of a scene to the list of surfaces that are painted, from far to near."""

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from memorysam.data.scenes import materials
from memorysam.data.scenes.models import VEHICLES, library
from memorysam.data.scenes.names import ID
from memorysam.data.scenes.plan import World
from memorysam.data.scenes.textures import Floats
from memorysam.data.scenes.view import NEAR, Outlines, View, cut, fixed

SKY, GROUND = 0, 1
"""Rows of the sky and of bare ground among the surfaces."""

_CUTS: Final = (np.geomspace(1.0, 22, 8), np.geomspace(22, 220, 8))
"""Where strips of ground get a corner, metres: in two pieces, finely near the camera."""


@dataclass(frozen=True)
class Surfaces:
    """One row for every surface. All of them are planes."""

    label: NDArray[np.uint8]
    thing: NDArray[np.int64]
    """Number of the thing that it belongs to; 0 for sky and ground."""
    material: NDArray[np.int64]
    normal: Floats  # [N, 3], unit length, towards the camera
    plane: Floats  # [N, 3]: inverse depth is plane . (right, up, 1) of the view's rays
    colour: Floats  # [N, 3]
    lit: Floats
    velocity: Floats  # [N, 2], x and z
    shift: Floats

    def __add__(self, other: "Surfaces") -> "Surfaces":
        """Put the rows of another table below."""
        both = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Surfaces(*(np.concatenate(pair) for pair in both))


def ground(world: World, view: View) -> tuple[Surfaces, list[tuple[int, Outlines]]]:
    """Return sky, bare ground and the strips along the road, with the strips' rows and outlines."""
    road, strips = world.road, []
    rows = [("Sky", "sky", (0.0, 0.0, -1.0), 0.0), ("Terrain", "soil", (0.0, 1.0, 0.0), 0.0)]
    for ribbon in world.ribbons:
        normal = (-np.sign(ribbon.left), 0.0, 0.0) if ribbon.upright else (0.0, 1.0, 0.0)
        for z in _CUTS:
            middle = road.centre + road.slope * z + 0.5 * road.bend * z * z
            there = np.stack([middle + ribbon.left, np.full_like(z, ribbon.low), z], -1)
            back = np.stack([middle + ribbon.right, np.full_like(z, ribbon.high), z], -1)[::-1]
            strips.append((len(rows), fixed(view.project(np.concatenate([there, back]).astype(np.float32)))))
            rows.append((ribbon.kind, ribbon.material, normal, ribbon.low))
    kinds, stuffs, normals, levels = zip(*rows, strict=True)
    count = len(rows)
    plane = np.zeros((count, 3), np.float32)
    plane[GROUND:, 1] = -1 / (view.eye - np.asarray(levels[GROUND:]))
    surfaces = Surfaces(
        label=np.asarray([ID[kind] for kind in kinds], np.uint8),
        thing=np.zeros(count, np.int64),
        material=np.asarray([materials.NUMBER[stuff] for stuff in stuffs]),
        normal=np.asarray(normals, np.float32),
        plane=plane,
        colour=np.asarray([world.ground.get(stuff, (0, 0, 0)) for stuff in stuffs], np.float32),
        lit=np.ones(count, np.float32),
        velocity=np.zeros((count, 2), np.float32),
        shift=np.zeros(count, np.float32),
    )
    return surfaces, strips


def faces(world: World, view: View) -> tuple[Surfaces, Outlines, NDArray[np.bool_]]:
    """Return the visible faces of things from far to near, their outlines `[F, 12, 2]`, and which need all twelve."""
    models, things = library(), world.things
    things = things[_order(things)]
    count = models.count[things["shape"]]
    owner = np.repeat(np.arange(len(things)), count)
    face = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count) + models.start[things["shape"]][owner]
    size, place = things["size"], things["position"]
    cos, sin = np.cos(things["yaw"]), np.sin(things["yaw"])

    # Facing the camera and large enough to matter: told from centres and normals, before any corner is computed.
    eye = np.asarray([0, view.eye, 0], np.float32)
    centre = _turn(models.centre[face] * size[owner], cos[owner], sin[owner]) + place[owner] - eye
    normal = _turn(models.normal[face] / size[owner], cos[owner], sin[owner])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    offset = (normal * centre).sum(1)  # of the plane from the eye, negative if it faces the camera
    away, distance = offset > 0, np.linalg.norm(centre, axis=1)
    reach = models.reach[face] * np.abs(size[owner]).max(1)
    glows = materials.columns().glow[models.material[face]].any(1)
    keep = (np.abs(offset) > 0.004 * distance) & (models.both[face] | ~away) & (centre[:, 2] + reach > NEAR)
    keep &= (reach * view.focal > 0.5 * distance) | glows
    normal[away] *= -1
    offset[away] *= -1

    face, owner, normal, offset = face[keep], owner[keep], normal[keep], offset[keep]
    corners = models.corners[face] * size[owner][:, None]
    corners = _turn(corners, cos[owner][:, None], sin[owner][:, None]) + place[owner][:, None]
    front = corners[..., 2] >= NEAR
    whole = front.all(1)
    split = ~whole & ~models.round[face] & front.any(1)
    corners[split] = cut(corners[split, ::3])
    seen = whole | split
    pixels = view.project(np.where(seen[:, None, None], corners, np.float32(1)))
    by_corner = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    (left, top), (right, bottom) = by_corner.min(0), by_corner.max(0)
    keep = seen & (right > -1) & (bottom > -1) & (left <= view.width) & (top <= view.height)
    face, owner, normal, offset = face[keep], owner[keep], normal[keep], offset[keep]

    table = materials.columns()
    material = models.material[face]
    source = table.source[material][:, None]
    colour = np.where(source == 1, things["first"][owner], table.fixed[material])
    surfaces = Surfaces(
        label=models.label[face],
        thing=owner + 1,
        material=material,
        normal=normal,
        plane=normal / offset[:, None],
        colour=np.where(source == 2, things["second"][owner], colour),
        lit=things["lit"][owner],
        velocity=things["velocity"][owner],
        shift=things["shift"][owner],
    )
    return surfaces, fixed(pixels[keep]), models.round[face] | split[keep]


def _order(things: NDArray[np.void]) -> NDArray[np.intp]:
    """Return the order in which things are painted: by the distance of their far ends.

    So what stands beside a long thing is in front of it, which is wrong where the line of sight passes through a
    vehicle: such things come before the vehicle.
    """
    models = library()
    extent = models.extent[things["shape"]] * np.abs(things["size"])
    cos, sin = np.cos(things["yaw"]), np.sin(things["yaw"])
    place = things["position"][:, [0, 2]]
    far = place[:, 1] + np.abs(extent[:, 0] * sin) + np.abs(extent[:, 2] * cos)
    far = np.where(things["layer"] > 0, things["layer"], far)
    hulls = np.flatnonzero(np.isin(things["shape"], [models.number[name] for name in VEHICLES]))
    points = np.flatnonzero(things["layer"] == 0)
    # In each vehicle's own directions: where the sight line enters and leaves its footprint, as shares of the line.
    axes = np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)[hulls]  # [V, right and ahead, x and z]
    eye = -np.einsum("vab,vb->va", axes, place[hulls])[:, None]
    line = np.einsum("vab,pb->vpa", axes, place[points])
    line = np.where(np.abs(line) < 1e-4, np.float32(1e-4), line)
    half = extent[hulls][:, None, [0, 2]]
    ends = (-half - eye) / line, (half - eye) / line
    enter, leave = np.minimum(*ends).max(-1), np.maximum(*ends).min(-1)
    hidden = (enter < leave) & (enter > 0) & (enter < 0.999) & (hulls[:, None] != points)
    for _ in range(2):  # what hides may itself be hidden
        behind = np.where(hidden, far[hulls][:, None] + np.float32(0.02), 0)
        far[points] = np.maximum(far[points], behind.max(0, initial=0))
    return np.argsort(-far, kind="stable")


def _turn(points: Floats, cos: Floats, sin: Floats) -> Floats:
    """Turn points `[..., 3]` clockwise seen from above."""
    x, z = points[..., 0], points[..., 2]
    return np.stack([x * cos + z * sin, points[..., 1], z * cos - x * sin], axis=-1)
