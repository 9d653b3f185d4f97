"""The images of a split that a model does best and worst on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from memorysam.data.dataset import Sample
from memorysam.evaluation.metrics import ConfusionMatrix, Scores
from memorysam.spec import Classes


@dataclass(frozen=True)
class Scored:
    """One image."""

    id: str
    miou: float
    """Over the classes that its label or its prediction has, in percent."""
    prediction: NDArray[Any]  # [H, W], class ids
    label: NDArray[Any]  # [H, W], class ids; others do not count


class Extremes:
    """Keeps the best and the worst images of those that it is shown; `evaluate(..., look=...)` does so.

    Args:
        classes: of the labels.
        count: how many of each.
    """

    def __init__(self, classes: Classes, count: int) -> None:
        self._classes, self._count = classes, count
        self._kept: list[Scored] = []

    def __call__(self, sample: Sample, prediction: Tensor, label: Tensor) -> None:
        """Look at one image; one whose label holds no class is left out."""
        matrix = ConfusionMatrix(len(self._classes), label.device)
        matrix.add(prediction, label)
        miou = Scores(self._classes, "strict", 1, matrix.counts.cpu().numpy().astype(np.int64)).miou
        if self._count == 0 or np.isnan(miou):
            return
        # Class ids end at 255.
        ids = [tensor.cpu().numpy().astype(np.uint8) for tensor in (prediction, label)]
        self._kept.append(Scored(sample.id, miou, *ids))
        self._kept.sort(key=lambda scored: (scored.miou, scored.id))
        del self._kept[self._count : -self._count]

    @property
    def worst(self) -> list[Scored]:
        """The worst first; with few images, half of them."""
        return self._kept[: min(self._count, (len(self._kept) + 1) // 2)]

    @property
    def best(self) -> list[Scored]:
        """The best first; none that is among the worst."""
        return self._kept[len(self.worst) :][-self._count :][::-1]
