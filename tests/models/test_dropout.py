import pytest
import torch
from torch import nn

from memorysam.models.dropout import FastDropout, keep_mask, speed_up_dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_a_mask_keeps_its_share_and_the_mean(p):
    mask = keep_mask(torch.Size((1000, 1003)), p, seed=7, dtype=torch.float32)
    assert float((mask == 0).float().mean()) == pytest.approx(p, abs=2e-3)
    assert float(mask.mean()) == pytest.approx(1, abs=5e-3 / (1 - p))
    assert len(mask.unique()) == 2


def test_a_seed_gives_the_same_mask_and_another_one_another():
    shape = torch.Size((31, 7))
    first = keep_mask(shape, 0.3, 1, torch.float32)
    assert torch.equal(first, keep_mask(shape, 0.3, 1, torch.float32))
    assert not torch.equal(first, keep_mask(shape, 0.3, 2, torch.float32))


def test_neighbours_are_independent():
    """Four numbers come from one draw."""
    dropped = (keep_mask(torch.Size((250_000, 4)), 0.5, 3, torch.float32) == 0).float()
    correlation = torch.corrcoef(dropped.T)
    assert (correlation - torch.eye(4)).abs().max() < 0.01


def test_the_layer_follows_the_global_generator_and_its_mode():
    layer = nn.Sequential(nn.Dropout(0.4), nn.Dropout2d(0.4))
    assert speed_up_dropout(layer) == 1
    assert type(layer[0]) is FastDropout
    x = torch.ones(50, 50)
    torch.manual_seed(1)
    first = layer[0](x)
    torch.manual_seed(1)
    assert torch.equal(layer[0](x), first)
    assert not torch.equal(layer[0](x), first)
    assert torch.equal(layer.eval()[0](x), x)


def test_gradients_pass_where_values_pass():
    layer = FastDropout(0.5)
    x = torch.randn(40, 40, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert torch.equal(x.grad == 0, y == 0)
