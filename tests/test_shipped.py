"""The model that comes with the package."""

import json
import shutil

import numpy as np
import pytest
import torch

import memorysam
from memorysam.cli import main
from memorysam.config import DataSettings, EvaluateSettings, RunSettings
from memorysam.data.catalog import open_dataset
from memorysam.data.remember import Remembered
from memorysam.errors import WeightsError
from memorysam.evaluation.evaluate import evaluate
from memorysam.models import weights
from memorysam.models.shipped import shipped
from memorysam.strict import build, read_yaml
from memorysam.tensors import read_tensors

from .tiny import SIZE, write_dataset

SENSORS = ("rgb", "depth", "event", "lidar")


@pytest.fixture(scope="module")
def model():
    return memorysam.load("micro", verbose=False)


@pytest.fixture(scope="module")
def scenes(model):
    """Of another world than the one it was trained on."""
    source = open_dataset(DataSettings(dataset="scenes", scenes=(1, 1, 10)), model.task.image_size).source("test")
    return Remembered(source, SENSORS)


def most_frequent(scenes):
    """The score of whoever calls every pixel what most pixels are, in percent."""
    labels = np.concatenate([scenes.read(index, ()).label.ravel() for index in range(len(scenes.ids))])
    counts = np.bincount(labels[labels != 255])
    return 100 * counts.max() / counts.sum() / np.count_nonzero(counts)


@pytest.mark.parametrize(("seen", "times"), [(SENSORS, 5), (("depth",), 4), (("rgb",), 1.5), (("rgb", "lidar"), 3)])
def test_it_is_better_than_chance_by_far_with_any_sensors(model, scenes, seen, times):
    found = evaluate(model, scenes, EvaluateSettings(protocol="strict", batch_size=5), modalities=seen)
    assert found.scores.miou > times * most_frequent(scenes)


def test_it_is_found_by_name_and_what_lies_there_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert weights.locate("micro") == shipped()["micro"] / weights.SHARED
    (tmp_path / "micro").write_bytes(b"mine")
    assert weights.locate("micro").read_bytes() == b"mine"
    (tmp_path / "micro").unlink()
    shutil.copytree(shipped()["micro"], tmp_path / "micro")
    assert weights.locate("micro").resolve() == tmp_path / "micro" / weights.SHARED


def test_an_unknown_name_is_told_what_there_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match="micro"):
        weights.locate("mikro")


def test_it_is_small_in_the_file_and_float32_in_use(model):
    file = weights.locate(shipped()["micro"])
    tensors, head = read_tensors(file)
    assert file.stat().st_size < 4e6
    assert {t.dtype for t in tensors.values() if t.is_floating_point()} == {torch.float16}
    assert {p.dtype for p in model.model.parameters()} == {torch.float32}
    assert head["settings"]["data"]["root"] is None


def test_it_was_trained_with_the_settings_that_come_with_it():
    head = weights.read_about(weights.locate(shipped()["micro"]))
    ours = build(RunSettings, read_yaml(memorysam.config.packaged()["micro"]), "micro")
    theirs = build(RunSettings, head["settings"], "the model")
    same = {"train": {"tensorboard": None}}
    for group in ("model", "data", "augment", "train", "evaluate"):
        mine, its = (getattr(settings, group).model_dump() | same.get(group, {}) for settings in (ours, theirs))
        assert its == mine, group


def test_its_card_says_how_it_scores():
    head = weights.read_about(weights.locate(shipped()["micro"]))
    card = (shipped()["micro"] / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert f"value: {head['scores']['miou']:.2f}".rstrip("0") in card


def test_predict_shows_it_on_scenes_that_it_writes(tmp_path, capsys):
    assert main(["predict", "micro", "--example", "--out", str(tmp_path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["modalities"] == list(SENSORS)
    assert len(said["results"]) == 5
    files = [f"--{name}={tmp_path / 'example' / name}" for name in SENSORS]
    assert main(["predict", "micro", *files, "--out", str(tmp_path / "again"), "--json"]) == 0
    assert [one["shares"] for one in json.loads(capsys.readouterr().out)["results"]] == [
        one["shares"] for one in said["results"]
    ]
    assert len(list((tmp_path / "example" / "truth").glob("*.png"))) == 5


def test_an_example_and_images_exclude_each_other(tmp_path, capsys):
    assert main(["predict", "micro", "--example", "--rgb", "a.png", "--out", str(tmp_path)]) == 2
    assert "--example" in capsys.readouterr().err


def test_there_is_no_example_for_other_sensors(tmp_path, capsys):
    write_dataset(tmp_path / "data", train=2, val=1)
    sheet = tmp_path / "data" / "dataset.yaml"
    sheet.write_text(sheet.read_text().replace("rgb:", "thermal:").replace("rgb/", "rgb/"))
    settings = {"model": {"backbone": "micro", "image_size": list(SIZE), "lora_rank": 0},
                "data": {"dataset": str(sheet), "workers": 0, "modalities": ["thermal"]},
                "train": {"epochs": 1, "batch_size": 2}}  # fmt: skip
    (tmp_path / "x.yaml").write_text(json.dumps(settings))
    assert main(["train", str(tmp_path / "x.yaml"), "--out", str(tmp_path / "run")]) == 0
    assert main(["predict", str(tmp_path / "run"), "--example", "--out", str(tmp_path / "out")]) == 2
    assert "no example for a model of thermal" in capsys.readouterr().err
