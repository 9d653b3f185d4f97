"""Curves for TensorBoard, where it is wanted and installed."""

import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from memorysam.errors import SettingsError


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
        """Add a point to each curve; what an interrupted run drew beyond the first `step` is dropped."""
        if self._folder is None:
            return
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            _next_second(self._folder)
            self._writer = SummaryWriter(str(self._folder), purge_step=step)
        for name, value in _numbers(values):
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write out what is buffered."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _next_second(folder: Path) -> None:
    """Wait until no file of the folder was begun in this second: TensorBoard reads those by a counter, 10 before 9."""
    while any(folder.glob(f"*.tfevents.{int(time.time()):010d}.*")):
        time.sleep(0.02)


def _numbers(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number of a tree, under the path to it."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield prefix + key, float(value)
