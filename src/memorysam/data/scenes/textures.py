"""Noise and surface textures that are computed once per process and then only looked up."""

from functools import cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

TILE: Final = 256
"""Texels on a side of a texture; all of them tile seamlessly."""

PLAIN, ASPHALT, PAVING, GRASS, LEAF, FACADE, BRICK, PLANKS, CLOUDS = range(9)
"""Numbers of the textures."""

_POOL: Final = 3 << 19
_CELL: Final = TILE // 8
"""A facade's tile has eight windows in eight floors, a pavement's eight by eight slabs."""


def noise(rng: np.random.Generator, height: int, width: int) -> Floats:
    """Return `[height, width]` of standard normal noise: a view into one pool, read-only, begun at a random place."""
    pool, need = _pool(), height * width
    start = int(rng.integers(_POOL >> 2))
    if need > _POOL - start:
        return np.resize(pool[start:], (height, width))
    return pool[start : start + need].reshape(height, width)


def shades(s: Floats, t: Floats, kind: Floats) -> Floats:
    """Look textures up, bilinearly.

    Args:
        s: `[H, W]` position across the surface, in tiles.
        t: `[H, W]` position along it, in tiles.
        kind: `[H, W]` number of the texture.

    Returns:
        `[H, W]`: how much lighter (up to 1) or darker (down to -1) the surface is there.
    """
    column, row = _texels(s), _texels(t) + kind * (TILE + 1)
    shade: Floats = cv2.remap(_atlas()[0], column, row, cv2.INTER_LINEAR).astype(np.float32)
    shade -= 128
    shade *= 1 / 127
    return shade


def panes(s: Floats, t: Floats, kind: Floats) -> Floats:
    """Return how much of a window is there, `[H, W]`: 0 for wall, about 0.4 for a dark pane, 1 for a lit one."""
    column, row = _texels(s), _texels(t) + (kind - FACADE) * (TILE + 1)  # other textures fall outside
    pane: NDArray[np.uint8] = cv2.remap(_atlas()[1], column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return pane.astype(np.float32) * np.float32(1 / 255)


def _texels(position: Floats) -> Floats:
    return (position - np.floor(position)) * TILE


@cache
def _pool() -> Floats:
    pool = np.random.default_rng((90, 1)).standard_normal(_POOL, dtype=np.float32)
    pool.flags.writeable = False
    return pool


@cache
def _atlas() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the textures below each other, each with its first row and column repeated at its end, and the windows."""
    rng = np.random.default_rng((90, 2))
    fine, patches, clumps, soft = (_fractal(rng, slope) for slope in (0.2, 1.2, 0.8, 1.7))
    rows, columns = np.mgrid[0:TILE, 0:TILE]
    tones = {
        PLAIN: 0.12 * fine + 0.12 * patches,
        ASPHALT: 0.14 * fine + 0.22 * patches - 0.45 * (np.abs(soft) < 0.02),
        PAVING: 0.10 * fine
        + 0.16 * _slabs(rng, rows, columns, _CELL, _CELL)
        - 0.35 * _joints(rows, columns, _CELL, _CELL),
        GRASS: 0.25 * fine + 0.25 * clumps,
        LEAF: 0.65 * np.tanh(1.6 * clumps) + 0.10 * fine,
        FACADE: 0.06 * fine + 0.10 * patches + 0.25 * (rows % _CELL < 3),
        BRICK: 0.08 * fine + 0.25 * _bricks(rng, rows, columns) + 0.08 * patches,
        PLANKS: 0.06 * fine + 0.22 * _slabs(rng, rows, columns, TILE, TILE // 16) - 0.6 * (columns % (TILE // 16) < 3),
        CLOUDS: 0.35 * soft,
    }
    tiles = [_quantise(128 + 127 * tones[kind]) for kind in sorted(tones)]
    return np.concatenate(tiles), _quantise(255 * _windows(rng, rows, columns))


def _fractal(rng: np.random.Generator, slope: float) -> Floats:
    """Return noise of unit spread whose amplitude falls with frequency to the power of `-slope`."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(TILE), np.fft.rfftfreq(TILE), indexing="ij"))
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((TILE, TILE))) * frequency**-slope
    field = np.fft.irfft2(spectrum, s=(TILE, TILE))
    unit: Floats = (field / field.std()).astype(np.float32)
    return unit


def _slabs(rng: np.random.Generator, rows: NDArray[np.int64], columns: NDArray[np.int64], h: int, w: int) -> Floats:
    levels = rng.standard_normal((TILE // h, TILE // w), dtype=np.float32)
    return levels[rows // h, columns // w]


def _joints(rows: NDArray[np.int64], columns: NDArray[np.int64], h: int, w: int) -> NDArray[np.bool_]:
    return (rows % h < 2) | (columns % w < 2)


def _bricks(rng: np.random.Generator, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Floats:
    shifted = (columns + (rows // 16 % 2) * 16) % TILE
    return np.where(_joints(rows, shifted, 16, 32), np.float32(1.2), _slabs(rng, rows, shifted, 16, 32))


def _windows(rng: np.random.Generator, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Floats:
    """Rows count upwards on a facade: a sill below, a lintel above, a bar in the middle."""
    level = np.where(rng.random((8, 8)) < 0.35, 1.0, rng.uniform(0.33, 0.5, (8, 8)))
    y, x = rows % _CELL, columns % _CELL
    glass = (y > 8) & (y < 26) & (x > 6) & (x < 26) & ((x < 15) | (x > 17))
    return (glass * level[rows // _CELL, columns // _CELL]).astype(np.float32)


def _quantise(tile: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.pad(np.clip(np.rint(tile), 0, 255).astype(np.uint8), ((0, 1), (0, 1)), mode="wrap")
