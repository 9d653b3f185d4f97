"""A process that starts short training runs in children, which tests then kill: the imports are paid once.

Each line of its input is JSON: the run's folder, the settings, and when the child is killed, null for never: `calls`,
after how many changes of the run's folder, or `seconds`. Each line of its output is a word and a number: `child` its
process id, `opened` how many temporary files are there once the folder is open, `saved` the step of a state that was
written, `finished`, `dead` its status.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from memorysam.training import loop
from memorysam.training.checkpoint import LAST, PREVIOUS

from ..tiny import settings

CHANGES = {"open", "os.rename", "os.link", "os.remove", "os.mkdir"}


def tell(word: str, number: int) -> None:
    os.write(1, f"{word} {number}\n".encode())


def run(out: Path, dataset: Path, groups: dict, calls: int | None) -> None:
    """Train in this process, as the command would: resume what can be resumed."""
    left = calls

    def count(event: str, values: tuple) -> None:
        nonlocal left
        if event in CHANGES and str(values[0]).startswith(str(out)):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    if calls is not None:
        sys.addaudithook(count)

    class Folder(loop.RunFolder):
        def __init__(self, path: Path, *args, **kwargs) -> None:
            super().__init__(path, *args, **kwargs)
            tell("opened", len(list(path.glob(".*"))))

    class Training(loop.Training):
        def save(self) -> None:
            super().save()
            tell("saved", self.progress.step)

    loop.RunFolder, loop.Training = Folder, Training
    states = [out / LAST, out / PREVIOUS]
    outcome = loop.train(settings(dataset, **groups), out, resume=any(path.exists() for path in states))
    tell("finished", outcome.progress.step)


def end_of(child: int, seconds: float | None) -> int:
    """Kill a child after a while, if it is still there; return its status."""
    until = time.monotonic() + seconds if seconds is not None else float("inf")
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1]
        time.sleep(0.001)


def main() -> None:
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                run(Path(order["out"]), Path(order["dataset"]), order["settings"], order["calls"])
            except BaseException as error:  # noqa: BLE001
                (Path(order["out"]).parent / "error.txt").write_text(repr(error) + "\n" + str(error))
                os._exit(1)
            os._exit(0)
        tell("child", child)
        tell("dead", end_of(child, order["seconds"]))


if __name__ == "__main__":
    main()
