"""Scenes on disk: DELIVER's folders, names and label encoding, and nothing lost on the way."""

import re

import cv2
import numpy as np
import pytest
import yaml

from memorysam.data.folders import FolderDataset
from memorysam.data.scenes import ScenesSource, write_scenes
from memorysam.data.scenes.names import DELIVER
from memorysam.errors import DataError

ALL = ("rgb", "depth", "event", "lidar")
SIZE = (48, 64)
COUNTS = {"train": 18, "val": 5}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("scenes") / "world"
    told = []
    assert write_scenes(out, COUNTS, SIZE, seed=2, progress=lambda *done: told.append(done)) == out / "dataset.yaml"
    assert told == [(n, 23) for n in range(1, 24)]
    return out


def snapshot(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*.png")}


def test_layout(written):
    suffixes = {"img": "rgb", "hha": "depth", "event": "event", "lidar": "lidar", "semantic": "semantic"}
    assert sorted(path.name for path in written.iterdir()) == sorted([*suffixes, "dataset.yaml"])
    failures = "motionblur|overexposure|underexposure|lidarjitter|eventlowres"
    for folder, suffix in suffixes.items():
        files = [path.relative_to(written).as_posix() for path in (written / folder).rglob("*") if path.is_file()]
        assert len(files) == 23
        pattern = (
            rf"{folder}/(cloud|fog|night|rain|sun)/(train|val)/"
            rf"MAP_[1-8]_point[1-5](_({failures}))?/\d{{6}}_{suffix}_front\.png"
        )
        assert all(re.fullmatch(pattern, name) for name in files)


def test_reading_gives_what_was_rendered(written):
    """Through the package's own reader of folders."""
    dataset = FolderDataset.load(written / "dataset.yaml")
    assert dataset.splits == ("train", "val")
    assert dataset.classes == ScenesSource.classes
    assert dataset.modalities == ScenesSource.modalities
    for split, count in COUNTS.items():
        ours, theirs = ScenesSource(split, count, SIZE, seed=2), dataset.source(split)
        assert sorted(ours.ids) == sorted(theirs.ids)
        for index, name in enumerate(ours.ids):
            where = list(theirs.ids).index(name)
            a, b = ours.read(index, ALL), theirs.read(where, ALL)
            assert np.array_equal(a.label, b.label)
            assert a.tags == b.tags
            for modality in ALL:
                assert np.array_equal(a.images[modality], b.images[modality]), (name, modality)


def test_label_encoding(written):
    source = ScenesSource("val", 5, SIZE, seed=2)
    condition, place, frame = source.ids[1].split("/")
    path = written / "semantic" / condition / "val" / place / f"{frame}_semantic_front.png"
    blue, green, red, alpha = cv2.split(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    names = np.array(source.classes.names)[source.read(1, ()).label]
    assert np.array_equal(np.array(list(DELIVER))[red - 1], names)
    assert (alpha == 255).all()
    assert min(blue.min(), green.min()) > 25


def test_low_resolution_events_are_stored_small(written):
    shapes = {path.parent.name.split("_")[-1]: cv2.imread(str(path)).shape for path in written.glob("event/*/*/*/*")}
    assert shapes.pop("eventlowres") == (12, 16, 3)
    assert set(shapes.values()) == {(48, 64, 3)}


def test_writing_again_changes_nothing(written):
    before = snapshot(written)
    write_scenes(written, COUNTS, SIZE, seed=2)
    assert snapshot(written) == before


def test_an_interrupted_run_is_finished(tmp_path):
    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path, {"train": 2, "val": 4}, SIZE, progress=stop)
    assert yaml.safe_load((tmp_path / "dataset.yaml").read_text())["splits"] == ["train"]
    last = sorted(tmp_path.rglob("*_lidar_front.png"))[-1]
    last.unlink()
    write_scenes(tmp_path, {"train": 2, "val": 4, "test": 0}, SIZE)
    assert last.is_file()
    assert yaml.safe_load((tmp_path / "dataset.yaml").read_text())["splits"] == ["train", "val"]
    assert not list(tmp_path.rglob("*.tmp"))


def test_splits_can_be_added_and_grown(tmp_path):
    write_scenes(tmp_path, {"train": 2}, SIZE)
    write_scenes(tmp_path, {"val": 1}, SIZE)
    write_scenes(tmp_path, {"train": 3}, SIZE)
    dataset = FolderDataset.load(tmp_path / "dataset.yaml")
    assert {split: len(dataset.source(split).ids) for split in dataset.splits} == {"val": 1, "train": 3}
    with pytest.raises(DataError, match="already holds 1 scenes beyond the 2"):
        write_scenes(tmp_path, {"train": 2}, SIZE)


@pytest.mark.parametrize("other", [{"size": (64, 64)}, {"seed": 1}])
def test_another_world_is_not_mixed_in(tmp_path, other):
    settings = {"counts": {"train": 1}, "size": SIZE, "seed": 0}
    write_scenes(tmp_path, **settings)
    with pytest.raises(DataError, match="another size or seed"):
        write_scenes(tmp_path, **{**settings, **other})


@pytest.mark.parametrize("name", ["notes.txt", "dataset.yaml"])
def test_foreign_folders_are_left_alone(tmp_path, name):
    (tmp_path / name).write_text("name: mine\n")
    with pytest.raises(DataError, match="something else"):
        write_scenes(tmp_path, {"train": 1}, SIZE)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError):
        write_scenes(tmp_path / "file", {"train": 1}, SIZE)
