"""What is stored of a sample, as NumPy has it: nothing here needs PyTorch."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]
"""`[H, W, K]`, uint8, uint16 or float32, with the values that are stored."""


@dataclass(frozen=True)
class Raw:
    """One sample as it is stored."""

    images: dict[str, Image]
    label: NDArray[np.uint8] | None
    """`[H, W]` class ids, 255 for pixels that do not count; None where there is no label."""
    id: str
    tags: dict[str, str] = field(default_factory=dict)
    """What is known of it besides, such as condition and sensor failure."""
