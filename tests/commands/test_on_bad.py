"""The commands and images that cannot be read: an error, or left out, counted and told."""

import json
import shutil

import pytest

from memorysam.cli import main
from memorysam.training.loop import train

from ..tiny import settings, write_dataset


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    path = write_dataset(folder / "data", train=4, val=4)
    train(settings(path, train={"epochs": 1, "validate_every": 1}), folder / "run")
    return folder


@pytest.fixture
def spoilt(home, tmp_path):
    """A copy of the images, of which v00 is damaged and v01 lacks one of two files."""
    shutil.copytree(home / "data", tmp_path / "data")
    image = tmp_path / "data/rgb/v00.png"
    image.write_bytes(image.read_bytes()[:-30])
    (tmp_path / "data/depth/v01.png").unlink()
    return tmp_path


def predict(home, spoilt, *more):
    folders = [word for kind in ("rgb", "depth") for word in (f"--{kind}", str(spoilt / "data" / kind))]
    return main(["predict", str(home / "run"), *folders, "--out", str(spoilt / "out"), *more])


def written(spoilt):
    return sorted(path.name for path in (spoilt / "out").glob("*_labels.png"))


def test_predict_ends_with_an_error_unless_it_is_told_to_skip(home, spoilt, capsys, fault):
    with fault("bad file"):
        assert predict(home, spoilt) == 2
        assert "v01.*" in capsys.readouterr().err
    (spoilt / "data/rgb/v01.png").unlink()
    with fault("bad file"):
        assert predict(home, spoilt) == 2
        assert "v00.png" in capsys.readouterr().err


def test_predict_skips_what_cannot_be_read_and_tells(home, spoilt, capsys, fault):
    with fault("bad file"):
        assert predict(home, spoilt, "--on-bad", "skip") == 0
        out = capsys.readouterr().out
        assert "left out: v00: this PNG file is cut off" in out
        assert f"left out: v01: there is no such file ({spoilt}/data/depth/v01.*)" in out
        assert "6 images written" in out
        assert "2 left out" in out
        assert written(spoilt) == [f"{name}_labels.png" for name in ("t00", "t01", "t02", "t03", "v02", "v03")]
    with fault("bad file"):
        assert predict(home, spoilt, "--on-bad", "skip", "--json") == 0
        content = json.loads(capsys.readouterr().out)
        assert [one["id"] for one in content["skipped"]] == ["v01", "v00"]
        assert [one["name"] for one in content["results"]] == ["t00", "t01", "t02", "t03", "v02", "v03"]


def test_predict_with_nothing_that_can_be_read_is_an_error(home, spoilt, capsys, fault):
    for path in (spoilt / "data/rgb").iterdir():
        path.write_bytes(b"")
    with fault("bad file"):
        assert predict(home, spoilt, "--on-bad", "skip") == 2
        assert "none of 7 scenes can be read" in capsys.readouterr().err
        assert written(spoilt) == []


def evaluate(home, spoilt, *more):
    where = ["--root", str(spoilt / "data"), "--workers", "0", "--device", "cpu"]
    return main(["evaluate", str(home / "run"), *where, *more])


def test_evaluate_leaves_out_up_to_the_stated_share(home, spoilt, capsys, fault):
    with fault("bad file"):
        assert evaluate(home, spoilt) == 2
        assert "lacks files" in capsys.readouterr().err
    with fault("bad file"):
        assert evaluate(home, spoilt, "--on-bad", "skip") == 2
        assert "2 of 4 samples cannot be read, and 1 may be left out" in capsys.readouterr().err
    with fault("bad file"):
        assert evaluate(home, spoilt, "--on-bad", "skip", "--skip-share", "0.5") == 0
        assert "(2 images, 2 left out because they cannot be read)" in capsys.readouterr().out
    with fault("bad file"):
        assert evaluate(home, spoilt, "--on-bad", "skip", "--skip-share", "0.5", "--json") == 0
        content = json.loads(capsys.readouterr().out)
        assert [one["id"] for one in content["skipped"]] == ["v00", "v01"]
        assert content["images"] == 2


@pytest.mark.parametrize("command", ["evaluate", "cache"])
@pytest.mark.parametrize("share", ["1.5", "-0.1"])
def test_a_share_that_is_none_is_refused(home, spoilt, capsys, command, share):
    if command == "evaluate":
        code = evaluate(home, spoilt, f"--skip-share={share}")
    else:
        code = main(["cache", str(spoilt / "data/dataset.yaml"), f"--skip-share={share}"])
    assert code == 2
    error = capsys.readouterr().err
    assert share in error
    assert "skip-share" in error.replace("_", "-")
