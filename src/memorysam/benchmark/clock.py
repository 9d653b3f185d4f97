"""Where the time of a process that reads goes: a clock travels to it with the dataset, and batches bring its times."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from memorysam.data.dataset import Batch, Raw, Sample, Source, Transform, collate

PARTS = ("read", "augment", "normalise", "stack", "hand over")
"""In their order: files or cache to arrays; the transform; to float tensors; to one tensor; to the training process."""


class Clock:
    """Adds up seconds by part; one part ends where the next begins."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._part: str | None = None
        self._since = 0.0
        self._seconds: dict[str, float] = {}

    def begin(self, part: str) -> None:
        """End the part that runs, and begin another."""
        now = self._now()
        if self._part is not None:
            self._seconds[self._part] = self._seconds.get(self._part, 0.0) + now - self._since
        self._part, self._since = part, now

    def take(self) -> dict[str, float]:
        """Return the seconds of parts that have ended, and forget them."""
        found, self._seconds = self._seconds, {}
        return found


class WatchedSource:
    """A source that starts the clock where a sample is read.

    Args:
        source: that reads.
        clock: of the process.
    """

    def __init__(self, source: Source, clock: Clock) -> None:
        self.modalities, self.classes, self.ids = source.modalities, source.classes, source.ids
        self._source, self._clock = source, clock

    def read(self, index: int, modalities: Sequence[str]) -> Raw:
        """Read a sample."""
        self._clock.begin("read")
        return self._source.read(index, modalities)

    def tags(self, index: int) -> dict[str, str]:
        """Return what is known of a sample."""
        return self._source.tags(index)


class WatchedTransform:
    """A transform whose time is counted; what follows it is normalisation.

    Args:
        transform: that changes samples.
        clock: of the process.
    """

    def __init__(self, transform: Transform, clock: Clock) -> None:
        self._transform, self._clock = transform, clock

    def __call__(self, raw: Raw, rng: np.random.Generator) -> Raw:
        """Change a sample."""
        self._clock.begin("augment")
        changed = self._transform(raw, rng)
        self._clock.begin("normalise")
        return changed


@dataclass(frozen=True)
class TimedBatch:
    """A batch, and the seconds of its process since the batch before."""

    batch: Batch
    seconds: dict[str, float]
    cpu: float
    """Seconds of work of the process: what it did not wait for."""

    def pin_memory(self) -> "TimedBatch":
        """Called where a GPU is fed."""
        return replace(self, batch=self.batch.pin_memory())

    def to(self, device: torch.device) -> Batch:
        """Move the batch to a device."""
        return self.batch.to(device)


class WatchedCollate:
    """Stacks samples, and sends along what the clock of the process says.

    Args:
        clock: of the process.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._worked = 0.0

    def __call__(self, samples: Sequence[Sample]) -> TimedBatch:
        """Stack samples."""
        self._clock.begin("stack")
        batch = collate(samples)
        self._clock.begin("hand over")
        before, self._worked = self._worked, time.process_time()
        return TimedBatch(batch, self._clock.take(), self._worked - before)
