"""memorysam export, and predict with what it writes."""

import json
import sys

import cv2
import pytest

import memorysam
from memorysam.cli import main
from memorysam.loading import load

from ..export.conftest import checkpoint, scene_files, shelf
from ..export.test_onnx_session import tiny
from .test_bad_input import one_message

__all__ = ["checkpoint", "shelf"]


@pytest.fixture
def refused(capsys):
    return lambda *words: one_message(main([str(word) for word in words]), capsys.readouterr().err)


@pytest.fixture
def images(tmp_path):
    return scene_files(tmp_path)


@pytest.mark.slow
def test_the_command_writes_a_file_and_says_how_it_compares(checkpoint, images, tmp_path, capsys):
    path = tmp_path / "model.pt2"
    words = ["export", checkpoint, "--out", path, "--format", "torch", "--modalities", "depth", "--image-size", 32, 64]
    assert main([*map(str, words), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["modalities"] == ["depth"]
    assert said["image_size"] == [32, 64]
    assert said["images_compared"] == 20
    assert said["same_class"] >= 0.9999
    assert said["largest_difference"] < 1e-3
    assert main(["predict", str(path), "--depth", str(images["depth"]), "--out", str(tmp_path / "out"), "--trust"]) == 0
    ours = cv2.imread(str(tmp_path / "out" / "a_labels.png"), cv2.IMREAD_UNCHANGED)
    theirs = load(checkpoint, image_size=(32, 64), verbose=False).predict({"depth": images["depth"]}).labels
    assert (ours == theirs).mean() >= 0.9999
    import hashlib

    about = memorysam.load(path, verbose=False, trust=True).graph.about
    assert about.checkpoint == {
        "file": "model.safetensors",
        "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
    }


def test_what_cannot_be_exported_is_refused_before_anything_takes_its_time(refused, checkpoint, tmp_path, monkeypatch):
    words = ("export", checkpoint, "--out")
    assert "ends in .onnx where: --out expected: model.onnx" in refused(*words, tmp_path / "model.pt")
    assert "ends in .pt2" in refused(*words, tmp_path / "model.onnx", "--format", "torch")
    assert "no modality 'dept' here" in refused(*words, tmp_path / "m.onnx", "--modalities", "dept")
    assert "nearest legal size is [64, 96]" in refused(*words, tmp_path / "m.onnx", "--image-size", 65, 97)
    assert "there are no weights here" in refused("export", tmp_path / "none", "--out", tmp_path / "m.onnx")
    for package in ("onnx", "onnxruntime", "onnxscript"):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, package, None)
            said = refused(*words, tmp_path / "m.onnx")
            assert f"needs {package}, which is not installed fix: pip install 'memorysam[export]'" in said
    assert not any(tmp_path.iterdir())


def test_what_an_exported_file_cannot_do_is_refused(refused, images, tmp_path):
    path = tmp_path / "one.onnx"
    path.write_bytes(tiny().SerializeToString())
    words = ("predict", path, "--depth", images["depth"])
    assert "exported without 'rgb'" in refused(*words, "--rgb", images["rgb"])
    assert "unknown option '--dept'" in refused("predict", path, "--dept", images["depth"])
    assert "knows no other scales" in refused(*words, "--scales", "1.0", "2.0")
    assert "computes in float32" in refused(*words, "--precision", "bf16")
    assert "cannot be changed" in refused(*words, "--base", "somewhere")
    for verb in (("evaluate",), ("info",), ("share", "--out", "folder")):
        assert "an exported file can predict and nothing else" in refused(verb[0], path, *verb[1:])
