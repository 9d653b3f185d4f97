"""Runs many inputs through a check, in forked children, so that a crash, a hang or a hunger for memory is caught.

A child takes a block of inputs. Where it is, and since when, stands in memory that it shares with its parent; so the
parent knows which input it was that ended the child, and begins a new one behind it. Inputs are made from their number
alone, so a number is all that has to be kept.
"""

import faulthandler
import mmap
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = 2000
PATIENCE = 10.0  # seconds for one input, thousands of times what it takes
MEMORY = 512 * 2**20  # bytes that one input may add to what is resident
ADDRESSES = 4 * 2**30  # bytes of address space beside what the process begins with
LONGEST = 4096  # bytes of an input

_STATE = struct.Struct("qqqqqd")  # next input, accepted, refused, compared with an oracle, findings, since when


class Wrong(AssertionError):  # noqa: N818
    """An input was taken for something that it is not."""


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    Args:
        make: from a generator of random numbers to an input.
        check: given the input and a folder to write it into; True if it was accepted, "sure" if an independent decoder
            says the same of it, False if it was refused as it should be; raises whatever is wrong.
        suffix: of the files in which inputs are kept.
    """

    make: Callable[[random.Random], bytes]
    check: Callable[[bytes, Path], bool | str]
    suffix: str


@dataclass
class Result:
    """What became of the inputs."""

    target: str
    inputs: int = 0
    accepted: int = 0
    sure: int = 0
    refused: int = 0
    crashes: int = 0
    hangs: int = 0
    seconds: float = 0.0
    findings: list[tuple[int, str]] = field(default_factory=list)
    """Number of the input, and what happened."""

    @property
    def wrong(self) -> int:
        """Inputs with another exception than a message for people, too much memory, or a wrong value."""
        return len(self.findings) - self.crashes - self.hangs


def input_of(name: str, target: Target, seed: int, number: int) -> bytes:
    """Return an input by its number."""
    return target.make(random.Random(f"{name} {seed} {number}"))[:LONGEST]


def fuzz(name: str, target: Target, inputs: int, seed: int, *, patience: float = PATIENCE, most: int = 20) -> Result:
    """Run inputs 0 to `inputs`, and stop early after `most` findings."""
    result = Result(name)
    shared = mmap.mmap(-1, _STATE.size)
    begun = time.monotonic()
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        while result.inputs < inputs and len(result.findings) < most:
            _block(name, target, seed, inputs, result, shared, Path(folder), patience)
    result.seconds = time.monotonic() - begun
    return result


def _block(name, target, seed, inputs, result, shared, folder, patience):
    """Let a child do a block, and add what it did."""
    start, stop = result.inputs, min(result.inputs + BLOCK, inputs)
    shared[:] = _STATE.pack(start, 0, 0, 0, 0, time.monotonic())
    (folder / "findings").mkdir(exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _child(name, target, seed, start, stop, shared, folder)
    late = False
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        now, since = time.monotonic(), _STATE.unpack(shared[:])[5]
        if now - since > patience and not late:
            late = True
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    at, accepted, refused, sure, _, _ = _STATE.unpack(shared[:])
    result.accepted += accepted
    result.refused += refused
    result.sure += sure
    for file in sorted((folder / "findings").iterdir()):
        result.findings.append((int(file.name), file.read_text()))
        file.unlink()
    if at < stop:
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit status {os.WEXITSTATUS(status)}"
        result.hangs += late
        result.crashes += not late
        result.findings.append((at, f"hang: more than {patience} s" if late else f"crash: {how}"))
        at += 1
    result.inputs = at


def _child(name, target, seed, start, stop, shared, folder):
    """Do a block, then end without cleaning up, for what would be cleaned is the parent's."""
    counts = [0, 0, 0]
    try:
        _limit()
        faulthandler.disable()  # a test runner's, which would print what is looked for here
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        for number in range(start, stop):
            shared[:] = _STATE.pack(number, *counts, 0, time.monotonic())
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            try:
                verdict = target.check(input_of(name, target, seed, number), folder)
                grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
                if grown > MEMORY:
                    raise Wrong(f"{grown >> 20} MB of memory for one input")
            except Exception:  # noqa: BLE001  that is what is looked for
                (folder / "findings" / str(number)).write_text(traceback.format_exc(limit=-6))
                continue
            counts[0] += bool(verdict)
            counts[1] += not verdict
            counts[2] += verdict == "sure"
        shared[:] = _STATE.pack(stop, *counts, 0, time.monotonic())
        os._exit(0)
    finally:
        os._exit(3)


def _limit():
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ADDRESSES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
