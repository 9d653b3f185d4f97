"""From the plan of a scene to pixels: which surface each pixel shows and how far away it is.

Only the number of the surface is painted, from far to near. Every surface is a plane, so that depth, position, normal,
colour and the rest follow for all pixels at once from tables with one row per surface.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from memorysam.data.scenes import materials
from memorysam.data.scenes.catalog import ID
from memorysam.data.scenes.models import library
from memorysam.data.scenes.shapes import CORNERS
from memorysam.data.scenes.plan import World
from memorysam.data.scenes.textures import Floats, lookup

NEAR: Final = 0.8
"""Nothing nearer than this is seen, metres."""
_FRACTION: Final = 4
"""Bits behind the point in the coordinates that OpenCV draws with."""
_SKY, _GROUND = 0, 1


@dataclass(frozen=True)
class View:
    """A pinhole camera that looks along z, its picture `height` by `width` pixels, its eye `eye` metres up."""

    height: int
    width: int
    focal: float
    """Pixels."""
    middle: float
    """Row of the horizon."""
    eye: float

    @classmethod
    def of(cls, world: World, size: tuple[int, int]) -> "View":
        """Return the camera of a scene: at every size it sees the same along the longer side."""
        height, width = size
        return cls(height, width, 0.6 * max(size), world.horizon * height, world.eye)

    @cached_property
    def right(self) -> Floats:
        """`[1, W]`: how far a ray goes to the right for each metre ahead."""
        return ((np.arange(self.width, dtype=np.float32) + 0.5 - self.width / 2) / np.float32(self.focal))[None]

    @cached_property
    def up(self) -> Floats:
        """`[H, 1]`: how far a ray rises for each metre ahead."""
        return ((self.middle - np.arange(self.height, dtype=np.float32) - 0.5) / np.float32(self.focal))[:, None]

    def project(self, points: Floats) -> Floats:
        """Return the pixel coordinates `[..., 2]` (column, row) of points `[..., 3]` in front of the camera."""
        scale = np.float32(self.focal) / points[..., 2]
        column = points[..., 0] * scale + np.float32(self.width / 2)
        row = (np.float32(self.eye) - points[..., 1]) * scale + np.float32(self.middle)
        return np.stack([column, row], axis=-1)


@dataclass(frozen=True)
class Surfaces:
    """One row for every surface; the first two are sky and bare ground."""

    label: NDArray[np.uint8]
    thing: NDArray[np.int64]
    """Number of the thing that it belongs to; 0 for sky and ground."""
    material: NDArray[np.int64]
    normal: Floats  # [N, 3], unit length, towards the camera
    plane: Floats  # [N, 3]: inverse depth is plane . (right, up, 1)
    colour: Floats  # [N, 3]
    lit: Floats
    velocity: Floats  # [N, 2], x and z
    shift: Floats


@dataclass(frozen=True)
class Frame:
    """What the camera sees of a scene, before any sensor."""

    world: World
    view: View
    surfaces: Surfaces
    surface: NDArray[np.intp]
    """`[H, W]` row in the tables."""

    def spread(self, column: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return a table's column for every pixel, `[H, W]`."""
        return np.take(column, self.surface)

    def floats(self, column: Floats) -> Floats:
        """Return a table's column for every pixel, `[H, W]`."""
        return np.take(column, self.surface)

    @cached_property
    def label(self) -> NDArray[np.uint8]:
        """`[H, W]` class ids."""
        return np.take(self.surfaces.label, self.surface)

    @cached_property
    def nearness(self) -> Floats:
        """`[H, W]` inverse depth, 1 / metres; 0 for the sky."""
        plane = self.surfaces.plane
        inverse = self.floats(plane[:, 0]) * self.view.right
        inverse += self.floats(plane[:, 1]) * self.view.up
        inverse += self.floats(plane[:, 2])
        return np.clip(inverse, 0, 1 / NEAR, out=inverse)

    @cached_property
    def depth(self) -> Floats:
        """`[H, W]` metres along the camera's axis; a kilometre for the sky."""
        return np.float32(1) / np.maximum(self.nearness, np.float32(1e-3))

    @cached_property
    def x(self) -> Floats:
        """`[H, W]` metres to the right of the camera."""
        return self.depth * self.view.right

    @cached_property
    def y(self) -> Floats:
        """`[H, W]` metres above the road."""
        return self.depth * self.view.up + np.float32(self.view.eye)

    @cached_property
    def texture(self) -> tuple[Floats, Floats]:
        """`[H, W]` shade, -1 to 1, and windows, 0 to 1: both fade where a texture gets finer than the pixels."""
        table, normal = materials.columns(), self.surfaces.normal
        scale = 1 / table.tile[self.surfaces.material]
        across = np.hypot(normal[:, 0], normal[:, 2])
        upright = across > 0.3
        safe = np.where(upright, across, 1)
        along_x, along_z = (np.where(upright, n / safe, flat) * scale for n, flat in ((normal[:, 2], 1), (-normal[:, 0], 0)))
        s = self.floats(along_x.astype(np.float32)) * self.x
        s += self.floats(along_z.astype(np.float32)) * self.depth
        s += self.floats(self.surfaces.shift)
        t = self.floats(np.where(upright, scale, 0).astype(np.float32)) * self.y
        t += self.floats(np.where(upright, 0, scale).astype(np.float32)) * self.depth
        shade, panes = lookup(s, t, self.floats(table.texture[self.surfaces.material]))
        texels = self.floats((scale * np.float32(256 / self.view.focal)).astype(np.float32)) * self.depth
        shade *= np.minimum(np.float32(1), np.float32(2.5) / texels)
        panes *= np.minimum(np.float32(1), np.float32(10) / texels)
        return shade, panes


