"""The learning rate over time."""

import math
from collections.abc import Callable

from memorysam.config import TrainSettings


def schedule(options: TrainSettings, steps_per_epoch: int) -> Callable[[int], float]:
    """Return the factor on the learning rate at each step, counted from 0."""
    shape = steps_per_epoch, options.epochs, options.warmup_epochs, options.warmup_ratio
    if options.schedule == "cosine":
        return warmup_cosine(*shape, options.lr_min / options.lr)
    return warmup_poly(*shape, options.power)


def warmup_poly(
    steps_per_epoch: int, epochs: int, warmup_epochs: float, warmup_ratio: float, power: float
) -> Callable[[int], float]:
    """Return the factor on the learning rate at each step: linear warm-up, then polynomial decay.

    The decay aims at zero one epoch after the last, as in the original: the last step still learns.
    """
    warmup = round(warmup_epochs * steps_per_epoch)
    total = max((epochs + 1) * steps_per_epoch, warmup + 1)

    def factor(step: int) -> float:
        if step < warmup:
            return warmup_ratio + (1 - warmup_ratio) * step / warmup
        return float((1 - min(1.0, (step - warmup) / (total - warmup))) ** power)

    return factor


def warmup_cosine(
    steps_per_epoch: int, epochs: int, warmup_epochs: float, warmup_ratio: float, least: float
) -> Callable[[int], float]:
    """Return the factor on the learning rate at each step: linear warm-up, then half a cosine from 1 to `least`.

    The last step has `least`, if warm-up leaves more than one step.
    """
    warmup = round(warmup_epochs * steps_per_epoch)
    last = max(epochs * steps_per_epoch - 1, warmup + 1)

    def factor(step: int) -> float:
        if step < warmup:
            return warmup_ratio + (1 - warmup_ratio) * step / warmup
        along = min(1.0, (step - warmup) / (last - warmup))
        return least + (1 - least) * (1 + math.cos(math.pi * along)) / 2

    return factor
