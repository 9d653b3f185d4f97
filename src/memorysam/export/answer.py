"""What a graph gives, whatever runs it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from memorysam.export.about import About
from memorysam.spec import Size

Images = Mapping[str, NDArray[np.float32]]
"""Modality -> normalised images `[B, K, H, W]`, at the graph's size."""


@dataclass(frozen=True)
class Answer:
    """What a graph gives for a batch."""

    logits: NDArray[np.float32]  # [B, C, H/4, W/4]
    probabilities: NDArray[np.float32]  # [B, C, H', W'], at the size asked for
    labels: NDArray[Any]  # [B, H', W'], class ids


class Graph(Protocol):
    """A graph that can be run."""

    about: About

    def run(self, images: Images, size: Size) -> Answer:
        """Segment a batch; the answer has the height and width `size`."""
