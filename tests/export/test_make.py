"""An exported file does what its checkpoint does, says what it needs to say, and is not kept if it does not."""

import json
import subprocess
import sys

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

import memorysam
from memorysam.cli import main
from memorysam.config import EvaluateSettings
from memorysam.errors import MemorySAMError, SettingsError
from memorysam.export import make, onnx_file, verify
from memorysam.export.exported import open_exported
from memorysam.loading import load

from .conftest import KINDS, scene, scene_files

pytestmark = pytest.mark.slow
WITHOUT_TORCH = """
import sys

class Nowhere:
    def find_spec(self, name, *rest):
        if name.split(".")[0] in ("torch", "transformers", "onnx", "accelerate", "huggingface_hub"):
            raise ImportError(f"{name} is not on this machine")

sys.meta_path.insert(0, Nowhere())
from memorysam.cli import main
code = main(sys.argv[1:])
assert not {"torch", "transformers"} & sys.modules.keys()
sys.exit(code)
"""


def only(images, names):
    return {name: images[name] for name in names}


@pytest.fixture(scope="module", params=KINDS)
def case(request, exported):
    """An exported file and the modalities that it takes."""
    return memorysam.load(exported(request.param), verbose=False, trust=True), KINDS[request.param]


@pytest.mark.parametrize("size", [(64, 96), (97, 131), (33, 40)], ids=str)
def test_it_predicts_what_its_checkpoint_predicts_whatever_the_size_of_the_images(case, predictor, size):
    graph, names = case
    images = only(scene(*size), names)
    ours, theirs = graph.predict(images), predictor.predict(images)
    assert ours.labels.shape == size
    assert (ours.labels == theirs.labels).mean() >= 0.9999
    assert np.abs(ours.probabilities - theirs.probabilities).max() < 1e-4
    assert np.array_equal(ours.picture, theirs.picture)
    assert ours.classes == theirs.classes


@pytest.mark.parametrize("settings", [{"flip": True}, {"method": "windows", "flip": True}], ids=str)
def test_mirrored_and_in_windows_it_predicts_what_its_checkpoint_predicts(exported, predictor, settings):
    images = only(scene(97, 131), ["depth"])
    ours, theirs = (
        model.predict(images, EvaluateSettings(**settings))
        for model in (memorysam.load(exported("one.onnx"), verbose=False), predictor)
    )
    assert np.abs(ours.probabilities - theirs.probabilities).max() < 1e-4


def test_any_batch_will_do_and_images_do_not_mix(case):
    graph = case[0].graph
    draw = np.random.default_rng(0)
    five = {m.name: draw.normal(size=(5, m.channels, 64, 96)).astype(np.float32) for m in graph.about.inputs}
    whole = graph.run(five, (64, 96))
    assert whole.labels.shape == (5, 64, 96)
    for i in (0, 3):
        alone = graph.run({name: image[i : i + 1] for name, image in five.items()}, (64, 96))
        assert np.abs(alone.logits[0] - whole.logits[i]).max() < 1e-4


def test_an_onnx_file_says_all_that_is_needed_to_use_it(exported, predictor):
    path = exported("three.onnx")
    session = onnxruntime.InferenceSession(path)
    said = json.loads(session.get_modelmeta().custom_metadata_map["memorysam"])
    assert said["task"] == predictor.task.model_dump(mode="json")
    assert said["modalities"] == ["rgb", "depth", "thermal"] == [one.name for one in session.get_inputs()][:-1]
    assert said["model"]["backbone"] == "micro"
    assert said["checkpoint"] == {"file": "model.safetensors", "sha256": "0" * 64}
    assert said["verified"]["images"] == 20
    assert said["verified"]["agreement"] >= 0.9999
    assert 0 < said["verified"]["difference"] < 1e-3
    assert {"memorysam", "torch", "onnx"} <= said["versions"].keys()
    about = open_exported(path).graph.about
    assert about.task == predictor.task
    assert about.model_dump(mode="json") == said


def test_labels_and_probabilities_of_the_graph_are_those_of_its_logits(exported):
    graph = open_exported(exported("one.onnx")).graph
    image = {"depth": np.random.default_rng(0).normal(size=(2, 1, 64, 96)).astype(np.float32)}
    answer = graph.run(image, (50, 130))
    full = torch.nn.functional.interpolate(torch.from_numpy(answer.logits), (50, 130), mode="bilinear")
    assert np.abs(full.softmax(dim=1).numpy() - answer.probabilities).max() < 1e-5
    assert (full.argmax(dim=1).numpy() == answer.labels).mean() > 0.999


