import pytest
import torch
from torch import nn

from memorysam.training.schedule import adamw, warmup_poly


def test_warm_up_then_polynomial_decay():
    """Ten epochs of warm-up from a tenth, then (1 - t)^0.9, which would reach 0 one epoch after the last."""
    factor = warmup_poly(steps_per_epoch=100, epochs=200, warmup_epochs=10, warmup_ratio=0.1, power=0.9)
    assert factor(0) == pytest.approx(0.1)
    assert factor(500) == pytest.approx(0.55)
    assert factor(1000) == pytest.approx(1.0)
    total = 201 * 100 - 1000
    assert factor(1000 + total // 2) == pytest.approx(0.5**0.9)
    assert factor(20000 - 1) == pytest.approx((101 / total) ** 0.9)
    assert factor(20000 - 1) > 0


def test_never_negative_and_no_warm_up():
    factor = warmup_poly(10, 2, 0, 0.1, 0.9)
    assert factor(0) == 1.0
    assert all(0 <= factor(step) <= 1 for step in range(100))
    longer_than_training = warmup_poly(10, 2, 10, 0.1, 0.9)
    assert longer_than_training(19) < 1


def test_one_dimensional_parameters_do_not_decay_and_frozen_ones_are_left_out():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    model[2].requires_grad_(False)
    decayed, plain = adamw(model, 1e-3, 0.01).param_groups
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3)]
    assert decayed["weight_decay"] == 0.01
    assert all(p.ndim == 1 for p in plain["params"])
    assert plain["weight_decay"] == 0.0
    assert len(plain["params"]) == 3
    before = model[0].weight.clone()
    model(torch.randn(2, 3)).sum().backward()
    assert torch.equal(model[0].weight, before)
