"""Curves for Weights & Biases, where they are wanted."""

import secrets
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from memorysam.errors import SettingsError
from memorysam.files import write_text
from memorysam.training.progress import say
from memorysam.training.tensorboard import numbers

ID = "wandb-id.txt"


class WandbLog:
    """Sends every number of a log line, or keeps it in the run folder for `wandb sync`.

    A run that is continued goes on under the id that its folder holds.

    Args:
        folder: of the run.
        mode: off; offline: to files in the folder; online.
        settings: of the run, as JSON.

    Raises:
        SettingsError: wanted, and not installed.
    """

    def __init__(self, folder: Path, mode: Literal["off", "offline", "online"], settings: Mapping[str, Any]) -> None:
        if mode != "off" and find_spec("wandb") is None:
            raise SettingsError(
                "Weights & Biases is not installed",
                where="train.wandb",
                fix="pip install 'memorysam[wandb]', or leave the setting out; log.jsonl is written in any case",
            )
        self._folder, self._mode, self._settings = folder, mode, settings
        self._run: Any = None

    def add(self, step: int, values: Mapping[str, object]) -> None:
        """Add a point to each curve; where that fails they end, with a message, and the run goes on."""
        if self._mode == "off":
            return
        try:
            if self._run is None:
                self._run = self._begin()
            self._run.log(dict(numbers(values)), step=step)
        except Exception as error:  # noqa: BLE001  whatever a service or its client has: training is worth more
            say(f"no more curves for Weights & Biases: {error}; log.jsonl has all numbers")
            self._mode = "off"

    def close(self) -> None:
        """Write out what is buffered."""
        run, self._run = self._run, None
        if run is not None:
            try:
                run.finish(quiet=True)
            except Exception as error:  # noqa: BLE001
                say(f"the last curves for Weights & Biases are lost: {error}; log.jsonl has all numbers")

    def _begin(self) -> Any:
        import wandb

        mode: Any = self._mode  # never off here
        path = self._folder / ID
        if not path.is_file():
            write_text(path, secrets.token_hex(4) + "\n")
        return wandb.init(
            project="memorysam",
            name=self._folder.resolve().name,
            id=path.read_text(encoding="utf-8").strip(),
            resume="allow",
            dir=str(self._folder),
            mode=mode,
            config=dict(self._settings),
            settings=wandb.Settings(silent=True),
        )
