"""The embedded world: what is drawn, that it is always the same, and that its parts fit each other."""

import hashlib
import subprocess
import sys
from collections import Counter

import cv2
import numpy as np
import pytest

from memorysam.data.dataset import tag_values
from memorysam.data.scenes import ScenesSource
from memorysam.data.scenes.names import CONDITIONS, DELIVER, FAILURES
from memorysam.errors import DataError, SettingsError

ALL = ("rgb", "depth", "event", "lidar")
SIZE = (64, 96)


def digest(raw):
    found = hashlib.sha256(raw.label.tobytes())
    for name in sorted(raw.images):
        found.update(name.encode() + raw.images[name].tobytes())
    return found.hexdigest()


@pytest.fixture(scope="module")
def many():
    """Labels of many scenes, 128 pixels square."""
    source = ScenesSource("train", 200, (128, 128))
    return source, [source.read(index, ()).label for index in range(200)]


def test_arrays():
    source = ScenesSource("train", 40, SIZE)
    assert [m.name for m in source.modalities] == list(ALL)
    assert len(source.ids) == len(set(source.ids)) == 40
    for index in range(5):
        raw = source.read(index, ALL)
        assert list(raw.images) == list(ALL)
        assert raw.id == source.ids[index]
        assert raw.tags == source.tags(index)
        assert raw.label.shape == SIZE
        assert raw.label.dtype == np.uint8
        assert raw.label.max() < len(source.classes)
        for image in raw.images.values():
            assert image.shape == (*SIZE, 3)
            assert image.dtype == np.uint8


def test_only_what_is_asked_for_in_the_order_asked():
    source = ScenesSource("train", 1, SIZE)
    assert list(source.read(0, ("lidar", "rgb")).images) == ["lidar", "rgb"]
    assert source.read(0, ()).images == {}
    with pytest.raises(SettingsError, match="thermal"):
        source.read(0, ("rgb", "thermal"))


@pytest.mark.parametrize("wrong", [{"count": 0}, {"size": (8, 64)}, {"seed": -1}])
def test_impossible_scenes(wrong):
    with pytest.raises(DataError, match="no such scenes"):
        ScenesSource(**{"split": "train", "count": 1, "size": SIZE, **wrong})


def test_same_bytes_in_any_order_and_company():
    source, other = ScenesSource("val", 30, SIZE, seed=3), ScenesSource("val", 12, SIZE, seed=3)
    first = {index: digest(source.read(index, ALL)) for index in (0, 11, 4)}
    alone = source.read(4, ("event",)).images["event"]
    assert digest(other.read(11, ALL)) == first[11]
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1 if threads > 1 else 4)
    try:
        assert digest(source.read(4, ALL)) == first[4]
    finally:
        cv2.setNumThreads(threads)
    assert np.array_equal(source.read(4, ALL).images["event"], alone)


def test_same_bytes_in_another_process():
    code = f"""
from hashlib import sha256
from memorysam.data.scenes import ScenesSource
raw = ScenesSource("train", 8, {SIZE}).read(7, {ALL})
found = sha256(raw.label.tobytes())
for name in sorted(raw.images):
    found.update(name.encode() + raw.images[name].tobytes())
print(found.hexdigest())
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == digest(ScenesSource("train", 20, SIZE).read(7, ALL))


def test_splits_and_seeds_share_no_scene():
    sources = [ScenesSource(split, 12, SIZE, seed) for split in ("train", "val", "test") for seed in (0, 1)]
    labels = [source.read(index, ()).label.tobytes() for source in sources for index in range(12)]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("small", [(64, 64), (96, 64), (48, 96)])
def test_another_size_shows_the_same_scene(small):
    large = (small[0] * 4, small[1] * 4)
    agreements = []
    for index in range(6):
        a, b = (ScenesSource("train", 6, size).read(index, ("rgb",)) for size in (small, large))
        agreements.append(np.mean(a.label == b.label[2::4, 2::4]))
    assert np.mean(agreements) > 0.93
    assert min(agreements) > 0.87


def test_every_class_occurs(many):
    source, labels = many
    present = np.array([np.bincount(label.ravel(), minlength=len(source.classes)) > 0 for label in labels])
    share = dict(zip(source.classes.names, present.mean(0), strict=True))
    assert min(share.values()) > 0.2, share
    assert {"Road", "Sky", "Pole", "Building", "Cars"} <= {name for name, part in share.items() if part > 0.9}


def test_no_class_covers_everything(many):
    source, labels = many
    pixels = np.bincount(np.concatenate([label.ravel() for label in labels]), minlength=len(source.classes))
    share = pixels / pixels.sum()
    assert share.max() < 0.45
    assert share.min() > 0.001


def test_classes_are_those_of_the_benchmark():
    classes = ScenesSource.classes
    assert len(classes) == 17
    assert [name for name in DELIVER if name in classes.names] == list(classes.names)
    assert all(DELIVER[name] == colour for name, colour in zip(classes.names, classes.colors, strict=True))


def test_conditions_and_failures():
    source = ScenesSource("train", 1000, SIZE)
    tags = [source.tags(index) for index in range(1000)]
    assert tag_values(source)["condition"] == sorted(CONDITIONS)
    assert set(Counter(tag["condition"] for tag in tags).values()) == {200}
    want = dict.fromkeys(FAILURES, 0.06) | {"none": 0.6, "motionblur": 0.16}
    for condition in CONDITIONS:
        found = Counter(tag["failure"] for tag in tags if tag["condition"] == condition)
        assert {name: count / 200 for name, count in found.items()} == pytest.approx(want, abs=0.02)
    for name, tag in zip(source.ids, tags, strict=True):
        condition, place, frame = name.split("/")
        assert (condition, place) == (tag["condition"], tag["map"])
        assert place.startswith("MAP_")
        assert place.endswith(tag["failure"]) != (tag["failure"] == "none")
        assert len(frame) == 6


def test_few_samples_hold_all_failures():
    """Shares are kept from the start, so that a small test split can be scored for each failure."""
    source = ScenesSource("test", 100, SIZE)
    assert set(tag_values(source)["failure"]) == {*FAILURES, "none"}
