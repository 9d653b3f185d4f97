"""A checkpoint of the authors' release, as it is, scored on a copy of DELIVER."""

import json

import pytest
import torch

from memorysam.cli import main

from ..data import fakes


@pytest.fixture(scope="module")
def released(fill, tmp_path_factory):
    path = tmp_path_factory.mktemp("released") / "RGBDEL_epoch95_65.38.pth"
    torch.save({"model_state_dict": fill.state_dict("memorysam_hiera_t", 0), "epoch": 95}, path)
    return path


@pytest.mark.slow
def test_the_bare_file_takes_what_it_lacks_from_the_data_set(released, tmp_path, capsys):
    fakes.write_deliver(tmp_path)
    words = ["evaluate", released, "--dataset", "deliver", "--root", tmp_path, "--image-size", 64, 64, "--workers", 0]
    assert main([*map(str, words), "--by", "condition", "failure", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["images"] == 30
    assert result["split"] == "val"
    assert result["protocol"] == "paper"
    assert result["size"] == [64, 64]
    assert result["modalities"] == ["rgb", "depth", "event", "lidar"]
    assert {value: scores["images"] for value, scores in result["by"]["condition"].items()} == dict.fromkeys(
        fakes.CONDITIONS, 6
    )
    assert result["by"]["failure"]["none"]["images"] == 5
    assert len(result["classes"]) == 25


@pytest.mark.slow
def test_a_data_set_of_other_classes_is_refused(released, tmp_path, capsys):
    fakes.write_mfnet(tmp_path)
    assert main([*map(str, ["evaluate", released, "--dataset", "mfnet", "--root", tmp_path])]) == 2
    message = capsys.readouterr().err
    assert str(released) in message
    assert "25 masks" in message
    assert "9 classes" in message
