"""A run that is resumed on other data says what has changed, or goes on if it is told to."""

import json

import pytest
import yaml

from memorysam.errors import TrainingError
from memorysam.training.data_record import differences
from memorysam.training.loop import train
from memorysam.training.run import DATA

from ..tiny import settings, write_dataset

QUICK = {"model": {"image_size": [32, 32]}, "train": {"batch_size": 2, "tensorboard": False}}


def record(train=("a", "b"), val=("v",), modalities=("rgb", "depth"), classes=("road", "wall")):
    return {
        "samples": {"train": list(train), "val": list(val)},
        "modalities": {name: {"name": name, "channels": 3, "mean": [0.0]} for name in modalities},
        "classes": {name: {"id": i, "color": [i, i, i]} for i, name in enumerate(classes)},
    }


def test_equal_data_have_no_differences():
    assert differences(record(), json.loads(json.dumps(record()))) == []


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (record(train="abc"), ["train: 2 samples, now 3", "train: 1 added (c)"]),
        (record(train="ac"), ["train: 1 added (c)", "train: 1 removed (b)"]),
        (record(train="ba"), ["train: the same samples in another order"]),
        (record(val=()), ["val: 1 samples, now 0", "val: 1 removed (v)"]),
        (record(modalities=("rgb", "lidar")), ["modality lidar added", "modality depth removed"]),
        (record(modalities=("depth", "rgb")), ["modalities in another order: rgb, depth, now depth, rgb"]),
        (
            record(classes=("road", "box", "wall")),
            ["class box added", "class wall, id: 1, now 2", "class wall, color: [1, 1, 1], now [2, 2, 2]"],
        ),
    ],
)
def test_each_kind_of_change_is_told(now, words):
    assert differences(record(), now) == words


def test_many_samples_are_counted_and_the_first_named():
    words = differences(record(train=[f"s{i}" for i in range(1000)]), record(train=()))
    assert words[1] == "train: 1000 removed (s0, s1, s2, s3, s4 and 995 more)"


def test_a_key_that_a_newer_version_has_added_is_no_change():
    now = record()
    now["modalities"]["rgb"]["new"] = 1
    assert differences(record(), now) == []


CHANGES = {
    "a sample less": (lambda d: cut(d, "train.txt"), "train: 10 samples, now 9; train: 1 removed (t09)"),
    "another validation": (lambda d: cut(d, "val.txt"), "val: 4 samples, now 3; val: 1 removed (v03)"),
    "other values": (lambda d: edit(d, "modalities", "depth", "high", 1000), "modality depth, high: 65535.0, now 1000"),
    "another class": (lambda d: edit(d, "classes", "box", None, None), "class box removed"),
}


def cut(folder, name):
    lines = (folder / name).read_text().splitlines()
    (folder / name).write_text("\n".join(lines[:-1]))


def edit(folder, group, name, key, value):
    path = folder / "dataset.yaml"
    content = yaml.safe_load(path.read_text())
    if key is None:
        content[group]["crate"] = content[group].pop(name)
    else:
        content[group][name][key] = value
    path.write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.mark.parametrize("change", CHANGES)
def test_changed_data_are_refused_with_the_difference_or_taken_on_request(tmp_path, fault, change):
    make, words = CHANGES[change]
    dataset, run = write_dataset(tmp_path / "data"), tmp_path / "run"
    train(settings(dataset, **QUICK), run, stop_after=1)
    state = (run / "last.safetensors").read_bytes()
    make(tmp_path / "data")
    with fault("data changed"):
        with pytest.raises(TrainingError, match="the data set has changed since this run began") as error:
            train(settings(dataset, **QUICK), run, resume=True)
        assert words in str(error.value)
        assert "--allow-changes" in str(error.value)
        assert (run / "last.safetensors").read_bytes() == state
    if change == "another class":  # which is another model
        return
    train(settings(dataset, **QUICK), run, resume=True, allow_changes=True, stop_after=2)
    train(settings(dataset, **QUICK), run, resume=True, stop_after=3)  # what was allowed is the run's data now


def test_a_run_of_before_there_were_records_is_compared_by_its_fingerprint(tmp_path):
    dataset, run = write_dataset(tmp_path / "data"), tmp_path / "run"
    train(settings(dataset, **QUICK), run, stop_after=1)
    (run / DATA).unlink()
    train(settings(dataset, **QUICK), run, resume=True, stop_after=2)
    assert (run / DATA).exists()
    (run / DATA).unlink()
    cut(tmp_path / "data", "train.txt")
    with pytest.raises(TrainingError, match=r"10 samples, .*; now 9"):
        train(settings(dataset, **QUICK), run, resume=True)


def test_a_damaged_record_is_an_error_with_a_way_out(tmp_path):
    dataset, run = write_dataset(tmp_path / "data"), tmp_path / "run"
    train(settings(dataset, **QUICK), run, stop_after=1)
    (run / DATA).write_text('{"samples": ')
    with pytest.raises(TrainingError, match=r"record of the data of this run is damaged(.|\n)*--allow-changes"):
        train(settings(dataset, **QUICK), run, resume=True)
    train(settings(dataset, **QUICK), run, resume=True, allow_changes=True, stop_after=2)
