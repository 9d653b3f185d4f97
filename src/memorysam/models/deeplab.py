"""The parts of DeepLab that MCubeSNet is made of: a dilated ResNet and atrous spatial pyramid pooling (ASPP).

Shapes: `B` batch, `K` channels of a sensor, `D` channels after ASPP (256 as published), `h, w` = `H/16, W/16`. Bilinear
interpolation keeps corners aligned, as in the released code.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from memorysam.spec import Size

EXPANSION = 4
"""Channels that leave a bottleneck for each inside it."""
LAST_DILATIONS = (2, 4, 8)
"""Of the blocks of the last stage, which does not shrink its input."""
ASPP_DILATIONS = (1, 2, 4, 6)


@dataclass(frozen=True)
class Backbone:
    """Sizes of one variant."""

    width: int
    """Channels of the stem, and inside the first stage's blocks; each stage doubles it."""
    blocks: tuple[int, int, int, int]
    pooled: int
    """Channels after ASPP (`D`)."""
    narrow: int
    """Channels to which the decoder brings the features at stride 4."""


BACKBONES: dict[str, Backbone] = {
    "resnet-101": Backbone(width=64, blocks=(3, 4, 23, 3), pooled=256, narrow=48),
    "micro": Backbone(width=8, blocks=(1, 1, 1, 1), pooled=16, narrow=8),
}


class Norm(nn.BatchNorm2d):
    """Batch norm that takes its running statistics where a batch has none: one value per channel, of one image."""

    repeating = False
    """Whether it recomputes what has already been counted in the running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        """`[B, D, h, w]` to the same."""
        single = x.numel() == x.shape[1]
        if self.training and (single or self.repeating):
            mean, var = self.running_mean, self.running_var
            return F.batch_norm(x, mean, var, self.weight, self.bias, not single, momentum=0.0, eps=self.eps)
        return super().forward(x)


def conv_norm(inside: int, outside: int, size: int = 1, dilation: int = 1) -> nn.Sequential:
    """Return a convolution that keeps height and width, batch norm and ReLU."""
    padding = dilation * (size // 2)
    conv = nn.Conv2d(inside, outside, size, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(conv, Norm(outside), nn.ReLU(inplace=True))


def initialise(model: nn.Module) -> None:
    """Give convolutions that batch norm follows their usual start: variance kept through ReLU (Kaiming)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.bias is None:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def resize(features: Tensor, size: Size | torch.Size) -> Tensor:
    """Bring `[B, D, h, w]` to `size`."""
    return F.interpolate(features, size=tuple(size), mode="bilinear", align_corners=True)


class Bottleneck(nn.Module):
    """Residual block: 1x1, 3x3 (with the stride and the dilation), 1x1. Named as in torchvision.

    Args:
        inside: channels of its input.
        width: channels of the 3x3 convolution.
        stride: by which it shrinks.
        dilation: of the 3x3 convolution.
    """

    def __init__(self, inside: int, width: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        outside = width * EXPANSION
        self.conv1 = nn.Conv2d(inside, width, 1, bias=False)
        self.bn1 = Norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = Norm(width)
        self.conv3 = nn.Conv2d(width, outside, 1, bias=False)
        self.bn3 = Norm(outside)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inside != outside:
            self.downsample = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), Norm(outside))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inside, h, w]` to `[B, 4 * width, h / stride, w / stride]`."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """ResNet of bottlenecks for any number of channels, with output stride 16. Named as in torchvision.

    Args:
        channels: of the image (`K`).
        sizes: of the variant.
    """

    def __init__(self, channels: int, sizes: Backbone) -> None:
        super().__init__()
        width = sizes.width
        self.conv1 = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = Norm(width)
        self.layer1 = _stage(width, width, [1] * sizes.blocks[0], stride=1)
        self.layer2 = _stage(width * EXPANSION, width * 2, [1] * sizes.blocks[1], stride=2)
        self.layer3 = _stage(width * 2 * EXPANSION, width * 4, [1] * sizes.blocks[2], stride=2)
        dilations = list(LAST_DILATIONS[: sizes.blocks[3]])
        self.layer4 = _stage(width * 4 * EXPANSION, width * 8, dilations, stride=1)
        self.recompute = False

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, K, H, W]` to features at stride 4 (first stage) and stride 16 (last stage)."""
        x = F.relu(self.bn1(self.conv1(image)))
        x = low = self._stage(self.layer1, F.max_pool2d(x, 3, stride=2, padding=1))
        for stage in (self.layer2, self.layer3, self.layer4):
            x = self._stage(stage, x)
        return low, x

    def _stage(self, blocks: nn.Module, x: Tensor) -> Tensor:
        for block in blocks.children():
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False, context_fn=partial(_twice, block))
            else:
                x = block(x)
        return x


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: the same features seen at four dilations, and their mean over the image.

    The dropout at its end, 0.5, is DeepLab's usual one; our sources on MCubeSNet do not tell it.

    Args:
        inside: channels of its input.
        outside: channels of its output (`D`).
    """

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        first, *others = ASPP_DILATIONS
        self.branches = nn.ModuleList([conv_norm(inside, outside, 1, first)])
        self.branches.extend(conv_norm(inside, outside, 3, dilation) for dilation in others)
        self.pooled = conv_norm(inside, outside)
        self.project = conv_norm(outside * (len(ASPP_DILATIONS) + 1), outside)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inside, h, w]` to `[B, D, h, w]`."""
        mean = self.pooled(F.adaptive_avg_pool2d(x, 1)).expand(-1, -1, *x.shape[-2:])
        joined = torch.cat([*(branch(x) for branch in self.branches), mean], dim=1)
        return F.dropout(self.project(joined), 0.5, self.training)


def _stage(inside: int, width: int, dilations: list[int], stride: int) -> nn.Sequential:
    """Return blocks, the first of which shrinks its input."""
    blocks = [Bottleneck(inside, width, stride, dilations[0])]
    blocks += [Bottleneck(width * EXPANSION, width, 1, dilation) for dilation in dilations[1:]]
    return nn.Sequential(*blocks)


def _twice(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return what surrounds a block's forward pass and its repetition."""
    return nullcontext(), _repeating(block)


@contextmanager
def _repeating(block: nn.Module) -> Iterator[None]:
    norms = [module for module in block.modules() if isinstance(module, Norm)]
    for norm in norms:
        norm.repeating = True
    try:
        yield
    finally:
        for norm in norms:
            norm.repeating = False
