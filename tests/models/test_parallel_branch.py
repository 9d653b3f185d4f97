import pytest
import torch

from memorysam.models.mit import BACKBONES
from memorysam.models.parallel_branch import ParallelBlock, ParallelStage, pooled_sum

MICRO = BACKBONES["micro"]


def stage_of(*extras):
    torch.manual_seed(0)
    return ParallelStage(MICRO, 0, extras, [0.0]).eval()


def test_pools_do_not_see_a_border():
    constant = torch.full((1, 2, 5, 9), 3.0)
    assert torch.allclose(pooled_sum(constant), 4 * constant)


def test_pools_have_three_sizes():
    point = torch.zeros(1, 1, 21, 21)
    point[..., 10, 10] = 1.0
    along = pooled_sum(point)[0, 0, 10]
    inside = [1 + 1 / 9 + 1 / 49 + 1 / 121, 1 / 9 + 1 / 49 + 1 / 121, 1 / 49 + 1 / 121, 1 / 121, 0.0]
    assert along[[10, 11, 13, 15, 16]].tolist() == pytest.approx(inside)


@torch.no_grad()
def test_one_sensor_is_not_scored():
    stage = stage_of("depth")
    assert len(stage.scores) == 0
    image = torch.randn(2, 3, 32, 64)
    features, merged = stage({"depth": image})
    assert features["depth"].shape == merged.shape == (2, 16, 8, 16)


@torch.no_grad()
def test_the_hub_takes_the_largest_of_what_is_scored():
    stage = stage_of("depth", "event")
    stage.blocks, stage.norm = torch.nn.ModuleList(), torch.nn.Identity()
    images = {name: torch.randn(1, 3, 32, 32) for name in ("event", "depth")}
    features, merged = stage(images)
    assert torch.equal(merged, torch.maximum(features["depth"], features["event"]))
    for score in stage.scores.values():
        score[1].weight.zero_()
        score[1].bias.fill_(100.0)  # a score of 1 doubles
    doubled, _ = stage(images)
    for score in stage.scores.values():
        score[1].bias.fill_(-100.0)
    plain, _ = stage(images)
    assert all(torch.allclose(doubled[name], 2 * plain[name]) for name in images)


@torch.no_grad()
def test_the_hub_does_without_a_sensor():
    stage = stage_of("depth", "event")
    images = {name: torch.randn(1, 3, 32, 32) for name in ("depth", "event")}
    alone, merged = stage({"event": images["event"]})
    assert list(alone) == ["event"]
    assert torch.equal(alone["event"], stage(images)[0]["event"])
    assert not torch.equal(merged, stage(images)[1])


def test_recomputing_does_not_count_a_batch_twice():
    x = torch.randn(2, 8, 8, 8)
    found = []
    for enabled in (False, True):
        torch.manual_seed(0)
        block = ParallelBlock(8, 4, 0.0).train()
        block.recompute = enabled
        block(x).square().sum().backward()
        found.append([*block.buffers(), *(p.grad for p in block.parameters())])
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*found, strict=True))


def test_a_fresh_block_starts_near_the_channel_weights_alone():
    """Layer scale: gate and MLP begin at a hundredth."""
    block = ParallelBlock(8, 4, 0.0).eval()
    x = torch.randn(1, 8, 6, 6)
    with torch.no_grad():
        ratio = block(x) / x
        assert (ratio.median() - 0.5).abs() < 0.2
        for scale in (block.gate_scale, block.mlp_scale):
            assert (scale == 0.01).all()
            scale.zero_()
        weights = block(x) / x
    assert torch.allclose(weights, weights[..., :1, :1].expand_as(weights), atol=1e-5), "the same at all positions"
