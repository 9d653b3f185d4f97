"""Ctrl-C and SIGTERM: finish the step, save, leave."""

import os
import signal
import threading
import time
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ECHO = 2.0
"""Seconds within which a second Ctrl-C is the same one: launchers pass on what the terminal has sent to all already."""


class Interrupted(Exception):  # noqa: N818
    """The run was asked to stop where nothing is to be saved that is not saved already.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Interrupt:
    """Notes Ctrl-C and SIGTERM instead of dying of them.

    SIGTERM may come as often as it likes: batch systems and launchers repeat it, and a run is worth the rest of a step.
    A second Ctrl-C, of somebody who has read what the first one said, ends the process at once.

    Use as a context manager; handlers are restored at its end. Signals reach the main thread only: in another one
    nothing is noted. A signal that the process was started to ignore stays ignored.

    Args:
        quiet: say nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.signal: int | None = None
        self._quiet = quiet
        self._since = 0.0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal is None:
            self.signal, self._since = number, now
            if not self._quiet:
                more = "Ctrl-C again ends it at once" if number == signal.SIGINT else "SIGTERM"
                os.write(2, f"\nsaving, then stopping ({more})\n".encode())  # print may be what was interrupted
        elif number == signal.SIGINT and now - self._since > ECHO:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
