import pytest
import torch

from memorysam.models import hiera
from memorysam.models.sam2 import SAM2


@pytest.fixture(scope="module")
def backbones():
    """The micro one, and one with windows that do not fit the image, as those of Meta's sizes at most sizes."""
    torch.manual_seed(0)
    found = [SAM2(name, 3).vision_encoder.backbone.eval() for name in ("micro", "sam2.1-tiny")]
    with torch.no_grad():
        for parameter in (p for backbone in found for p in backbone.parameters()):
            parameter.add_(0.02 * torch.randn_like(parameter))
    return found


@pytest.mark.parametrize("size", [(64, 96), (160, 32)])
def test_levels_are_those_of_transformers(backbones, size):
    for backbone in backbones:
        pixels = torch.randn(2, 3, *size)
        with torch.no_grad():
            theirs = backbone(pixels).intermediate_hidden_states
            ours = hiera.stages(backbone, pixels)
        for mine, yours in zip(ours, theirs, strict=True):
            assert (mine - yours).abs().max() < 2e-5


def test_gradients_are_those_of_transformers_recomputed_or_not(backbones):
    backbone = backbones[1]
    pixels = torch.randn(1, 3, 64, 96)
    every = dict(backbone.named_parameters())
    runs = [
        backbone(pixels).intermediate_hidden_states,
        *(hiera.stages(backbone, pixels, again) for again in (False, True)),
    ]
    found = [torch.autograd.grad(sum(level.square().sum() for level in levels), every.values()) for levels in runs]
    for name, theirs, *ours in zip(every, *found, strict=True):
        for mine in ours:
            assert (mine - theirs).abs().max() <= 1e-4 * max(1.0, float(theirs.abs().max())), name


def test_windows_are_undone_and_filled_with_the_bias():
    x = torch.randn(2, 5, 7, 12)
    windows = hiera.to_windows(x, 4, 3, torch.arange(12.0))
    assert windows.shape == (2 * 2 * 2, 3, 16, 4)
    assert torch.equal(hiera.from_windows(windows, 4, 2, 5, 7), x)
    last = windows.view(2, 2, 2, 3, 4, 4, 4)[0, 1, 1]  # rows 4 to 7, columns 4 to 7: one row, three columns are there
    assert torch.equal(last[:, 1:].permute(1, 2, 0, 3).flatten(2), torch.arange(12.0).expand(3, 4, 12))


def test_positions_are_made_once_and_anew_when_they_change(backbones):
    backbone = backbones[0].requires_grad_(False)
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = hiera.stages(backbone, pixels)[0]
        assert torch.equal(hiera.stages(backbone, pixels)[0], before)
        backbone.pos_embed.add_(1.0)
        after = hiera.stages(backbone, pixels)[0]
    assert not torch.equal(after, before)
    assert not any("_position" in name for name in backbone.state_dict())
    backbone.requires_grad_(True)
