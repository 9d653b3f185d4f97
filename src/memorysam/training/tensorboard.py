"""Curves for TensorBoard, where it is wanted and installed."""

import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from memorysam.errors import SettingsError
from memorysam.files import make_folder
from memorysam.training.progress import say


class Curves:
    """Writes every number of a log line as a curve.

    Args:
        folder: for the event files.
        wanted: True, False, or None for "if it is installed".

    Raises:
        SettingsError: wanted, and not installed.
    """

    def __init__(self, folder: Path, wanted: bool | None) -> None:
        installed = find_spec("tensorboard") is not None
        if wanted and not installed:
            raise SettingsError(
                "TensorBoard is not installed",
                where="train.tensorboard",
                fix="pip install 'memorysam[log]', or leave the setting out; log.jsonl is written in any case",
            )
        self._folder = folder if installed and wanted is not False else None
        self._writer: Any = None

    def add(self, step: int, values: Mapping[str, object]) -> None:
        """Add a point to each curve; what an interrupted run drew beyond the first `step` is dropped.

        Curves are a convenience: where they cannot be written they end, with a message, and the run goes on.
        """
        if self._folder is None:
            return
        try:
            if self._writer is None:
                from torch.utils.tensorboard import SummaryWriter

                make_way(self._folder)
                # A validation that is repeated leaves the step before it.
                self._writer = SummaryWriter(str(self._folder), purge_step=step + ("validation" in values))
            for name, value in numbers(values):
                self._writer.add_scalar(name, value, step)
        except OSError as error:
            self._give_up(error)

    def make_again(self) -> None:
        """Begin another file in a folder that was removed."""
        if self._folder is not None and self._writer is not None:
            make_folder(self._folder)
            self.close()

    def close(self) -> None:
        """Write out what is buffered."""
        if self._writer is not None:
            try:
                self._writer.close()
            except OSError as error:
                self._give_up(error)
            self._writer = None

    def _give_up(self, error: OSError) -> None:
        say(f"no more curves for TensorBoard, {self._folder} cannot be written: {error}; log.jsonl has all numbers")
        self._folder = None


def make_way(folder: Path) -> None:
    """Give the files of `folder` times of before this second, in their order.

    TensorBoard reads files in the order of the times in their names. Those of one second are ordered by a counter as if
    it were a word, 10 before 9, and after the clock was set back a new file would come before those it continues.
    """
    latest = int(time.time()) - 1
    for path in sorted(folder.glob("*.tfevents.*"), reverse=True):
        head, _, tail = path.name.partition(".tfevents.")
        second, _, rest = tail.partition(".")
        if not second.isdigit():
            continue
        if int(second) > latest:
            path.rename(path.with_name(f"{head}.tfevents.{latest:010d}.{rest}"))
        latest = min(int(second), latest) - 1


def numbers(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number of a tree, under the path to it."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield prefix + key, float(value)
