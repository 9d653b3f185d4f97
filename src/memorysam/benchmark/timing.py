"""Seconds of calls: repeated, in turns, with their spread."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch

Call = Callable[[], object]
Progress = Callable[[int, int], None]
"""Told how many of how many are done."""


@dataclass(frozen=True)
class Spread:
    """Repeated measurements of one thing: median, first and third quartile."""

    median: float
    low: float
    high: float
    runs: int

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Return the spread of one or more values."""
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
        return cls(middle, low, high, len(values))

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"median": self.median, "quartiles": [self.low, self.high], "runs": self.runs}


def synchronize(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(call: Call, device: torch.device) -> float:
    """Return the seconds that one call takes, all its work done."""
    synchronize(device)
    began = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - began


def in_turns(calls: Mapping[str, Call], repeats: int, device: torch.device, warmup: int = 1) -> dict[str, list[float]]:
    """Time several calls in turns (A B A B ...), so that drifts of the machine hit all of them.

    Args:
        calls: by name.
        repeats: of each, in the order in which they happened.
        device: on which they work.
        warmup: rounds before, that do not count.
    """
    for _ in range(warmup):
        for call in calls.values():
            call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            seconds[name].append(seconds_of(call, device))
    return seconds


def times_faster(baseline: list[float], ours: list[float]) -> float:
    """Return how many times less `ours` takes: the median over the turns."""
    return median(b / o for b, o in zip(baseline, ours, strict=True))


def alone(call: Call, device: torch.device, least: float = 0.005, samples: int = 3) -> float:
    """Return the seconds of a small call that is run on its own, again and again: the median of some samples.

    Args:
        call: that is timed.
        device: on which it works.
        least: seconds of one sample; it takes as many calls as that needs.
        samples: number of samples.
    """
    call()
    times = max(1, min(100, math.ceil(least / max(seconds_of(call, device), 1e-7))))

    def again() -> None:
        for _ in range(times):
            call()

    return median(seconds_of(again, device) for _ in range(samples)) / times


def fastest(ways: Mapping[str, Call], device: torch.device) -> tuple[str, float]:
    """Return the way that takes the least when run alone, and its seconds."""
    seconds = {name: alone(call, device) for name, call in ways.items()}
    best = min(seconds, key=lambda name: seconds[name])
    return best, seconds[best]
