"""A process that starts runs of two ranks, without a launcher, and breaks one of them: the imports are paid once.

Each line of its input is JSON: the run's folder, the settings file, how the victim fails and where. Each line of its
output is JSON: the exit codes, negative for signals; null for a rank that had to be killed because it did not end.
"""

import json
import os
import signal
import socket
import sys
import time

from memorysam import cli
from memorysam.data import dataset
from memorysam.errors import DataError
from memorysam.evaluation import evaluate
from memorysam.training import checkpoint, loop

PLACES = {
    "step": (loop, "training_loss", 2),
    "validation": (evaluate, "predict_labelled", 2),
    "save": (checkpoint, "write_tensors", 1),
    "save of the other": (checkpoint.distributed, "barrier", 1),
    "read": (dataset.SegmentationDataset, "sample", 2),
    "read in validation": (dataset.SegmentationDataset, "sample", 4),
}
"""Where, and at which call."""
PATIENCE = 240


def break_at(place: str, how: str) -> None:
    """Make this process fail at a place."""
    where, name, when = PLACES[place]
    real, calls = getattr(where, name), []

    def broken(*args, **kwargs):
        calls.append(1)
        if len(calls) != when:
            return real(*args, **kwargs)
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        if how == "data error":
            raise DataError("this image is damaged", where="t03.png")
        if how == "disk full":
            raise DataError("no space left on the disk", where="last.safetensors")
        loss, terms = real(*args, **kwargs)
        return loss * float("nan"), terms

    setattr(where, name, broken)


def rank(number: int, port: int, order: dict) -> None:
    """Be one rank, as the command would be."""
    os.environ |= {
        "RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    errors = os.open(f"{order['out']}-{number}.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(errors, 2)
    os.dup2(errors, 1)
    if number == order["victim"] and order["how"] != "absent":
        break_at(order["place"], order["how"])
    code = cli.main(["train", order["settings"], "--out", order["out"]])
    if number == order["victim"]:
        time.sleep(order["lingers"])  # as within a program that goes on
    sys.exit(code)


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        children = {}
        for number in range(2):
            if order["how"] == "absent" and number == order["victim"]:
                continue
            children[number] = os.fork()
            if children[number] == 0:
                return rank(number, port, order)
        codes = [None, None]
        until = time.monotonic() + PATIENCE
        waited = set(children) if not order["lingers"] and order["how"] != "stopped" else {1 - order["victim"]}
        while waited and time.monotonic() < until:
            for number in list(waited):
                child, status = os.waitpid(children[number], os.WNOHANG)
                if child:
                    codes[number] = os.waitstatus_to_exitcode(status)
                    waited.remove(number)
            time.sleep(0.02)
        for number, child in children.items():
            if codes[number] is None:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
        sys.stdout.write(json.dumps(codes) + "\n")
        sys.stdout.flush()
    return None


if __name__ == "__main__":
    main()
