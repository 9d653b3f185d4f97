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
from memorysam.training.tensorboard import Curves

SETTINGS, LOG = "settings.yaml", "log.jsonl"
_MAY_CHANGE = {
    "data.dataset", "data.root", "data.cache", "data.workers", "train.save_every", "train.log_every",
    "train.tensorboard", "train.device", "evaluate.batch_size",
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
        self._curves = Curves(path / "tensorboard", settings.train.tensorboard)
        states = [path / name for name in (LAST, PREVIOUS) if (path / name).exists()]
        if states and not resume:
            raise TrainingError(
                "this folder already holds a run", where=path, fix="--resume continues it; --out names another folder"
            )
        if resume and not states:
            raise TrainingError("there is no run to resume here", where=path, expected=f"a folder with {LAST}")
        if resume and not allow_changes:
            refuse_changes(build(RunSettings, read_yaml(path / SETTINGS), path / SETTINGS), settings, path)
        if not main:
            return
        make_folder(path)
        remove_leftovers(path)
        if not resume:  # of a run that ended before its first save
            (path / LOG).unlink(missing_ok=True)
        write_text(path / SETTINGS, yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))
        write_json(path / "environment.json", environment())

    def log(self, step: int, **values: object) -> None:
        """Append a line to the log, and its numbers to the curves."""
        line = json.dumps({"time": round(time.time(), 3), "step": step, **values})
        append_line(self.path / LOG, line)
        self._curves.add(step, values)

    def close(self) -> None:
        """Write out what is buffered; the run may be continued."""
        self._curves.close()

    def rewind_log(self, step: int) -> None:
        """Drop what was logged after `step`, which will be logged again."""
        path = self.path / LOG
        if path.exists():
            kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _step(line) <= step]
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


def _step(line: str) -> int:
    try:
        return int(json.loads(line).get("step", 0))
    except ValueError:  # a line that was cut off
        return sys.maxsize
