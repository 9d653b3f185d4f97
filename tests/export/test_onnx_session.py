"""ONNX files that are cut off, of others, or point elsewhere are refused; no graph of a model is made for it."""

import json
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from memorysam.errors import MemorySAMError, SettingsError, WeightsError
from memorysam.export.exported import open_exported
from memorysam.export.onnx_session import OnnxGraph
from memorysam.spec import Task, as_classes

from .conftest import CLASSES, SENSORS

ABOUT = {
    "format": 1,
    "task": Task(modalities=SENSORS, classes=as_classes(CLASSES), image_size=(64, 96)).model_dump(mode="json"),
    "modalities": ["depth"],
    "model": {"name": "memorysam"},
    "versions": {},
    "checkpoint": {},
}


def tiny(about=ABOUT, inputs=("depth", "size")):
    """Return an ONNX model with the inputs and outputs of an exported one, and one tensor."""
    names = ["logits", "probabilities", "labels"]
    weight = numpy_helper.from_array(np.arange(2048, dtype=np.float32), "weight")
    nodes = [helper.make_node("Identity", ["weight"], [name]) for name in names]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(n, TensorProto.INT64 if n == "size" else 1, None) for n in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2048]) for name in names],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    if about is not None:
        helper.set_model_props(model, {"memorysam": about if isinstance(about, str) else json.dumps(about)})
    return model


@pytest.fixture
def write(tmp_path):
    def to(model):
        path = tmp_path / "model.onnx"
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        return path

    return to


def test_what_the_others_here_depart_from_is_read(write):
    assert OnnxGraph(write(tiny())).about.modalities == ("depth",)


WHOLE = tiny().SerializeToString()


@pytest.mark.parametrize("data", [b"", b"no", WHOLE[:4000], WHOLE[:-300], b"\x89PNG\r\n\x1a\n" * 100], ids=len)
def test_a_file_that_is_cut_off_or_something_else_is_refused(write, data):
    with pytest.raises(WeightsError):
        open_exported(write(data))


@pytest.mark.parametrize(
    ("about", "words"),
    [
        (None, "does not say what it takes"),
        ("[1", "damaged"),
        ("[" * 100_000, "damaged"),
        ("[]", "damaged"),
        (ABOUT | {"format": 2}, "exported in format 2"),
        (ABOUT | {"modalities": ["lidar"]}, "the graph takes"),
        (ABOUT | {"modalities": ["thermal", "depth"]}, "the graph takes"),
        ({key: value for key, value in ABOUT.items() if key != "task"}, "'task' is missing"),
        (ABOUT | {"modalities": ["rgb"]}, "this graph takes"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_file_of_others_or_with_damaged_words_is_refused(write, about, words):
    with pytest.raises(MemorySAMError) as error:
        open_exported(write(tiny(about)))
    assert words in str(error.value)


@pytest.mark.parametrize("inputs", [("depth",), ("rgb", "size"), ("depth", "rgb", "size")], ids="-".join)
def test_a_graph_with_other_inputs_than_it_says_is_refused(write, inputs):
    with pytest.raises(WeightsError, match="this graph takes"):
        open_exported(write(tiny(inputs=inputs)))


def test_a_file_that_keeps_tensors_in_other_files_is_refused_even_where_they_lie(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    onnx.save(tiny(), path, save_as_external_data=True, location="tensors.bin", size_threshold=0)
    assert (tmp_path / "tensors.bin").stat().st_size >= 8192
    for folder in (tmp_path, tmp_path.parent):  # onnxruntime would look in the working folder
        monkeypatch.chdir(folder)
        with pytest.raises(WeightsError, match="wants to read other files"):
            open_exported(path)


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    (tmp_path / "folder.onnx").mkdir()
    for path in (tmp_path / "none.onnx", tmp_path / "folder.onnx"):
        with pytest.raises(WeightsError, match="no such file"):
            open_exported(path)


def test_without_onnxruntime_it_is_told_what_to_install(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MemorySAMError, match=r"onnxruntime, which is not installed(.|\n)*memorysam\[export\]"):
        open_exported(write(tiny()))


@pytest.mark.parametrize("device", ["tpu", "cuda"])
def test_a_device_that_is_not_here_is_told(write, device):
    import onnxruntime

    if device == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("there is one here")
    with pytest.raises(SettingsError, match="cannot be used here"):
        open_exported(write(tiny()), device)


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\x03\x04 cut off"], ids=len)
def test_a_program_of_pytorch_is_read_only_where_it_is_trusted(tmp_path, data):
    path = tmp_path / "model.pt2"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"can run code(.|\n)*--trust"):
        open_exported(path)
    with pytest.raises(WeightsError, match=r"not a whole \.pt2 file"):
        open_exported(path, trust=True)
