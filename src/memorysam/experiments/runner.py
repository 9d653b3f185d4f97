"""Running a list of runs: finished ones are skipped, started ones continued, failed ones told and left behind."""

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memorysam.config import RunSettings
from memorysam.errors import MemorySAMError
from memorysam.files import write_text
from memorysam.models.weights import read_about
from memorysam.training.checkpoint import BEST, LAST
from memorysam.training.loop import train
from memorysam.training.progress import say

FINISHED, FAILED = "finished", "failed.txt"


@dataclass(frozen=True)
class Job:
    """One run."""

    name: str
    """Of its folder, below that of all runs."""
    settings: RunSettings


class StoppedError(Exception):
    """A signal came; what is done is kept.

    Args:
        signal: its number.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(f"stopped by signal {signal}")
        self.signal = signal


def run_all(jobs: Sequence[Job], out: Path) -> list[str]:
    """Run what is not finished yet, one after the other.

    Args:
        jobs: in their order; a job whose folder another one shares runs once.
        out: folder of all runs.

    Returns:
        Names of the jobs that failed; why is in `failed.txt` of their folders.

    Raises:
        StoppedError: Ctrl-C or SIGTERM.
    """
    failed = []
    unique = {job.name: job for job in jobs}
    for number, job in enumerate(unique.values(), 1):
        folder = out / job.name
        if is_finished(folder):
            continue
        say(f"run {number} of {len(unique)}: {job.name}")
        try:
            outcome = train(job.settings, folder, resume=(folder / LAST).exists())
        except Exception as error:  # noqa: BLE001  one run that fails must not cost the others
            told = str(error) if isinstance(error, MemorySAMError) else traceback.format_exc()
            write_text(folder / FAILED, told + "\n")
            say(f"{job.name} failed, the others go on:\n{told}")
            failed.append(job.name)
            continue
        if outcome.signal is not None:
            raise StoppedError(outcome.signal)
        (folder / FAILED).unlink(missing_ok=True)
        write_text(folder / FINISHED, "")
    return failed


def is_finished(folder: Path) -> bool:
    """Whether a run has come to its end."""
    return (folder / FINISHED).exists() and (folder / BEST).exists()


def best_score(folder: Path) -> float | None:
    """Return the mIoU of the best checkpoint on the validation split; None for a run that is not finished."""
    if not is_finished(folder):
        return None
    score = read_about(folder / BEST)["scores"]["miou"]
    return None if score is None else float(score)
