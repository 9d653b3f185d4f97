"""What surfaces are made of: colour, texture, how they glow, and what a laser sees of them."""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from memorysam.data.scenes import textures as tx

Rgb = tuple[float, float, float]
"""Red, green, blue: linear, 0 to 1 for what a surface reflects."""

FIRST: Final = "first"
SECOND: Final = "second"


@dataclass(frozen=True)
class Material:
    """One kind of surface."""

    colour: Rgb | str
    """What it reflects, or which of the two colours of its thing."""
    texture: int = tx.PLAIN
    tile: float = 4.0
    """Metres that a tile of the texture covers."""
    contrast: float = 0.5
    """Of the texture, 0 to 1."""
    glow: Rgb = (0.0, 0.0, 0.0)
    """Light that it gives off by itself where its thing is lit."""
    shine: float = 0.0
    """How much it throws headlights back at the car they come from, 0 to 1."""
    echo: float = 0.4
    """Share of a laser's light that comes back, 0 to 1."""
    glass: bool = False
    """Lasers pass through or are mirrored away."""
    rough: float = 0.0
    """Unevenness along the line of sight, metres."""


MATERIALS: Final[dict[str, Material]] = {
    "sky": Material((0.6, 0.7, 0.8), tx.CLOUDS, contrast=0.0),
    "soil": Material(FIRST, tx.GRASS, 5.0, 0.8, echo=0.3, rough=0.04),
    "road": Material(FIRST, tx.ASPHALT, 9.0, 0.55, echo=0.12),
    "line": Material(FIRST, tx.ASPHALT, 9.0, 0.5, shine=0.2, echo=0.85),
    "walk": Material(FIRST, tx.PAVING, 4.8, 0.7, echo=0.25),
    "kerb": Material(FIRST, tx.PLAIN, 3.0, 0.5, echo=0.3),
    "facade": Material(FIRST, tx.FACADE, 25.0, 0.8, echo=0.45),
    "shop": Material(SECOND, tx.PLAIN, 6.0, 0.6, echo=0.35),
    "pane": Material((0.05, 0.06, 0.08), tx.PLAIN, 6.0, 0.5, glow=(0.35, 0.29, 0.2), echo=0.1, glass=True),
    "roof": Material(SECOND, tx.PLANKS, 4.0, 0.5, echo=0.35),
    "brick": Material(FIRST, tx.BRICK, 3.0, 0.7, echo=0.45),
    "plaster": Material(FIRST, tx.PLAIN, 8.0, 0.9, echo=0.45),
    "planks": Material(FIRST, tx.PLANKS, 3.2, 0.9, echo=0.4),
    "bark": Material((0.09, 0.065, 0.045), tx.LEAF, 1.5, 0.4, echo=0.3, rough=0.02),
    "leaf": Material(FIRST, tx.LEAF, 3.0, 0.85, echo=0.4, rough=0.35),
    "leaf_light": Material(SECOND, tx.LEAF, 3.0, 0.85, echo=0.45, rough=0.35),
    "metal": Material(FIRST, tx.PLAIN, 2.0, 0.3, echo=0.35),
    "lamp": Material((0.4, 0.4, 0.36), glow=(3.0, 2.3, 1.3), echo=0.3),
    "plate": Material(FIRST, contrast=0.1, shine=0.5, echo=1.0),
    "symbol": Material(SECOND, contrast=0.1, shine=0.5, echo=0.9),
    "housing": Material((0.025, 0.028, 0.025), contrast=0.2, echo=0.2),
    "red": Material((0.25, 0.02, 0.02), glow=(2.2, 0.12, 0.06), echo=0.2),
    "green": Material((0.02, 0.2, 0.1), glow=(0.08, 1.6, 0.7), echo=0.2),
    "off": Material((0.05, 0.04, 0.035), echo=0.15),
    "body": Material(FIRST, tx.PLAIN, 6.0, 0.35, shine=0.02, echo=0.35),
    "panel": Material(SECOND, tx.PLAIN, 6.0, 0.35, echo=0.4),
    "glass": Material((0.03, 0.035, 0.045), contrast=0.1, echo=0.08, glass=True),
    "cabin_light": Material((0.04, 0.045, 0.055), contrast=0.1, glow=(0.3, 0.28, 0.22), echo=0.08, glass=True),
    "tyre": Material((0.018, 0.018, 0.02), contrast=0.2, echo=0.07),
    "rim": Material((0.3, 0.3, 0.31), contrast=0.2, echo=0.3),
    "headlight": Material((0.55, 0.55, 0.55), glow=(4.0, 3.8, 3.2), shine=0.15, echo=0.8),
    "taillight": Material((0.3, 0.015, 0.015), glow=(0.9, 0.03, 0.02), shine=0.25, echo=0.9),
    "number": Material((0.7, 0.7, 0.6), contrast=0.1, shine=0.45, echo=1.0),
    "skin": Material((0.42, 0.27, 0.19), contrast=0.1, echo=0.4),
    "dark_skin": Material((0.12, 0.07, 0.05), contrast=0.1, echo=0.3),
    "hair": Material((0.03, 0.022, 0.018), contrast=0.1, echo=0.2),
    "coat": Material(FIRST, tx.PLAIN, 0.8, 0.5, echo=0.35, rough=0.03),
    "trousers": Material(SECOND, tx.PLAIN, 0.8, 0.5, echo=0.3, rough=0.03),
}

NUMBER: Final = {name: number for number, name in enumerate(MATERIALS)}


@dataclass(frozen=True)
class Columns:
    """The same by number, one array for each property."""

    fixed: NDArray[np.float32]  # [N, 3]
    source: NDArray[np.int64]  # 0: fixed, 1 and 2: a colour of the thing
    texture: NDArray[np.float32]
    tile: NDArray[np.float32]
    contrast: NDArray[np.float32]
    glow: NDArray[np.float32]  # [N, 3]
    shine: NDArray[np.float32]
    echo: NDArray[np.float32]
    glass: NDArray[np.bool_]
    rough: NDArray[np.float32]


@cache
def columns() -> Columns:
    """Return all materials as arrays."""
    every = list(MATERIALS.values())

    def column(values: list[float]) -> NDArray[np.float32]:
        return np.asarray(values, np.float32)

    return Columns(
        fixed=np.asarray([(0, 0, 0) if isinstance(m.colour, str) else m.colour for m in every], np.float32),
        source=np.asarray([{FIRST: 1, SECOND: 2}.get(str(m.colour), 0) for m in every]),
        texture=column([m.texture for m in every]),
        tile=column([m.tile for m in every]),
        contrast=column([m.contrast for m in every]),
        glow=np.asarray([m.glow for m in every], np.float32),
        shine=column([m.shine for m in every]),
        echo=column([m.echo for m in every]),
        glass=np.asarray([m.glass for m in every]),
        rough=column([m.rough for m in every]),
    )
