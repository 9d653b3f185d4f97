"""The folder of a run: settings, versions, logs, checkpoints."""

import json
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

from memorysam.config import RunSettings
from memorysam.errors import SettingsError, TrainingError
from memorysam.files import append_line, make_folder, remove_leftovers, write_json, write_text
from memorysam.strict import build, read_yaml
from memorysam.training.checkpoint import LAST, PREVIOUS
from memorysam.training.progress import say
from memorysam.training.tensorboard import Curves
from memorysam.training.wandb_log import WandbLog

SETTINGS, LOG, SKIPPED, DATA = "settings.yaml", "log.jsonl", "skipped.jsonl", "data.json"
_MAY_CHANGE = {
    "data.dataset", "data.root", "data.cache", "data.workers", "data.patience", "data.on_bad",
    "data.skip_share", "train.save_every", "train.timeout", "train.log_every",
    "train.tensorboard", "train.wandb", "train.device", "evaluate.batch_size",
}  # fmt: skip
_PACKAGES = ("memorysam", "torch", "transformers", "accelerate", "numpy", "opencv-python-headless", "safetensors")


class RunFolder:
    """Creates or reopens the folder of a run.

    Args:
        path: the folder.
        settings: of the run.
        resume: continue what is there; otherwise a folder that holds a run is an error.
        allow_changes: continue although settings or data have changed since.
        main: whether this process writes.

    Raises:
        TrainingError: there is a run already, or none to resume.
        SettingsError: settings differ from those of the run.
    """

    def __init__(
        self, path: Path, settings: RunSettings, *, resume: bool, allow_changes: bool, main: bool = True
    ) -> None:
        self.path = path
        self._settings, self._main = settings, main
        self._data: Mapping[str, Any] = {}
        self._curves = Curves(path / "tensorboard", settings.train.tensorboard)
        self._wandb = WandbLog(path, settings.train.wandb, settings.model_dump(mode="json"))
        states = [path / name for name in (LAST, PREVIOUS) if (path / name).exists()]
        if states and not resume:
            raise TrainingError(
                "this folder already holds a run", where=path, fix="--resume continues it; --out names another folder"
            )
        if resume and not states:
            raise TrainingError(
                "there is no run to resume here",
                where=path,
                expected=f"a folder with {LAST}",
                fix="leave --resume out; a run that is under way saves every few minutes, and when it is stopped",
            )
        if resume and not allow_changes:
            refuse_changes(build(RunSettings, read_yaml(path / SETTINGS), path / SETTINGS), settings, path)
        if not main:
            return
        make_folder(path)
        remove_leftovers(path)
        if not resume:  # of a run that ended before its first save
            for name in (LOG, SKIPPED):
                (path / name).unlink(missing_ok=True)
        self._write_settings()

    def _write_settings(self) -> None:
        write_text(self.path / SETTINGS, yaml.safe_dump(self._settings.model_dump(mode="json"), sort_keys=False))
        write_json(self.path / "environment.json", environment())

    def describe(self, data: Mapping[str, Any]) -> None:
        """Keep the record of the data that the run trains on."""
        self._data = data
        if self._main:
            write_json(self.path / DATA, data)

    def described(self) -> dict[str, Any] | None:
        """Return the record of the data with which the run began; None for a run without one.

        Raises:
            TrainingError: it cannot be read.
        """
        path = self.path / DATA
        if not path.exists():
            return None
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return {key: found[key] for key in ("samples", "modalities", "classes")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"the record of the data of this run is damaged: {error!r}", where=path, fix="pass --allow-changes"
            ) from None

    def make_again(self) -> None:
        """Make the folder anew if somebody has removed it, and say so: what is in memory is worth more than a folder.

        Raises:
            MemorySAMError: it cannot be made.
        """
        if not self._main or (self.path / SETTINGS).exists():
            return
        say(f"{self.path} was removed while the run was under way; it is made anew and its log begins here")
        make_folder(self.path)
        self._curves.make_again()
        self._write_settings()
        self.describe(self._data)

    def log(self, step: int, **values: object) -> None:
        """Append a line to the log, and its numbers to the curves."""
        self.make_again()
        line = json.dumps({"time": round(time.time(), 3), "step": step, **values})
        append_line(self.path / LOG, line)
        self._curves.add(step, values)
        self._wandb.add(step, values)

    def skipped(self, split: str, sample: str, what: str) -> bool:
        """List a sample that cannot be read; return False for one that is listed already. Every rank may do so."""
        path, line = self.path / SKIPPED, json.dumps({"split": split, "id": sample, "what": what})
        if path.exists() and any(_is_of(old, split, sample) for old in path.read_text(encoding="utf-8").splitlines()):
            return False
        append_line(path, line)
        return True

    def close(self) -> None:
        """Write out what is buffered; the run may be continued."""
        self._curves.close()
        self._wandb.close()

    def rewind_log(self, step: int, validated: int | None = None) -> None:
        """Drop what will be logged again: what came after `step`, and validations after step `validated`."""
        path = self.path / LOG
        if path.exists():
            last = {False: step, True: step if validated is None else validated}
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            kept = [line for line in lines if _step(line) <= last['"validation": {' in line]]
            write_text(path, "".join(line + "\n" for line in kept))


def refuse_changes(then: RunSettings, now: RunSettings, path: Path) -> None:
    """Raise if settings that matter to the result differ from those of the run.

    Raises:
        SettingsError: lists the differences.
    """
    before, after = _flat(then.model_dump(mode="json")), _flat(now.model_dump(mode="json"))
    # A dictionary among the settings may have keys on one side only.
    changed = [k for k in {**before, **after} if before.get(k) != after.get(k) and k not in _MAY_CHANGE]
    if changed:
        raise SettingsError(
            "settings have changed since this run began",
            where=path / SETTINGS,
            expected="; ".join(f"{key}: {before.get(key)!r}, now {after.get(key)!r}" for key in changed),
            fix="resume with the run's own settings, or pass --allow-changes",
        )


def environment() -> dict[str, Any]:
    """Return what a result depends on besides settings and data."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except ModuleNotFoundError:
            packages[name] = "not installed"
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "cuda": torch.version.cuda,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "CPU",
        "threads": torch.get_num_threads(),
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Return the commit of the source that runs, where it is a git checkout."""
    here = Path(__file__).parent
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, cwd=here, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _is_of(line: str, split: str, sample: str) -> bool:
    try:
        one = json.loads(line)
    except ValueError:  # a line that was cut off
        return False
    return bool(one["split"] == split and one["id"] == sample)


def _step(line: str) -> int:
    try:
        return int(json.loads(line).get("step", 0))
    except ValueError:  # a line that was cut off
        return sys.maxsize