def render(world: World, size: tuple[int, int]) -> Frame:
    """Paint a scene at a size (height, width)."""
    view = View.of(world, size)
    base, strips = _ground(world, view)
    faces, outlines, round_ = _faces(world, view)
    canvas = np.zeros(size, np.int32)
    canvas[max(0, round(view.middle)) :] = _GROUND
    for number, strip in strips:
        cv2.fillPoly(canvas, [strip], number, shift=_FRACTION)
    quads = list(np.ascontiguousarray(outlines[:, ::3]))
    number = len(base.label)
    for quad, outline, many in zip(quads, outlines, round_.tolist(), strict=True):
        cv2.fillConvexPoly(canvas, outline if many else quad, number, shift=_FRACTION)
        number += 1
    both = (np.concatenate([getattr(base, f), getattr(faces, f)]) for f in Surfaces.__dataclass_fields__)
    return Frame(world, view, Surfaces(*both), canvas.astype(np.intp))


@cache
def _distances() -> tuple[NDArray[np.float64], ...]:
    """Where a strip of ground is cut: finely near the camera, in two pieces."""
    return np.geomspace(1.0, 22, 8), np.geomspace(22, 220, 8)


def _ground(world: World, view: View) -> tuple[Surfaces, list[tuple[int, NDArray[np.int32]]]]:
    """Return sky, bare ground and the strips along the road, with the strips' outlines."""
    road, strips = world.road, []
    rows = [("Sky", "sky", (0.0, 0.0, -1.0), 0.0), ("Terrain", "soil", (0.0, 1.0, 0.0), 0.0)]
    for ribbon in world.ribbons:
        for z in _distances():
            middle = road.centre + road.slope * z + 0.5 * road.bend * z * z
            there = np.stack([middle + ribbon.left, np.full_like(z, ribbon.low), z], -1)
            back = np.stack([middle + ribbon.right, np.full_like(z, ribbon.high), z], -1)[::-1]
            strips.append((len(rows), _fixed(view.project(np.concatenate([there, back]).astype(np.float32)))))
            normal = (-np.sign(ribbon.left), 0.0, 0.0) if ribbon.upright else (0.0, 1.0, 0.0)
            rows.append((ribbon.kind, ribbon.material, normal, 0.0 if ribbon.upright else ribbon.low))
    count = len(rows)
    plane = np.zeros((count, 3), np.float32)
    plane[1:, 1] = [-1 / (view.eye - level) for *_, level in rows[1:]]
    surfaces = Surfaces(
        label=np.asarray([ID[kind] for kind, *_ in rows], np.uint8),
        thing=np.zeros(count, np.int64),
        material=np.asarray([materials.NUMBER[material] for _, material, *_ in rows]),
        normal=np.asarray([normal for *_, normal, _ in rows], np.float32),
        plane=plane,
        colour=np.asarray([world.ground.get(material, (0, 0, 0)) for _, material, *_ in rows], np.float32),
        lit=np.ones(count, np.float32),
        velocity=np.zeros((count, 2), np.float32),
        shift=np.zeros(count, np.float32),
    )
    return surfaces, strips


