"""From the plan of a scene to pixels: which surface each pixel shows, how far away it is, how it is textured.

Only the number of the surface is painted, from far to near. Every surface is a plane, so that depth, position, normal,
colour and the rest follow for all pixels at once from tables with one row per surface.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from memorysam.data.scenes import materials
from memorysam.data.scenes.faces import GROUND, Surfaces, faces, ground
from memorysam.data.scenes.plan import World
from memorysam.data.scenes.textures import TILE, Floats, panes, shades
from memorysam.data.scenes.view import NEAR, View, fill, fill_strip


@dataclass(frozen=True)
class Frame:
    """What the camera sees of a scene, before any sensor. Everything is computed when it is first asked for."""

    world: World
    view: View
    surfaces: Surfaces
    surface: NDArray[np.intp]
    """`[H, W]` row in the tables."""

    def spread(self, column: Floats) -> Floats:
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
        inverse = self.spread(plane[:, 0]) * self.view.right
        inverse += self.spread(plane[:, 1]) * self.view.up
        inverse += self.spread(plane[:, 2])
        np.clip(inverse, 0, 1 / NEAR, out=inverse)
        return inverse

    @cached_property
    def depth(self) -> Floats:
        """`[H, W]` metres along the camera's axis; a kilometre for the sky."""
        return np.reciprocal(np.maximum(self.nearness, np.float32(1e-3)))

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
        """`[H, W]` shade, -1 to 1, and windows, 0 to 1; both fade where a texture gets finer than the pixels."""
        table, normal = materials.columns(), self.surfaces.normal
        material = self.surfaces.material
        scale = np.reciprocal(table.tile[material])
        across = np.hypot(normal[:, 0], normal[:, 2])
        upright = across > 0.3
        run = scale / np.where(upright, across, 1)
        none = np.zeros_like(scale)
        s = self.spread(np.where(upright, run * normal[:, 2], scale).astype(np.float32)) * self.x
        s += self.spread(np.where(upright, -run * normal[:, 0], none).astype(np.float32)) * self.depth
        s += self.spread(self.surfaces.shift)
        t = self.spread(np.where(upright, scale, none)) * self.y
        t += self.spread(np.where(upright, none, scale)) * self.depth
        kind = self.spread(table.texture[material])
        shade, pane = shades(s, t, kind), panes(s, t, kind)
        texels = self.spread(scale * np.float32(TILE / self.view.focal)) * self.depth  # in a pixel
        shade *= np.minimum(np.float32(1), np.float32(2.5) / texels)
        pane *= np.minimum(np.float32(1), np.float32(10) / texels)
        return shade, pane


def render(world: World, size: tuple[int, int]) -> Frame:
    """Paint a scene at a size (height, width)."""
    view = View.of(world, size)
    base, strips = ground(world, view)
    things, outlines, round_ = faces(world, view)
    canvas = np.zeros(size, np.int32)
    canvas[max(0, round(view.middle)) :] = GROUND
    for number, strip in strips:
        fill_strip(canvas, strip, number)
    quads = np.ascontiguousarray(outlines[:, ::3])
    for number, (quad, outline, all_) in enumerate(zip(quads, outlines, round_.tolist(), strict=True), len(base.label)):
        fill(canvas, outline if all_ else quad, number)
    return Frame(world, view, base + things, canvas.astype(np.intp))
