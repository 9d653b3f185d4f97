import pytest
import torch
from torch import nn

from memorysam.models.deeplab import ASPP, BACKBONES, Norm, ResNet, resize

MICRO = BACKBONES["micro"]


@pytest.mark.parametrize("channels", [1, 2, 3, 7])
def test_an_encoder_takes_any_number_of_channels_and_gives_strides_4_and_16(channels):
    low, deep = ResNet(channels, MICRO)(torch.randn(2, channels, 64, 96))
    assert low.shape == (2, 4 * MICRO.width, 16, 24)
    assert deep.shape == (2, 32 * MICRO.width, 4, 6)


def test_the_last_stage_looks_further_instead_of_shrinking():
    """As published: dilations 2, 4, 8."""
    with torch.device("meta"):
        blocks = list(ResNet(3, BACKBONES["resnet-101"]).layer4)
    assert [block.conv2.dilation for block in blocks] == [(2, 2), (4, 4), (8, 8)]
    assert {block.conv2.stride for block in blocks} == {(1, 1)}


def test_names_and_sizes_are_those_of_torchvision():
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in ResNet(3, BACKBONES["resnet-101"]).state_dict().items()}
    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    assert shapes["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
    assert shapes["layer3.22.conv2.weight"] == (256, 256, 3, 3)
    assert shapes["layer4.2.bn3.running_var"] == (2048,)
    assert sum(torch.Size(shape).numel() for name, shape in shapes.items() if name.endswith(("weight", "bias"))) == (
        44_549_160 - 2048 * 1000 - 1000  # torchvision's, without its classifier
    )


def test_aspp_sees_the_whole_image():
    aspp = ASPP(8, 4).eval()
    x = torch.randn(1, 8, 40, 40)
    with torch.no_grad():
        before = aspp(x)
        x[..., 39, 39] += 100
        after = aspp(x)
    assert before.shape == (1, 4, 40, 40)
    assert not torch.equal(before[..., 0, 0], after[..., 0, 0])


def test_one_image_alone_can_be_trained_on():
    """Its mean over the image is one value per channel, of which there are no statistics."""
    aspp = ASPP(8, 4).train()
    before = aspp.pooled[1].running_mean.clone()
    aspp(torch.randn(1, 8, 4, 4)).sum().backward()
    assert aspp.pooled[0].weight.grad is not None
    assert torch.equal(aspp.pooled[1].running_mean, before)
    aspp(torch.randn(2, 8, 4, 4))
    assert not torch.equal(aspp.pooled[1].running_mean, before)


def test_norm_is_batch_norm_otherwise():
    ours, theirs = Norm(5).train(), nn.BatchNorm2d(5).train()
    for shape in ((3, 5, 4, 4), (1, 5, 4, 1), (2, 5, 1, 1)):
        x = torch.randn(shape)
        assert torch.equal(ours(x), theirs(x))
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor), name
    x = torch.randn(1, 5, 1, 1)
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


def test_recomputing_activations_counts_them_once_in_running_statistics():
    x = torch.randn(2, 3, 64, 64)
    states, gradients = [], []
    for recompute in (False, True):
        torch.manual_seed(1)
        encoder = ResNet(3, MICRO).train()
        encoder.recompute = recompute
        low, deep = encoder(x)
        (low.mean() + deep.square().mean()).backward()
        states.append(encoder.state_dict())
        gradients.append([p.grad for p in encoder.parameters()])
    assert states[0]["layer4.0.bn1.num_batches_tracked"] == 1
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*gradients, strict=True))


def test_resizing_keeps_corners_where_they_are():
    x = torch.randn(1, 2, 3, 5)
    larger = resize(x, (9, 20))
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert torch.allclose(larger[(..., *corner)], x[(..., *corner)], atol=1e-6)
