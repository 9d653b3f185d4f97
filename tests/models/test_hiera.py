import pytest
import torch
from torch.nn import functional as F

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


@pytest.mark.parametrize("size", [(64, 96), (160, 32), (256, 288)])
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


def test_windows_are_undone():
    x = torch.randn(2, 8, 12, 12)
    windows = hiera.to_windows(x, 4, 3, heads=3)
    assert windows.shape == (2 * 2 * 4, 3, 12, 4)
    second = x[0, :4, 3:6].reshape(12, 3, 4).transpose(0, 1)
    assert torch.equal(windows[1], second)
    assert torch.equal(hiera.from_windows(windows, 4, 3, x.shape), x)


@pytest.mark.parametrize("sides", [(8, 8), (10, 13), (3, 9), (2, 3)], ids=["whole", "corner", "edge", "less-than-one"])
def test_windows_beyond_the_image_attend_to_the_bias_there(backbones, sides):
    """As often as there are tokens missing: like windows that are filled up with zeros before they are projected."""
    layer = backbones[1].blocks[0].attn
    x = torch.randn(2, *sides, 96, requires_grad=True)
    height, width = (-(-side // 4) * 4 for side in sides)
    filled = F.pad(x, (0, 0, 0, width - sides[1], 0, height - sides[0]))
    qkv = layer.qkv(hiera.to_windows(filled, 4, 4, 1)[:, 0]).unflatten(2, (3, layer.num_attention_heads, -1))
    out = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4), scale=layer.scale)
    expected = layer.proj(hiera.from_windows(out, 4, 4, filled.shape))[:, : sides[0], : sides[1]]
    ours = hiera.attend(layer, x, 4)
    assert (ours - expected).abs().max() < 1e-5
    tensors = [x, layer.qkv.bias, layer.qkv.weight]
    found = [torch.autograd.grad(y.square().sum(), tensors) for y in (ours, expected)]
    for mine, yours in zip(*found, strict=True):
        assert (mine - yours).abs().max() <= 1e-5 * max(1.0, float(yours.abs().max()))


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
