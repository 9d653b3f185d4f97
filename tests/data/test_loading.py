"""The processes that read: they outlive the signals that end a run, as long as the run needs them."""

import multiprocessing
import multiprocessing.forkserver
import os
import signal
import time

import pytest

from memorysam.data.catalog import open_dataset
from memorysam.data.dataset import SegmentationDataset, collate
from memorysam.data.loading import Loader
from memorysam.data.transforms import Resize

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
