"""All scores come from one int64 confusion matrix; nothing is averaged over batches.

Two protocols say what a class counts that occurs neither in the labels nor in the predictions: `paper` counts it as 0,
as the code of this line of work does, `strict` leaves it out of the mean.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memorysam.spec import Classes

Protocol = Literal["paper", "strict"]


class ConfusionMatrix:
    """Pixel counts `[C, C]`: row = label, column = prediction."""

    def __init__(self, classes: int, device: torch.device | str = "cpu") -> None:
        self.counts = torch.zeros(classes, classes, dtype=torch.int64, device=device)

    def add(self, predictions: Tensor, labels: Tensor) -> None:
        """Count integer predictions against labels of the same shape; labels outside `0..C-1` do not count."""
        c = len(self.counts)
        labels, predictions = labels.flatten().long(), predictions.flatten().long()
        valid = (labels >= 0) & (labels < c)
        pairs = labels[valid] * c + predictions[valid]
        self.counts += torch.bincount(pairs, minlength=c * c).view(c, c)


@dataclass(frozen=True)
class Scores:
    """Scores in percent, from pixel counts."""

    classes: Classes
    protocol: Protocol
    images: int
    counts: NDArray[np.int64]  # [C, C]

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union per class `[C]`; NaN for a class that neither labels nor predictions have."""
        return self._share(self._hits, self._labelled + self._predicted - self._hits)

    @property
    def f1(self) -> NDArray[np.float64]:
        """Harmonic mean of precision and recall per class `[C]`; NaN as for `iou`."""
        return self._share(2 * self._hits, self._labelled + self._predicted)

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Share of a class's pixels that were found `[C]`; NaN for a class without labels."""
        return self._share(self._hits, self._labelled)

    @property
    def pixel_accuracy(self) -> float:
        """Share of all labelled pixels that are right."""
        return float(self._share(self._hits.sum(), self.counts.sum()))

    @property
    def miou(self) -> float:
        """Mean of `iou` over classes, by the protocol."""
        return self.mean(self.iou)

    @property
    def mf1(self) -> float:
        """Mean of `f1` over classes, by the protocol."""
        return self.mean(self.f1)

    @property
    def macc(self) -> float:
        """Mean of `accuracy` over classes, by the protocol."""
        return self.mean(self.accuracy)

    def mean(self, values: NDArray[np.float64]) -> float:
        """Average per-class values: an undefined one is 0 in `paper`, left out in `strict`; NaN if all are left out."""
        if self.protocol == "paper":
            return float(np.nan_to_num(values, nan=0.0).mean())
        defined = values[~np.isnan(values)]
        return float(defined.mean()) if len(defined) else float("nan")

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON: percent, None where undefined."""
        per_class = {
            name: {
                "iou": _number(self.iou[i]),
                "f1": _number(self.f1[i]),
                "accuracy": _number(self.accuracy[i]),
                "pixels": int(self._labelled[i]),
            }
            for i, name in enumerate(self.classes.names)
        }
        return {
            "protocol": self.protocol,
            "images": self.images,
            "miou": _number(self.miou),
            "mf1": _number(self.mf1),
            "macc": _number(self.macc),
            "pixel_accuracy": _number(self.pixel_accuracy),
            "classes": per_class,
        }

    @property
    def _hits(self) -> NDArray[np.int64]:
        return np.diagonal(self.counts)

    @property
    def _labelled(self) -> NDArray[np.int64]:
        total: NDArray[np.int64] = self.counts.sum(axis=1)
        return total

    @property
    def _predicted(self) -> NDArray[np.int64]:
        total: NDArray[np.int64] = self.counts.sum(axis=0)
        return total

    @staticmethod
    def _share(part: Any, whole: Any) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore", divide="ignore"):
            share: NDArray[np.float64] = 100.0 * np.asarray(part, np.float64) / np.asarray(whole, np.float64)
        return share


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(value) else float(value)
