"""Looking up from a validation, which may take an hour: for a signal, and for a rank that cannot go on."""

import math
from types import TracebackType

import torch

from memorysam.errors import MemorySAMError
from memorysam.training.interrupt import Interrupt, Interrupted
from memorysam.training.together import ElsewhereError, highest, rank_and_ranks, tell


class Watch:
    """Looks after each batch, on all ranks at once; a context manager around the validation, and its `progress`.

    A rank may have one batch less than another. As many looks as the rank with the fewest has batches are taken on all.

    Args:
        interrupt: of the run.
        device: of this rank.
        samples: of the split.
        batch_size: of each rank.
    """

    def __init__(self, interrupt: Interrupt, device: torch.device, samples: int, batch_size: int) -> None:
        self._interrupt, self._device = interrupt, device
        self._rank, ranks = rank_and_ranks()
        self._looks = math.ceil(samples // ranks / batch_size)
        self._taken = 0

    def __call__(self, _done: int, _total: int) -> None:
        """Look once.

        Raises:
            Interrupted: on all ranks, if a signal has reached one of them.
            ElsewhereError: another rank cannot go on.
        """
        if self._taken == self._looks:
            return
        self._taken += 1
        signal, failed = highest(self._device, self._interrupt.signal or 0, 0)
        if failed:
            raise ElsewhereError.of(failed - 1)
        if signal:
            raise Interrupted(signal)

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, MemorySAMError) and not isinstance(error, ElsewhereError) and self._taken < self._looks:
            tell(error)
            highest(self._device, 0, self._rank + 1)
