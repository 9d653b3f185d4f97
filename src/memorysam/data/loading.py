"""Feeding a model: reading ahead in worker processes, samples that cannot be read, and how long was waited."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

import torch

from memorysam.data.dataset import Sample, SegmentationDataset
from memorysam.data.skipping import Skips, told
from memorysam.data.workers import Workers
from memorysam.errors import DataError

T = TypeVar("T")
PATIENCE = 600.0
"""Seconds."""

_AHEAD = 4
"""Batches that each process reads ahead."""


class Loader(Generic[T]):
    """Batches of a dataset in the order of a sampler, read ahead by worker processes.

    An error of a worker arrives as the `MemorySAMError` it was, and a worker that dies or hangs as a `DataError` that
    names the samples it was asked for.

    Args:
        dataset: of samples.
        batches: lists of dataset keys, one list per batch; may be endless.
        collate: makes a batch of samples.
        workers: processes; 0 reads in this one.
        pin: keep batches in pinned memory, for a GPU; they must have a method `pin_memory`.
        patience: seconds that a process may take for a batch; 0 waits for ever.
        skips: where samples that cannot be read are listed; None raises instead.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        batches: Iterable[Sequence[Any]],
        collate: Callable[[Sequence[Sample]], T],
        workers: int = 0,
        pin: bool = False,
        patience: float = PATIENCE,
        skips: Skips | None = None,
    ) -> None:
        self.waited = 0.0
        """Seconds spent waiting for data so far."""
        self._batches, self._workers, self._pin, self._patience, self._skips = batches, workers, pin, patience, skips
        self._dataset = dataset
        self._read = _Read(
            dataset, collate, None if skips is None else skips.limit, skips is not None and skips.replace
        )

    def __iter__(self) -> Generator[T, None, None]:
        with closing(self._by_workers() if self._workers else self._here()) as results:
            while True:
                began = time.perf_counter()
                read = next(results, None)
                self.waited += time.perf_counter() - began
                if read is None:
                    return
                if self._skips is not None:
                    for sample, what in read.skipped:
                        self._skips.add(sample, what)  # raises where they are too many to fill the batch
                if read.batch is not None:
                    yield read.batch

    def _here(self) -> Generator["_Batch[T]", None, None]:
        for keys in self._batches:
            yield _pinned(self._read(keys)) if self._pin else self._read(keys)

    def _by_workers(self) -> Generator["_Batch[T]", None, None]:
        with Workers(self._read, self._workers, self._patience, self._dataset.names) as workers:
            ahead = _received(workers, iter(self._batches), _AHEAD * self._workers)
            if not self._pin:
                yield from ahead
                return
            # A second copy of each batch is made, while the one before is used.
            with ThreadPoolExecutor(
                1, initializer=_use_device, initargs=(torch.accelerator.current_device_index(),)
            ) as one:
                try:
                    future = one.submit(_next_pinned, ahead)
                    while (read := future.result()) is not None:
                        future = one.submit(_next_pinned, ahead)
                        yield read
                finally:
                    workers.stop()  # or the thread would wait for its batch to the end


def _received(
    workers: Workers[Sequence[Any], "_Batch[T]"], batches: Iterator[Sequence[Any]], ahead: int
) -> Iterator["_Batch[T]"]:
    for keys in islice(batches, ahead):
        workers.send(keys)
    while workers.outstanding:
        read = workers.receive()
        for keys in islice(batches, 1):
            workers.send(keys)
        yield read


def _next_pinned(batches: Iterator["_Batch[Any]"]) -> "_Batch[Any] | None":
    read = next(batches, None)
    return None if read is None else _pinned(read)


def _pinned(read: "_Batch[Any]") -> "_Batch[Any]":
    return read if read.batch is None else _Batch(read.batch.pin_memory(), read.skipped)


def _use_device(index: int) -> None:
    torch.accelerator.set_device_index(index)


@dataclass(frozen=True)
class _Batch(Generic[T]):
    batch: T | None
    """None if too few samples could be read."""
    skipped: list[tuple[str, str]]
    """Ids, and what is wrong with them."""


class _Read(Generic[T]):
    """Reads a batch; it travels to the workers.

    Args:
        dataset: of samples.
        collate: makes a batch of samples.
        limit: how many samples may be unreadable; None raises at the first.
        replace: whether others take their places.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        collate: Callable[[Sequence[Sample]], T],
        limit: int | None,
        replace: bool,
    ) -> None:
        self.dataset, self.collate, self.limit, self.replace = dataset, collate, limit, replace

    def __call__(self, keys: Sequence[Any]) -> _Batch[T]:
        samples: list[Sample] = []
        skipped: list[tuple[str, str]] = []
        for key in keys:
            # Who takes the place of a sample is a matter of its key alone: not of processes, ranks or what came before.
            for index in self.dataset.in_place_of(key):
                try:
                    samples.append(self.dataset.sample(key, index))
                    break
                except DataError as error:
                    if self.limit is None:
                        raise
                    skipped.append((self.dataset.names([index])[0], told(error)))
                if not self.replace:
                    break  # and nobody takes its place
                if len(dict(skipped)) > self.limit:
                    return _Batch(None, skipped)
            else:
                raise DataError("no sample of this split can be read", where=skipped[0][1])
        return _Batch(self.collate(samples), skipped)