def test_nothing_in_a_file_tells_where_it_was_made(exported):
    data = exported("three.onnx").read_bytes()
    assert b"site-packages" not in data
    assert b"memorysam/models" not in data


def changed(path, target):
    """Write an ONNX file with one of its tensors changed."""
    model = onnx.load(path)
    tensors = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) == 4]
    largest = max(tensors, key=lambda tensor: np.prod(tensor.dims))
    values = numpy_helper.to_array(largest) * 1.5
    largest.CopyFrom(numpy_helper.from_array(values, largest.name))
    onnx.save(model, target)
    return target


def test_a_graph_with_a_changed_tensor_does_not_pass(exported, checkpoint, tmp_path):
    model = load(checkpoint, device="cpu", verbose=False).model.eval()
    sound = open_exported(exported("one.onnx")).graph
    assert verify.compare(sound, model, (1, 2)).verified.images == 3
    graph = open_exported(changed(exported("one.onnx"), tmp_path / "changed.onnx")).graph
    with pytest.raises(MemorySAMError, match="does not compute what the model computes"):
        verify.compare(graph, model, (1, 2))


def test_what_differs_from_the_model_is_not_kept_and_the_file_before_stays(exported, checkpoint, tmp_path, monkeypatch):
    wrong = onnx.load(changed(exported("one.onnx"), tmp_path / "changed.onnx"))
    monkeypatch.setattr(onnx_file, "convert", lambda *_: wrong)
    monkeypatch.setattr(make, "graph_of", lambda *_: None)
    model = load(checkpoint, device="cpu", verbose=False).model.eval()
    for before in (None, b"the one before"):
        path = tmp_path / "out" / "model.onnx"
        if before is not None:
            path.write_bytes(before)
        with pytest.raises(MemorySAMError, match="does not compute what the model computes"):
            make.export(model, path, ["depth"])
        assert [one.read_bytes() for one in path.parent.iterdir()] == ([before] if before else [])


def test_what_cannot_be_a_graph_is_refused_with_a_reason(checkpoint, tmp_path, monkeypatch):
    model = load(checkpoint, device="cpu", verbose=False).model
    plain = type(model).forward

    def forward(self, images):
        found = plain(self, images)
        if found.logits.mean() > 0:  # a step that depends on values
            return found
        return plain(self, dict(reversed(images.items())))

    monkeypatch.setattr(type(model), "forward", forward)
    with pytest.raises(SettingsError, match="cannot be made a graph"):
        make.export(model, tmp_path / "model.pt2", ["depth"], "torch")
    assert not any(tmp_path.iterdir())


@pytest.fixture
def images(tmp_path):
    return scene_files(tmp_path)


def test_predict_needs_no_pytorch_and_gives_what_the_checkpoint_gives(exported, checkpoint, images, tmp_path):
    words = [word for name, path in images.items() for word in (f"--{name}", str(path))]
    ours = [
        "predict",
        str(exported("three.onnx")),
        *words,
        "--out",
        str(tmp_path / "ours"),
        "--probabilities",
        "--json",
    ]
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *ours], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert main(["predict", str(checkpoint), *words, "--out", str(tmp_path / "theirs"), "--probabilities"]) == 0
    labels = [cv2.imread(str(tmp_path / who / "a_labels.png"), cv2.IMREAD_UNCHANGED) for who in ("ours", "theirs")]
    assert labels[0].shape == (97, 131)
    assert (labels[0] == labels[1]).mean() >= 0.9999
    found = [np.load(tmp_path / who / "a_probabilities.npy").astype(float) for who in ("ours", "theirs")]
    assert np.abs(found[0] - found[1]).max() < 1e-3
    said = json.loads(done.stdout)
    assert said["modalities"] == ["rgb", "depth", "thermal"]
    assert said["results"][0]["size"] == [97, 131]


def test_folders_and_files_that_cannot_be_read_are_treated_as_for_a_checkpoint(exported, images, tmp_path, capsys):
    folder = tmp_path / "depth"
    folder.mkdir()
    images["depth"].rename(folder / "a.tif")
    (folder / "b.tif").write_bytes(b"II*\0 cut off")
    words = ["predict", str(exported("one.onnx")), "--depth", str(folder), "--out", str(tmp_path / "out"), "--json"]
    assert main(words) == 2
    assert "b.tif" in capsys.readouterr().err
    assert main([*words, "--on-bad", "skip"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in said["results"]] == ["a"]
    assert [one["id"] for one in said["skipped"]] == ["b"]
