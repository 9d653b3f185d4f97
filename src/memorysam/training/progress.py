"""How far it is, how fast, how long still, and how much of the time goes into waiting for data."""

import sys
import time
from types import TracebackType

from tqdm import tqdm


def say(text: str, quiet: bool = False) -> None:
    """Print a line for people, above a progress bar where there is one."""
    if not quiet:
        tqdm.write(text, file=sys.stderr)


class ProgressBar:
    """A line that moves on a terminal, and a line every half minute in a log file.

    Args:
        total: number of steps.
        done: how many are done already.
        label: what it is.
        quiet: show nothing.
    """

    def __init__(self, total: int, done: int = 0, label: str = "", unit: str = "step", quiet: bool = False) -> None:
        self._terminal = sys.stderr.isatty()
        self._quiet = quiet
        self._bar = tqdm(
            total=total, initial=done, desc=label, unit=unit, disable=quiet or not self._terminal, dynamic_ncols=True
        )
        # tqdm goes by the wall clock: set back by an hour, the bar would stand still for one.
        self._bar._time = time.monotonic
        self._bar.start_t = self._bar.last_print_t = time.monotonic()
        self._label, self._unit, self._total, self._done = label, unit, total, done
        self._began = self._last = time.monotonic()
        self._first = done

    def advance(self, to: int, **facts: str) -> None:
        """Move to step `to` and show `facts` beside it."""
        self._bar.set_postfix(facts, refresh=False)
        self._bar.update(to - self._done)
        self._done = to
        now = time.monotonic()
        if not (self._terminal or self._quiet) and (now - self._last > 30 or to == self._total):
            self._last = now
            rate = (to - self._first) / max(1e-9, now - self._began)
            left = (self._total - to) / rate if rate else float("inf")
            words = ", ".join(f"{key} {value}" for key, value in facts.items())
            text = f"{self._label} {to}/{self._total} {self._unit}s, {rate:.2f}/s, {left / 60:.1f} min left"
            sys.stderr.write(f"{text}{', ' + words if words else ''}\n")
            sys.stderr.flush()

    def report(self, done: int, total: int) -> None:
        """Move to `done` of `total`, for work that learns its length as it goes."""
        self._total = self._bar.total = total
        self.advance(done)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
