import json

import numpy as np
import pytest

from memorysam.benchmark import pipeline
from memorysam.benchmark.clock import PARTS, Clock, WatchedCollate, WatchedSource, WatchedTransform
from memorysam.cli import main
from memorysam.config import AugmentSettings
from memorysam.data.dataset import SegmentationDataset, collate
from memorysam.data.scenes import ScenesSource
from memorysam.data.transforms import TrainTransform

SMALL = ["benchmark", "--data", "--backbone", "micro", "--size", "64", "--repeats", "1", "--batch", "2"]


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(pipeline, "SCENES", 2)
    monkeypatch.setattr(pipeline, "AHEAD", 1)
    monkeypatch.setattr(pipeline, "BATCHES", 2)


def test_a_clock_counts_each_part_until_the_next_begins():
    times = iter([10.0, 11.0, 13.0, 16.0, 20.0])
    clock = Clock(lambda: next(times))
    for part in ("read", "augment", "read", "stack"):
        clock.begin(part)
    assert clock.take() == {"read": 1.0 + 3.0, "augment": 2.0}
    clock.begin("hand over")
    assert clock.take() == {"stack": 4.0}, "what was taken is forgotten"


def test_a_watched_dataset_gives_the_same_batch_and_says_where_its_time_went():
    source = ScenesSource("train", 2, (64, 64))
    transform = TrainTransform((32, 32), AugmentSettings(), source.modalities)
    plain = SegmentationDataset(source, source.modalities, transform, seed=1)
    clock = Clock()
    watched = SegmentationDataset(
        WatchedSource(source, clock), source.modalities, WatchedTransform(transform, clock), seed=1
    )
    expected = collate([plain[3, 0], plain[3, 1]])
    timed = WatchedCollate(clock)([watched[3, 0], watched[3, 1]])
    assert all(np.array_equal(timed.batch.images[name], image) for name, image in expected.images.items())
    assert np.array_equal(timed.batch.label, expected.label)
    assert timed.seconds.keys() == set(PARTS) - {"hand over"}, "that of a batch is known when the next one begins"
    assert all(value > 0 for value in timed.seconds.values())


def test_every_sample_is_read_in_every_epoch_and_none_twice():
    found = [key for batch in pipeline.keys(3, 8) for key in batch]
    assert found == [(epoch, index) for epoch in range(6) for index in range(pipeline.SCENES)]


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_reading_by_part_from_files_and_cache_beside_a_step(capsys):
    assert main([*SMALL, "--modalities", "3", "--precision", "fp32", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["machine"]["cpu"]
    assert found["reading"].keys() == {"files", "cache"}
    for way in found["reading"].values():
        parts = way["seconds_per_sample"]
        assert list(parts) == list(PARTS)
        assert all(part["median"] > 0 for part in parts.values())
        assert all(part["runs"] == 2 for part in parts.values())
        assert way["samples_per_s"] == pytest.approx(2 / way["seconds_per_batch"]["median"])
        assert way["cpu_seconds_per_batch"]["median"] > 0
        assert way["bytes_per_batch"] == 2 * 64 * 64 * (3 * 3 * 4 + 8)
        assert way["share_of_copy"] > 0
        step = found["train"]["fp32"]
        assert step["passes"] == 2
    for name, ratios in found["feeds"].items():
        seconds = found["reading"][name]["seconds_per_batch"]["median"]
        assert ratios == {"fp32": pytest.approx(step["seconds"]["median"] / seconds)}
    assert found["cache_bytes"] == 2 * 64 * 64 * (3 * 3 + 1)
    assert found["file_bytes"] > 0


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_reading_alone_as_a_table(capsys):
    assert main([*SMALL, "--no-train"]) == 0
    out = capsys.readouterr().out
    for words in ("samples/s", "ms per sample", "normalise", "hand over", "of copy bandwidth", "GB/s"):
        assert words in out
    assert "training step" not in out


def test_more_modalities_than_the_scenes_have_are_refused(capsys):
    assert main([*SMALL, "--modalities", "5"]) == 2
    error = capsys.readouterr().err
    assert "rgb, depth, event, lidar" in error
    assert "--modalities" in error
