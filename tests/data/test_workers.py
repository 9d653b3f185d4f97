"""Processes that read: who dies or hangs is told with what it read, whoever it takes along; what they send arrives."""

import ctypes
import mmap
import os
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from memorysam.data import transport
from memorysam.data.dataset import Batch
from memorysam.data.workers import Workers
from memorysam.errors import DataError


def do(job):
    """What a job is told to do, in a worker."""
    kind, value = job
    if kind == "exit":
        os._exit(value)
    if kind == "signal":
        os.kill(os.getpid(), value)
    if kind == "crash":
        ctypes.string_at(0)
    if kind == "hang":
        time.sleep(3600)
    if kind == "data error":
        raise DataError("nothing there", where=Path("a.png"), expected="something", fix="bring it")
    if kind == "mistake":
        return {}["no such key"]
    if kind == "half":  # killed in the middle of a message
        import memorysam.data.workers as module

        def give(theirs, result):
            os.write(theirs.fileno(), b"\0\0\1\0abc")
            os._exit(1)

        module.give = give
    return value, os.getpid()


def names(job):
    return [f"sample {job[0]}"]


def pool(count, patience=0.0):
    return Workers(do, count, patience, names)


def ended(pids):
    """Wait for processes to be gone, zombies too; a bound on hangs, not on time."""
    until = time.monotonic() + 120
    while any(psutil.pid_exists(pid) for pid in pids):
        assert time.monotonic() < until, "a process was left behind"
        time.sleep(0.02)
    return True


def test_results_come_in_the_order_of_the_jobs_from_all_processes():
    with pool(3) as workers:
        for value in range(7):
            workers.send(("give", value))
        results = [workers.receive() for _ in range(7)]
        assert workers.outstanding == 0
    assert [value for value, _ in results] == list(range(7))
    pids = [pid for _, pid in results]
    assert pids[:3] == pids[3:6]
    assert len({*pids, os.getpid()}) == 4
    assert ended(set(pids))


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (("exit", 3), r"ended by itself, with exit code 3"),
        (("signal", signal.SIGKILL), r"killed \(SIGKILL\), as systems do that run out of memory(.|\n)*more memory"),
        (("signal", signal.SIGBUS), r"crashed \(SIGBUS\)(.|\n)*check-data"),
        (("crash", 0), r"crashed \(SIGSEGV\)(.|\n)*check-data"),
        (("half", 0), r"ended by itself, with exit code 1"),
    ],
    ids=["exit", "SIGKILL", "SIGBUS", "SIGSEGV", "half a message"],
)
def test_a_process_that_dies_is_told_with_what_it_read_and_how(fault, job, words):
    with fault("worker killed"), pool(2) as workers:
        workers.send(("give", 1))
        workers.send(job)
        workers.send(("give", 2))
        _, sound = workers.receive()
        with pytest.raises(DataError, match=words) as caught:
            workers.receive()
        assert f"sample {job[0]}" in caught.value.where
        assert "--data.workers 0" in caught.value.fix
    assert ended([sound])


def test_a_process_that_is_dead_before_it_is_asked_is_told(fault):
    with fault("worker killed"), pool(1) as workers:
        workers.send(("give", 1))
        _, pid = workers.receive()
        os.kill(pid, signal.SIGKILL)
        ended([pid])
        workers.send(("give", 2))
        with pytest.raises(DataError, match="SIGKILL"):
            workers.receive()


def test_a_process_that_hangs_is_told_after_the_patience_with_what_it_was_asked_for(fault):
    with fault("worker hung"), pool(2, patience=0.3) as workers:
        workers.send(("hang", 0))
        with pytest.raises(DataError, match=r"not answered for 0\.3 seconds(.|\n)*sample hang(.|\n)*data\.patience"):
            workers.receive()
        pids = [process.pid for process in workers._processes]
    assert ended(pids)


def test_without_patience_a_slow_process_is_waited_for(monkeypatch):
    monkeypatch.setattr("memorysam.data.workers._LOOK", 0.01)
    with pool(1) as workers:
        workers.send(("give", 1))
        assert workers.receive()[0] == 1


def test_a_thread_that_waits_for_a_process_that_hangs_is_let_go():
    import threading

    caught = []

    def wait(workers):
        try:
            workers.receive()
        except DataError as error:
            caught.append(error)

    with pool(1) as workers:
        workers.send(("hang", 0))
        thread = threading.Thread(target=wait, args=(workers,))
        thread.start()
        workers.stop()
        thread.join(120)
    assert len(caught) == 1


def test_an_error_is_raised_as_it_was_and_the_process_goes_on():
    with pool(1) as workers:
        for job in (("data error", 0), ("mistake", 0), ("give", 5)):
            workers.send(job)
        with pytest.raises(DataError, match="nothing there") as caught:
            workers.receive()
        assert (caught.value.where, caught.value.expected, caught.value.fix) == (Path("a.png"), "something", "bring it")
        with pytest.raises(RuntimeError, match=r"KeyError(.|\n)*no such key"):
            workers.receive()
        assert workers.receive()[0] == 5


def descriptors():
    """How many this process holds; 0 where that cannot be seen."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def connections():
    from multiprocessing import Pipe

    return Pipe()


VALUES = {
    "batch": Batch({"a": torch.arange(24.0).reshape(2, 3, 2, 2)}, torch.full((2, 2, 2), 255), ["x", "ü\n"]),
    "arrays": [np.arange(5, dtype=np.uint16), np.zeros((0, 3)), np.asfortranarray(np.arange(6).reshape(2, 3))],
    "none": ("words", None),
    "empty": torch.empty(0, 4),
    "strided": torch.arange(12).reshape(3, 4)[:, ::2],
}


def flat(value):
    if isinstance(value, Batch):
        return [*value.images.values(), value.label, value.ids]
    return list(value) if isinstance(value, (list, tuple)) else [value]


@pytest.mark.parametrize("anonymous", [True, False], ids=["in anonymous memory", "through the connection"])
@pytest.mark.parametrize("kind", VALUES)
def test_what_is_sent_arrives_and_may_be_written_to(monkeypatch, kind, anonymous, recwarn):
    if not anonymous:
        monkeypatch.setattr(os, "memfd_create", lambda _name: (_ for _ in ()).throw(OSError()), raising=False)
    elif not hasattr(os, "memfd_create"):
        pytest.skip("this system has no anonymous memory")
    before = descriptors()
    theirs, ours = connections()
    transport.give(theirs, VALUES[kind])
    received = flat(transport.take(ours))
    theirs.close()
    ours.close()
    for mine, other in zip(flat(VALUES[kind]), received, strict=True):
        assert type(mine) is type(other)
        if isinstance(mine, (torch.Tensor, np.ndarray)):
            assert (mine.dtype, mine.shape) == (other.dtype, other.shape)
            assert bool((mine == other).all())
            other[...] = 0
        else:
            assert mine == other
    assert not recwarn.list
    if before:
        del received, other
        assert descriptors() == before


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no anonymous memory")
def test_no_large_array_goes_through_the_connection_or_shared_memory(monkeypatch):
    theirs, ours = connections()  # which would block: nobody reads
    transport.give(theirs, torch.zeros(4, 1000, 1000))
    maps = []
    monkeypatch.setattr(mmap, "mmap", lambda *args, real=mmap.mmap: maps.append(args[1]) or real(*args))
    assert transport.take(ours).shape == (4, 1000, 1000)
    assert maps == [16_000_000]
