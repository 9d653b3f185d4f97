import pytest
import torch

from memorysam.models.rectify_fuse import Fusion, Rectification

C = 8


def sides(batch=2, size=(4, 6)):
    return torch.randn(batch, C, *size), torch.randn(batch, C, *size)


@torch.no_grad()
def test_a_side_that_is_zero_has_nothing_to_give():
    rectify = Rectification(C)
    a, _ = sides()
    same, other = rectify(a, torch.zeros_like(a))
    assert torch.equal(same, a)
    assert (other != 0).any(), "while it takes from the other"
    assert ((other / a > 0) & (other / a < 1)).all(), "with weights between 0 and 1"


@torch.no_grad()
def test_at_most_the_whole_other_side_is_added():
    rectify = Rectification(C)
    for part in (rectify.channels, rectify.positions):
        last = part[2]
        last.weight.zero_()
        last.bias.fill_(100.0)
    a, b = sides()
    assert all(torch.allclose(x, a + b) for x in rectify(a, b))


@torch.no_grad()
def test_each_side_is_scaled_by_its_own_weights():
    rectify = Rectification(C)
    for part, width in ((rectify.channels, C), (rectify.positions, 1)):
        last = part[2]
        last.weight.zero_()
        last.bias[:width].fill_(100.0)  # of the first side
        last.bias[width:].fill_(-100.0)
    a, b = sides()
    to_a, to_b = rectify(a, b)
    assert torch.allclose(to_a, a)
    assert torch.allclose(to_b, a + b)


@pytest.mark.parametrize("heads", [1, 2, 4])
@torch.no_grad()
def test_what_either_side_shows_anywhere_matters_everywhere(heads):
    fuse = Fusion(C, heads).eval()
    a, b = sides()
    before = fuse(a, b)
    assert before.shape == a.shape
    for which in range(2):
        changed = [a.clone(), b.clone()]
        changed[which][:, :, 0, 0] += 10
        difference = (fuse(*changed) - before).abs().amax(dim=1)
        assert (difference[:, -1, -1] > 0).all()
    assert not torch.equal(fuse(b, a), before)


@torch.no_grad()
def test_samples_are_fused_by_themselves():
    fuse = Fusion(C, 2).eval()
    a, b = sides(batch=3)
    assert torch.allclose(fuse(a, b)[1:2], fuse(a[1:2], b[1:2]), atol=1e-6)
