import pytest
import torch
from torch import nn

from memorysam.training.average import WeightAverage


def model(value):
    linear = nn.Linear(2, 1, bias=False)
    nn.init.constant_(linear.weight, value)
    return linear


def test_it_follows_the_weights_by_its_formula():
    m = model(0.0)
    average = WeightAverage(m, 0.9)
    expected = 0.0
    for step in range(1, 200):
        nn.init.constant_(m.weight, step)
        average.update(step)
        weight = 1 - min(0.9, step / (step + 10))
        expected = (1 - weight) * expected + weight * step
        assert average.tensors["weight"][0, 0].item() == pytest.approx(expected, rel=1e-5)


def test_the_model_has_it_within_the_block_and_its_own_weights_after_also_if_something_fails():
    m = model(1.0)
    average = WeightAverage(m, 0.5)
    nn.init.constant_(m.weight, 3.0)
    own = m.weight.detach().clone()
    with average.lent():
        assert (m.weight == 1.0).all()
    assert torch.equal(m.weight, own)
    with pytest.raises(ValueError, match="boom"), average.lent():
        raise ValueError("boom")
    assert torch.equal(m.weight, own)
    assert (average.tensors["weight"] == 1.0).all()


def test_frozen_weights_are_not_averaged_and_without_decay_nothing_is():
    m = model(1.0)
    m.weight.requires_grad_(False)
    assert WeightAverage(m, 0.5).tensors == {}
    assert WeightAverage(model(1.0), 0.0).tensors == {}


def test_it_is_restored_and_begins_at_the_weights_where_nothing_was_saved():
    m = model(4.0)
    average = WeightAverage(m, 0.5)
    average.restore({"weight": torch.full((1, 2), 7.0)})
    assert (average.tensors["weight"] == 7.0).all()
    average.restore({})
    assert (average.tensors["weight"] == 4.0).all()