def _faces(world: World, view: View) -> tuple[Surfaces, NDArray[np.int32], NDArray[np.bool_]]:
    """Return the visible faces of all things from far to near, their outlines `[F, 12, 2]`, and which are round."""
    models, things = library(), world.things
    things = things[np.argsort(-_far_end(things), kind="stable")]
    shape = things["shape"]
    count = models.count[shape]
    owner = np.repeat(np.arange(len(things)), count)
    face = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count) + models.start[shape][owner]
    size, place, yaw = things["size"], things["position"], things["yaw"]
    cos, sin = np.cos(yaw), np.sin(yaw)

    # Facing, and large enough to matter: decided on centres and normals, before any corner is computed.
    eye = np.asarray([0, view.eye, 0], np.float32)
    centre = _turn(models.centre[face] * size[owner], cos[owner], sin[owner]) + place[owner] - eye
    normal = _turn(models.normal[face] / size[owner], cos[owner], sin[owner])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    offset = (normal * centre).sum(1)  # distance from the eye to the plane, negative if it faces the camera
    away, distance = offset > 0, np.linalg.norm(centre, axis=1)
    reach = models.reach[face] * np.abs(size[owner]).max(1)
    glows = materials.columns().glow[models.material[face]].any(1)
    keep = (np.abs(offset) > 0.004 * distance) & (models.both[face] | ~away) & (centre[:, 2] + reach > NEAR)
    keep &= (reach * view.focal > 0.3 * distance) | glows
    normal[away] *= -1
    offset[away] *= -1

    face, owner, normal, offset = face[keep], owner[keep], normal[keep], offset[keep]
    corners = models.corners[face] * size[owner][:, None]
    corners = _turn(corners, cos[owner][:, None], sin[owner][:, None]) + place[owner][:, None]
    whole = (corners[..., 2] >= NEAR).all(1)
    cut = ~whole & ~models.round[face] & (corners[..., 2] > NEAR).any(1)
    corners[cut] = _cut(corners[cut, ::3])
    pixels = view.project(np.where((whole | cut)[:, None, None], corners, np.float32(1)))
    low, high = pixels.min(1), pixels.max(1)
    keep = (whole | cut) & (high > -1).all(1) & (low[:, 0] <= view.width) & (low[:, 1] <= view.height)
    face, owner, normal, offset = face[keep], owner[keep], normal[keep], offset[keep]

    table = materials.columns()
    material = models.material[face]
    source = table.source[material][:, None]
    colour = np.where(source == 1, things["first"][owner], np.where(source == 2, things["second"][owner], table.fixed[material]))
    surfaces = Surfaces(
        label=models.label[face],
        thing=owner + 1,
        material=material,
        normal=normal,
        plane=normal / offset[:, None],
        colour=colour.astype(np.float32),
        lit=things["lit"][owner],
        velocity=things["velocity"][owner],
        shift=things["shift"][owner],
    )
    return surfaces, _fixed(pixels[keep]), models.round[face] | cut[keep]


def _far_end(things: NDArray[np.void]) -> Floats:
    """Return the distance by which things are sorted: that of the far end, so that what stands beside it is in front."""
    extent = library().extent[things["shape"]] * np.abs(things["size"])
    reach = np.abs(extent[:, 0] * np.sin(things["yaw"])) + np.abs(extent[:, 2] * np.cos(things["yaw"]))
    return np.where(things["layer"] > 0, things["layer"], things["position"][:, 2] + reach)


def _turn(points: Floats, cos: Floats, sin: Floats) -> Floats:
    """Turn points `[..., 3]` clockwise seen from above."""
    x, z = points[..., 0], points[..., 2]
    return np.stack([x * cos + z * sin, points[..., 1], z * cos - x * sin], axis=-1)


def _cut(quads: Floats) -> Floats:
    """Cut quadrilaterals `[K, 4, 3]` off at the near plane; give them twelve corners again, some of them repeated."""
    before, after = np.roll(quads, 1, axis=1), np.roll(quads, -1, axis=1)
    z = quads[..., 2:]

    def meet(other: Floats) -> Floats:
        gap = other[..., 2:] - z
        share = (NEAR - z) / np.where(np.abs(gap) < 1e-6, 1, gap)
        point = quads + share * (other - quads)
        point[..., 2] = NEAR
        return point

    behind = z < NEAR
    entry = np.where(before[..., 2:] >= NEAR, meet(before), meet(after))
    exit_ = np.where(after[..., 2:] >= NEAR, meet(after), meet(before))
    hidden = behind & (before[..., 2:] < NEAR) & (after[..., 2:] < NEAR)
    entry, exit_ = np.where(hidden, np.nan, entry), np.where(hidden, np.nan, exit_)
    pair = np.stack([np.where(behind, entry, quads), np.where(behind, exit_, quads)], axis=2).reshape(len(quads), 8, 3)
    gap = np.isnan(pair[..., 0])
    if gap.any():  # a corner whose neighbours are hidden as well: stand on the one before
        pair = np.where(gap[..., None], np.roll(pair, 1, axis=1), pair)
        pair = np.where(np.isnan(pair), np.roll(pair, 1, axis=1), pair)
    return np.concatenate([pair, np.repeat(pair[:, -1:], CORNERS - 8, axis=1)], axis=1)


def _fixed(pixels: Floats) -> NDArray[np.int32]:
    """Return pixel coordinates as OpenCV's fixed-point numbers, whose whole values are the centres of pixels."""
    return np.rint((np.clip(pixels, -30000, 30000) - 0.5) * (1 << _FRACTION)).astype(np.int32)
