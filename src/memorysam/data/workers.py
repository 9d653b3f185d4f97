"""Processes that read, each with a connection of its own: so it is known who reads what, who died of it, and who hangs.

Nobody else holds an end of a connection. So a process that is killed in the middle of a message ends it, and nobody
waits for the rest, as may happen where several write into one queue.
"""

import multiprocessing
import multiprocessing.context
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Generic, TypeVar

import cv2
import torch

from memorysam.data.transport import give, take
from memorysam.errors import DataError, MemorySAMError, listing

Job = TypeVar("Job")
Result = TypeVar("Result")

_LOOK = 1.0
"""Seconds between two looks at whether there is still somebody who waits."""
_NO_WORKERS = "--data.workers 0 (evaluate: --workers 0) reads without such processes"


class Workers(Generic[Job, Result]):
    """Processes that do jobs in turn; results come back in the order of the jobs.

    Args:
        work: does a job; it is sent to the processes once. An error of it that is a `MemorySAMError` is raised here.
        count: of the processes.
        patience: seconds that a result is waited for; 0 for ever.
        name: says what a job reads, for messages.
    """

    def __init__(
        self,
        work: Callable[[Job], Result],
        count: int,
        patience: float = 0.0,
        name: Callable[[Job], Sequence[str]] = lambda job: [str(job)],
    ) -> None:
        self._patience, self._name = patience, name
        self._jobs: deque[tuple[int, Job]] = deque()
        self._sent = 0
        self._closed = threading.Event()
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._connections: list[Connection[Any, Any]] = []
        context = _start_method()
        try:
            for _ in range(count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, work), daemon=True)  # type: ignore[attr-defined]
                self._connections.append(ours)
                process.start()
                theirs.close()  # so that the end of the process is the end of the connection
                self._processes.append(process)
        except BaseException:
            self.close()
            raise

    @property
    def outstanding(self) -> int:
        """Number of jobs whose results have not come back."""
        return len(self._jobs)

    def send(self, job: Job) -> None:
        """Give a job to the next process."""
        number = self._sent % len(self._processes)
        self._sent += 1
        self._jobs.append((number, job))
        with suppress(OSError):  # it is dead, which is told when its first result does not come
            self._connections[number].send(job)

    def receive(self) -> Result:
        """Wait for the result of the oldest job.

        Raises:
            DataError: its process died, or it took longer than the patience allows.
            MemorySAMError: what the job raised.
        """
        number, job = self._jobs[0]
        ours = self._connections[number]
        until = time.monotonic() + self._patience if self._patience else float("inf")
        while not connection.wait([ours], _LOOK):
            if self._closed.is_set():
                raise DataError("reading was given up")
            if time.monotonic() > until:
                raise self._hangs(number, job)
        try:
            result = take(ours)
        except (EOFError, OSError):
            raise self._died(number, job) from None
        self._jobs.popleft()
        if isinstance(result, MemorySAMError):
            raise result
        if isinstance(result, _Crash):
            raise RuntimeError(f"a process that reads data met an error:\n{result.told}")
        return result  # type: ignore[no-any-return]

    def stop(self) -> None:
        """Kill the processes: they hold nothing that could be lost. A thread that waits for a result gets an error."""
        self._closed.set()
        for process in self._processes:
            process.kill()

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        self.stop()
        for process in self._processes:
            process.join(5 * _LOOK)  # one that hangs in the kernel ends when that lets it go
        for ours in self._connections:
            ours.close()

    def __enter__(self) -> "Workers[Job, Result]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _died(self, number: int, job: Job) -> DataError:
        process = self._processes[number]
        process.join(5 * _LOOK)
        how, fix = _cause(process.exitcode)
        return DataError(
            f"a process that reads data {how}",
            where=f"process {process.pid}, asked for {listing(self._name(job), 16)}",
            expected="processes that live as long as the run",
            fix=f"{fix}; {_NO_WORKERS}",
        )

    def _hangs(self, number: int, job: Job) -> DataError:
        return DataError(
            f"a process that reads data has not answered for {self._patience:g} seconds",
            where=f"process {self._processes[number].pid}, asked for {listing(self._name(job), 16)}",
            expected="these samples within data.patience",
            fix="look whether the drive of these files answers (a network drive may hang), copy the data to a local "
            "one, or set a larger --data.patience (0 waits for ever)",
        )


def _cause(code: int | None) -> tuple[str, str]:
    """Return how a process ended, and what to do about it, by its exit code."""
    check = "look at these samples with memorysam check-data"
    if code is None or code >= 0:
        return f"ended by itself, with exit code {code}", check
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    if -code == signal.SIGKILL:
        return (
            f"was killed ({name}), as systems do that run out of memory",
            "give the run more memory, or let it need less: fewer --data.workers, a smaller batch",
        )
    if -code in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE):
        return f"crashed ({name})", f"{check}: a file or a cache that changes while it is read can cause it"
    return f"was ended ({name})", "look who sent that signal"


class _Crash:
    """A mistake of the program in a worker, told with its traceback."""

    def __init__(self) -> None:
        self.told = traceback.format_exc()


def _start_method() -> multiprocessing.context.BaseContext:
    """Start workers from a server that was made before any thread: a fork of a process with threads can hang."""
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload(
        ["memorysam.data.server", "memorysam.data.loading", "memorysam.data.catalog", "memorysam.data.transforms"]
    )
    if "forkserver" in methods:
        _start_server()
    return context


def _start_server() -> None:
    """Start it deaf to signals: one to all processes of a run may come before it has learnt to ignore them."""
    resource_tracker.ensure_running()  # by itself the server would start this, which unblocks the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(theirs: "Connection[Any, Any]", work: Callable[[Any], Any]) -> None:
    """Do jobs until there is nobody left to send them."""
    _settle()
    while True:
        try:
            job = theirs.recv()
        except (EOFError, OSError):
            return
        try:
            result = work(job)
        except MemorySAMError as error:
            result = error
        except MemoryError as error:
            result = DataError(f"there is not enough memory to read this: {error}", fix="fewer --data.workers")
        except Exception:  # noqa: BLE001  told where the results are taken
            result = _Crash()
        try:
            give(theirs, result)
        except (BrokenPipeError, ConnectionError):
            return


def _settle() -> None:
    """Make a worker one that takes one core, leaves signals to the process that trains, and does not outlive it."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for number in (signal.SIGINT, signal.SIGTERM):  # batch systems send them to all processes of a run
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker that is reading would not see that the process that trains was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
