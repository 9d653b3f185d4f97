import pytest
import torch

import memorysam
from memorysam.errors import WeightsError
from memorysam.models import weights
from memorysam.tensors import read_tensors

from .sharing import logits


@pytest.fixture
def model(tmp_path, micro):
    weights.save(tmp_path / "best.safetensors", micro(2))
    return memorysam.load(tmp_path / "best.safetensors", device="cpu", verbose=False)


def test_half_the_size_is_nearly_the_same_model_in_float32(model, tmp_path):
    whole = model.save_pretrained(tmp_path / "whole")["model.safetensors"]
    half = model.save_pretrained(tmp_path / "half", half=True)["model.safetensors"]
    assert half < 0.56 * whole
    again = memorysam.load(tmp_path / "half", device="cpu", verbose=False)
    assert {p.dtype for p in again.model.parameters()} == {torch.float32}
    before, after = logits(model.model), logits(again.model)
    assert not torch.equal(before, after)
    assert (before - after).abs().max() < 0.01 * before.abs().max()


def test_whole_numbers_stay_as_they_are(model, tmp_path):
    model.save_pretrained(tmp_path / "half", half=True)
    stored, _ = read_tensors(tmp_path / "half" / "model.safetensors")
    for name, tensor in model.state_dict().items():
        assert stored[name.removeprefix("model.")].is_floating_point() == tensor.is_floating_point(), name


def test_numbers_that_are_too_large_are_refused_and_nothing_is_written(model, tmp_path):
    with torch.no_grad():
        next(model.model.parameters()).flatten()[0] = 1e6
    with pytest.raises(WeightsError, match="65504"):
        model.save_pretrained(tmp_path / "half", half=True)
    assert not (tmp_path / "half").exists()
