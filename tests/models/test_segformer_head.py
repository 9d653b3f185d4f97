import pytest
import torch
from torch.nn import functional as F

from memorysam.models.segformer_head import SegFormerHead

WIDTHS = (4, 6, 8)


def levels(batch=2, size=(16, 24)):
    return [torch.randn(batch, width, size[0] >> i, size[1] >> i) for i, width in enumerate(WIDTHS)]


@pytest.fixture
def head():
    torch.manual_seed(0)
    return SegFormerHead(WIDTHS, embed=10, classes=3).eval()


@torch.no_grad()
def test_logits_at_the_size_of_the_finest_level(head):
    given = levels()
    assert head(given).shape == (2, 3, 16, 24)
    embedding = head.embed(given)
    assert embedding.shape == (2, 10, 16, 24)
    assert (embedding >= 0).all()
    assert torch.equal(head.logits(embedding), head(given))


@torch.no_grad()
def test_each_level_has_its_own_share_of_the_fusing_layer_the_coarsest_first(head):
    given = levels()
    shares = head.fuse.weight.chunk(3, dim=1)[::-1]
    total = sum(
        F.conv2d(F.interpolate(project(x), size=(16, 24), mode="bilinear"), share)
        for project, x, share in zip(head.project, given, shares, strict=True)
    )
    assert torch.allclose(head.embed(given), head.norm(total).relu(), atol=1e-5)


def test_whole_channels_are_dropped_in_training_only():
    head = SegFormerHead(WIDTHS, embed=64, classes=3, dropout=0.5)
    with torch.no_grad():
        embedding = torch.ones(1, 64, 4, 4)
        head.train()
        dropped = head.logits(embedding)
        assert (dropped == dropped[..., :1, :1]).all(), "the same channels everywhere"
        assert not torch.equal(dropped, head.logits(embedding))
        head.eval()
        assert torch.equal(head.logits(embedding), head.logits(embedding))


def test_levels_of_another_number_are_refused(head):
    with pytest.raises(ValueError, match="shorter"):
        head(levels()[:2])
