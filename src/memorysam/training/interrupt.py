"""Ctrl-C and SIGTERM: finish the step, save, leave."""

import signal
from types import FrameType, TracebackType

import torch
from torch import distributed


class Interrupt:
    """Notes the first Ctrl-C or SIGTERM instead of dying of it; a second one ends the process at once.

    Use as a context manager; handlers are restored at its end. Signals reach the main thread only.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interrupt":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.signal = number

    def anywhere(self, device: torch.device) -> int | None:
        """Return the signal that any rank has received, so that all of them stop at the same step."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return self.signal
        noted = torch.tensor([self.signal or 0], device=device)
        distributed.all_reduce(noted, op=distributed.ReduceOp.MAX)
        return int(noted.item()) or None
