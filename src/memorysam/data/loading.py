"""Feeding a model: worker processes, errors that cross them whole, and how long was waited."""

import multiprocessing
import multiprocessing.context
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Generic, TypeVar

import cv2
import torch
from torch.utils import data

from memorysam.data.dataset import Sample, SegmentationDataset
from memorysam.errors import DataError, MemorySAMError

T = TypeVar("T")


class Loader(Generic[T]):
    """Batches of a dataset in the order of a sampler, read ahead by worker processes.

    An error of a worker arrives as the `MemorySAMError` it was, and a worker that dies as a `DataError`.

    Args:
        dataset: of samples.
        batches: lists of dataset keys, one list per batch; may be endless.
        collate: makes a batch of samples.
        workers: processes; 0 reads in this one.
        pin: keep batches in pinned memory, for a GPU.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        batches: Iterable[Sequence[Any]],
        collate: Callable[[Sequence[Sample]], T],
        workers: int = 0,
        pin: bool = False,
    ) -> None:
        self.waited = 0.0
        """Seconds spent waiting for data so far."""
        self._loader = data.DataLoader(
            _Guarded(dataset),
            batch_sampler=batches,  # type: ignore[arg-type]
            collate_fn=_Collate(collate),
            num_workers=workers,
            pin_memory=pin,
            worker_init_fn=_settle,
            multiprocessing_context=_start_method() if workers else None,
            prefetch_factor=4 if workers else None,
            generator=torch.Generator(),  # or it would draw its seed from the generator that dropout uses
        )

    def __iter__(self) -> Generator[T, None, None]:
        batches = iter(self._loader)
        while True:
            began = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            except (RuntimeError, ConnectionError, EOFError) as error:
                if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                    raise
                raise DataError(
                    f"a process that reads data died: {error}",
                    fix="look for a lack of memory (also shared memory, /dev/shm); --data.workers 0 reads without them",
                ) from None
            self.waited += time.perf_counter() - began
            if isinstance(batch, MemorySAMError):
                raise batch
            yield batch


class _Guarded(data.Dataset[Any]):
    """Hands errors over as values: the data loader would glue a worker's traceback into their message."""

    def __init__(self, dataset: SegmentationDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Any) -> Sample | MemorySAMError:
        try:
            return self.dataset[key]
        except MemorySAMError as error:
            return error


class _Collate(Generic[T]):
    def __init__(self, collate: Callable[[Sequence[Sample]], T]) -> None:
        self.collate = collate

    def __call__(self, samples: Sequence[Sample | MemorySAMError]) -> T | MemorySAMError:
        good = []
        for sample in samples:
            if isinstance(sample, MemorySAMError):
                return sample
            good.append(sample)
        return self.collate(good)


def _start_method() -> multiprocessing.context.BaseContext:
    """Start workers from a server that was made before any thread: a fork of a process with threads can hang."""
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload(
        ["memorysam.data.server", __name__, "memorysam.data.catalog", "memorysam.data.transforms"]
    )
    return context


def _settle(_worker: int) -> None:
    """Make a worker one that takes one core, leaves signals to the process that trains, and does not outlive it."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for number in (signal.SIGINT, signal.SIGTERM):  # batch systems send them to all processes of a run
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Worker and server would wait for each other for ever if the process that trains is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
