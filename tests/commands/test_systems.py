"""Every system goes through the same commands: train, evaluate, predict, info, and back into Python."""

import json

import cv2
import numpy as np
import pytest

import memorysam
from memorysam.cli import main
from memorysam.models.systems import SYSTEMS

from ..tiny import SIZE, write_dataset

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return folder, write_dataset(folder, train=6, val=2)


@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_train_evaluate_predict_info(system, data, tmp_path, capsys):
    folder, dataset = data
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        f"model: {{name: {system}, backbone: micro, image_size: [64, 96]}}\n"
        f"data: {{dataset: {dataset}, workers: 0}}\n"
        "train: {epochs: 2, batch_size: 3, warmup_epochs: 0, lr: 1.0e-3, tensorboard: false, modality_dropout: 0.5}\n"
    )
    run = tmp_path / "run"
    assert main(["train", str(settings), "--out", str(run)]) == 0
    capsys.readouterr()

    assert main(["evaluate", str(run), "--workers", "0", "--method", "windows", "--json"]) == 0
    both = json.loads(capsys.readouterr().out)
    assert 0 <= both["miou"] <= 100
    assert main(["evaluate", str(run), "--workers", "0", "--modalities", "depth", "--flip", "True", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["modalities"] == ["depth"]

    assert main(["evaluate", str(run), "--workers", "0", "--precision", "bf16", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["precision"] == "bf16"
    assert abs(said["miou"] - both["miou"]) < 15

    files = {name: folder / name / "v00.png" for name in ("rgb", "depth")}
    words = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    assert main(["predict", str(run), *words, "--out", str(tmp_path / "out")]) == 0
    labels = cv2.imread(str(next((tmp_path / "out").glob("*label*.png"))), cv2.IMREAD_UNCHANGED)
    assert labels.shape == SIZE
    model = memorysam.load(run, verbose=False)
    assert np.array_equal(model.predict(files).labels, labels)
    assert model.model.settings()["name"] == system

    capsys.readouterr()
    assert main(["info", str(run), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["model"]["name"] == system
    assert said["parameters"]["total"] == sum(p.numel() for p in model.model.parameters())
    assert said["flops"]["forward"] > 1e6

    # Resumed with nothing left to do, it says so; with other settings, it refuses.
    assert main(["train", str(settings), "--out", str(run), "--resume"]) == 0
    assert main(["train", str(settings), "--out", str(run), "--resume", "--train.lr", "2e-3"]) == 2
