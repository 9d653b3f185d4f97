"""A map of regions goes through the commands beside the sensors, and is never one of them."""

import json

import cv2
import numpy as np
import pytest
import torch

import memorysam
from memorysam.cli import main
from memorysam.config import DataSettings, EvaluateSettings
from memorysam.data.cache import FOLDER
from memorysam.data.catalog import open_dataset
from memorysam.errors import DataError, InputError
from memorysam.evaluation.evaluate import evaluate

from ..data import fakes

SENSORS = ["rgb", "aolp", "dolp"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("mcubes")
    fakes.write_mcubes(root, width=192 + 64, height=64)
    return root


def settings(root, system="mcubesnet", **train):
    options = {"epochs": 1, "batch_size": 3, "warmup_epochs": 0, "lr": 1e-3, "tensorboard": False, **train}
    return {
        "model": {"name": system, "backbone": "micro", "image_size": [64, 64]},
        "data": {
            "dataset": "mcubes",
            "root": str(root),
            "modalities": ["rgb", "regions", "aolp", "dolp"],
            "workers": 0,
        },
        "train": options,
    }


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """Three steps, in which sensors are missing, in mixed precision."""
    folder = tmp_path_factory.mktemp("run")
    content = settings(data, epochs=3, modality_dropout=1.0, precision="bf16")
    (folder / "settings.yaml").write_text(json.dumps(content))
    assert main(["train", str(folder / "settings.yaml"), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def said(capsys):
    def say(*words):
        assert main([*map(str, words), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return say


def test_a_subset_of_the_sensors_is_scored_with_the_regions(run, said, capsys):
    words = ["evaluate", run, "--workers", 0, "--split", "test"]
    alone = said(*words, "--modalities", "rgb")
    assert (alone["modalities"], alone["regions"]) == (["rgb"], ["regions"])
    named = said(*words, "--modalities", "regions", "rgb")
    assert alone["modalities"] == named["modalities"]
    assert alone["classes"] == named["classes"]
    everything = said(*words)
    assert everything["modalities"] == SENSORS
    assert everything["classes"] != alone["classes"]
    assert main([*map(str, words)]) == 0
    assert "rgb + aolp + dolp with regions on test (2 images)" in capsys.readouterr().out


@pytest.mark.parametrize("options", [["--method", "windows"], ["--scales", "0.5", "1.0", "--flip", "True"]])
def test_other_ways_to_predict_work_too(run, said, options):
    assert 0 <= said("evaluate", run, "--workers", 0, "--modalities", "dolp", *options)["miou"] <= 100


def test_regions_alone_are_no_sensor_to_score(run, capsys):
    assert main(["evaluate", str(run), "--workers", "0", "--modalities", "regions"]) == 2
    assert "no sensor is named, but regions" in capsys.readouterr().err


def test_evaluation_reads_the_regions_of_each_sample(run, data):
    model = memorysam.load(run, verbose=False, device="cpu").model
    source = open_dataset(DataSettings(dataset="mcubes", root=data), (64, 64)).source("val", ["rgb", "regions"])
    shown = []
    model.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    evaluate(model, source, EvaluateSettings(), modalities=["rgb"])
    assert [list(images) for images in shown] == [["rgb", "regions"]] * 2
    for index, images in enumerate(shown):
        stored = source.read(index, ["regions"]).images["regions"][..., 0]
        assert torch.equal(images["regions"][0, 0], torch.from_numpy(stored).float())


def test_predict_wants_the_map_and_shows_the_first_sensor(run, data, said, tmp_path):
    name = "outscenetest_0000.png"
    words = ["predict", run, "--rgb", data / "polL_color" / name, "--out", tmp_path]
    said(*words, "--regions", data / "SSmask" / name)
    labels = cv2.imread(str(tmp_path / "outscenetest_0000_labels.png"), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (64, 256)
    predictor = memorysam.load(run, verbose=False, device="cpu")
    rgb = np.full((40, 50, 3), 90, np.uint8)
    with pytest.raises(InputError, match="the map of regions 'regions' is missing"):
        predictor.predict({"rgb": rgb})
    halves = np.zeros((40, 50), np.float32)
    halves[:, 25:] = 4
    found = predictor.predict({"regions": halves, "rgb": rgb})
    assert np.array_equal(found.picture, rgb)
    with pytest.raises(DataError, match="not whole numbers"):
        predictor.predict({"regions": halves + 0.5, "rgb": rgb})


def test_a_checkpoint_keeps_its_regions_when_sensors_are_named(run):
    kept = memorysam.load(run, modalities=SENSORS, verbose=False, device="cpu").model.task
    assert set(kept.names) == {*SENSORS, "regions"}
    assert memorysam.load(run, verbose=False, device="cpu").model.task.names == ("rgb", "regions", "aolp", "dolp")


def test_figures_of_single_sensors_show_the_model_its_regions(run, data, tmp_path):
    figures = pytest.importorskip("memorysam.experiments.figures")
    predictor = memorysam.load(run, verbose=False, device="cpu")
    source = open_dataset(DataSettings(dataset="mcubes", root=data), (64, 64)).source("val", predictor.model.task.names)
    shown = []
    predictor.model.register_forward_pre_hook(lambda _, inputs: shown.append(list(inputs[0])))
    figures.predictions(predictor, source, [0], [["rgb"], ["aolp", "dolp"]], tmp_path / "five.png")
    found = figures.features(predictor, source, SENSORS, tmp_path / "seven.png", points=60, alone=["dolp"])
    assert list(found.silhouettes) == ["DoLP alone", "RGB + AoLP + DoLP, fused"]
    assert all("regions" in names for names in shown)
    assert shown[:2] == [["rgb", "regions"], ["regions", "aolp", "dolp"]]


def test_info_tells_that_they_are_no_sensor(run, capsys):
    assert main(["info", str(run)]) == 0
    text = capsys.readouterr().out
    assert "modality    dolp: 1 channels" in text
    assert "regions     regions: their numbers" in text


def test_a_system_without_a_use_for_them_says_so(data, tmp_path, capsys):
    path = tmp_path / "settings.yaml"
    path.write_text(json.dumps(settings(data, "memorysam")))
    assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 2
    message = capsys.readouterr().err
    assert "memorysam has no use for the map of regions 'regions'" in message
    assert "leave regions out of data.modalities" in message


def test_they_are_cached_like_any_modality(tmp_path, said):
    root = tmp_path / "data"
    fakes.write_mcubes(root)
    assert main(["cache", "mcubes", "--root", str(root), "--modalities", "rgb", "regions", "--splits", "val"]) == 0
    assert list((root / FOLDER).glob("val.regions*"))
