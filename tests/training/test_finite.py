"""Numbers that are not finite stop a run before the step, with the samples or tensors that they come from."""

import math

import cv2
import numpy as np
import pytest
import tifffile
import torch
import yaml

from memorysam.errors import MemorySAMError, TrainingError, WeightsError
from memorysam.tensors import read_tensors, write_tensors
from memorysam.training import loop
from memorysam.training.checkpoint import LAST
from memorysam.training.loop import train

from ..tiny import settings, write_dataset

QUICK = {"model": {"image_size": [32, 32]}, "train": {"batch_size": 2, "tensorboard": False}}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny"), train=4)


@pytest.fixture
def watched(monkeypatch):
    """The model and optimizer as they were before each step, and the run."""
    seen = {}
    real = loop.Training.step

    def step(self, feed):
        seen["run"] = self
        seen["before"] = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        seen["moments"] = [v.clone() for state in self.optimizer.state.values() for v in state.values()]
        return real(self, feed)

    monkeypatch.setattr(loop.Training, "step", step)
    return seen


def untouched(watched):
    run = watched["run"]
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, watched["before"][name]), name
    for now, then in zip(
        (v for state in run.optimizer.state.values() for v in state.values()), watched["moments"], strict=True
    ):
        assert torch.equal(now, then)


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_step_that_is_not_finite_is_not_taken(dataset, tmp_path, monkeypatch, fault, watched, what, clip):
    """Weights, moments and prototypes are those of before, in memory; and the state on the disk is that of the save."""
    real, calls = loop.training_loss, []

    def poisoned(*args, **kwargs):
        loss, terms = real(*args, **kwargs)
        calls.append(loss)
        if len(calls) == 3:
            if what == "loss":
                return loss * math.inf, terms
            loss.register_hook(lambda gradient: gradient * math.inf)
        return loss, terms

    chosen = {**QUICK, "train": {**QUICK["train"], "clip": clip, "epochs": 4, "validate_every": 1}}
    monkeypatch.setattr(loop, "training_loss", poisoned)
    with fault(f"{what} not finite"):
        with pytest.raises(TrainingError, match=r"step 3 is not finite.*\n.*samples t\d\d, t\d\d") as error:
            train(settings(dataset, **chosen), tmp_path)
        assert ("gradient inf" in str(error.value)) or ("gradient nan" in str(error.value))
        assert ("loss inf" in str(error.value)) == (what == "loss")
        untouched(watched)
        tensors, header = read_tensors(tmp_path / LAST)
        assert header["training"]["progress"]["step"] == 2
        for name, tensor in watched["before"].items():
            assert torch.equal(tensors[name], tensor), name


def test_weights_that_are_not_finite_are_refused_at_the_start_by_name(dataset, tmp_path, fault):
    train(settings(dataset, **QUICK), tmp_path / "run", stop_after=1)
    tensors, header = read_tensors(tmp_path / "run" / LAST)
    name = next(name for name in tensors if name.endswith("conv_s0.weight") and not name.startswith("training/"))
    tensors[name][0] = math.nan
    write_tensors(tmp_path / "run" / LAST, tensors, header)
    with fault("weight not finite"), pytest.raises(WeightsError, match=f"not finite(.|\n)*{name}"):
        train(settings(dataset, **QUICK), tmp_path / "run", resume=True)
    chosen = {**QUICK, "model": {**QUICK["model"], "weights": str(tmp_path / "run" / LAST)}}
    with fault("weight not finite"), pytest.raises(WeightsError, match=f"not finite(.|\n)*{name}"):
        train(settings(dataset, **chosen), tmp_path / "new")


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_float_image_with_values_that_are_not_finite_is_named(tmp_path, fault, value):
    path = write_dataset(tmp_path / "data", train=2)
    content = yaml.safe_load(path.read_text())
    content["modalities"]["depth"] |= {"path": "depth/{id}.tif", "high": 1.0}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    for image in (tmp_path / "data" / "depth").glob("*.png"):
        depth = cv2.imread(str(image), cv2.IMREAD_UNCHANGED).astype(np.float32) / 65535
        if image.stem == "t01":
            depth[20:40, 20:70] = value
        tifffile.imwrite(image.with_suffix(".tif"), depth)
    with fault("input not finite"):
        with pytest.raises(MemorySAMError) as error:
            train(settings(path, **QUICK), tmp_path / "run", stop_after=2)
        assert "finite" in str(error.value)
        assert "depth" in str(error.value)
        assert "t01" in str(error.value)
