"""The processes that read: they outlive the signals that end a run, as long as the run needs them."""

import itertools
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import threading
import time

import pytest
import torch

from memorysam.data.catalog import open_dataset
from memorysam.data.dataset import SegmentationDataset, collate
from memorysam.data.loading import Loader
from memorysam.data.transforms import Resize
from memorysam.errors import DataError

from ..tiny import settings, write_dataset


@pytest.mark.slow
def test_sigterm_to_the_server_of_the_reading_processes_leaves_them_at_work(tmp_path):
    data = settings(write_dataset(tmp_path)).data
    source = open_dataset(data, (32, 32)).source("train", ("rgb",))
    dataset = SegmentationDataset(source, source.modalities, Resize((32, 32), source.modalities))
    loader = Loader(dataset, [[(0, 0)]] * 12, collate, workers=1)
    batches = iter(loader)
    next(batches)
    server = multiprocessing.forkserver._forkserver._forkserver_pid
    assert server is not None, "the reading processes come from a server here"
    os.kill(server, signal.SIGTERM)
    time.sleep(0.5)
    # A dead server makes its children look dead, which is noticed only where data are waited for.
    assert [child.is_alive() for child in multiprocessing.active_children()] == [True]
    assert len(list(batches)) == 11


class Pinned:
    """A batch that knows whether it was pinned, and by which thread."""

    def __init__(self, samples):
        self.ids = [sample.id for sample in samples]
        self.by = None

    def pin_memory(self):
        self.by = threading.current_thread().name
        return self


@pytest.fixture
def pinning(tmp_path, monkeypatch):
    """Makes loaders that pin, on a machine that may have no GPU; the devices that their threads chose."""
    chosen = []
    monkeypatch.setattr(torch.accelerator, "current_device_index", lambda: 3)
    monkeypatch.setattr(torch.accelerator, "set_device_index", chosen.append)
    source = open_dataset(settings(write_dataset(tmp_path)).data, (32, 32)).source("train", ("rgb",))
    dataset = SegmentationDataset(source, source.modalities)
    return tmp_path, chosen, lambda batches, workers: Loader(dataset, batches, Pinned, workers, pin=True)


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_pinned_in_their_order_by_a_thread_of_the_same_device(pinning, workers):
    _, chosen, loader = pinning
    found = list(loader([[i, 9 - i] for i in range(7)], workers))
    assert [batch.ids for batch in found] == [[f"t0{i}", f"t0{9 - i}"] for i in range(7)]
    assert all(batch.by is not None for batch in found)
    assert {batch.by == threading.current_thread().name for batch in found} == {workers == 0}
    assert chosen == [3] * workers


def test_an_error_while_pinning_ahead_comes_at_its_turn_and_an_early_end_leaves_nothing(pinning):
    folder, _, loader = pinning
    (folder / "rgb/t02.png").write_bytes(b"")
    batches = iter(loader([[0], [1], [2], [3]], 1))
    assert [next(batches).ids, next(batches).ids] == [["t00"], ["t01"]]
    with pytest.raises(DataError, match=r"t02\.png"):
        next(batches)
    before = threading.active_count()
    batches = iter(loader(([i % 2] for i in itertools.count()), 1))
    next(batches)
    batches.close()
    assert threading.active_count() == before
    assert not any(child.is_alive() for child in multiprocessing.active_children())
