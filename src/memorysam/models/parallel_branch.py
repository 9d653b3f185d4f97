"""CMNeXt's second branch: one stream of blocks for all further sensors (arXiv 2303.01480).

Shapes: `B` batch, `C` width of the level, `h, w` its size.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memorysam.models.mit import Backbone, DropPath, recompute

_MLP_RATIOS = (8, 8, 4, 4)
_POOLS = (3, 7, 11)


def pooled_sum(x: Tensor) -> Tensor:
    """Return `x` `[B, C, h, w]` plus its averages over windows of 3, 7 and 11; what lies outside does not count."""
    return x + sum(F.avg_pool2d(x, size, stride=1, padding=size // 2, count_include_pad=False) for size in _POOLS)


class PoolingGate(nn.Module):
    """Scales each value by what its surroundings, near and far, say of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.local = nn.Conv2d(width, width, kernel_size=7, padding=3, groups=width)
        self.mix = nn.Conv2d(width, width, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, h, w]` to the same shape."""
        gate: Tensor = self.mix(pooled_sum(self.local(x))).sigmoid()
        return x + gate * x


class ParallelBlock(nn.Module):
    """Pooling gate, channel weights, and a convolutional MLP ("MSPA", "PPX").

    Args:
        width: `C`.
        mlp_ratio: width of the MLP, relative to it.
        drop_path: share of the samples for which it is left out in training.
    """

    def __init__(self, width: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.gate_norm = nn.BatchNorm2d(width)
        self.gate = PoolingGate(width)
        self.gate_scale = nn.Parameter(torch.full((width,), 0.01))
        self.channels = nn.Conv1d(1, 1, kernel_size=3, padding=1, bias=False)
        self.mlp_norm = nn.BatchNorm2d(width)
        hidden = mlp_ratio * width
        self.mlp = nn.Sequential(
            nn.Conv2d(width, hidden, kernel_size=1),
            nn.Conv2d(hidden, hidden, kernel_size=3, padding=1, groups=hidden),
            nn.GELU(),
            nn.Conv2d(hidden, width, kernel_size=1),
        )
        self.mlp_scale = nn.Parameter(torch.full((width,), 0.01))
        self.drop_path = DropPath(drop_path)
        self.recompute = False

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, h, w]` to the same shape."""
        gated = self._run(self.gate, self.gate_norm(x))
        x = x + self.drop_path(self.gate_scale[:, None, None] * gated)
        weights = self.channels(x.mean(dim=(2, 3)).unsqueeze(1)).sigmoid().transpose(1, 2)  # [B, C, 1]
        mixed = self._run(self.mlp, self.mlp_norm(x))
        y: Tensor = x * weights.unsqueeze(-1) + self.drop_path(self.mlp_scale[:, None, None] * mixed)
        return y

    def _run(self, part: nn.Module, x: Tensor) -> Tensor:
        """Call a part, or have it recomputed: one without batch norm, which would count the batch twice."""
        y: Tensor = recompute(part, x) if self.recompute and self.training else part(x)
        return y


class ParallelStage(nn.Module):
    """One stage of the branch: patches, the hub that merges the sensors ("self-query"), and blocks on what it gives.

    The patch convolution is shared; each sensor has its own norm, and its own score where there are several.

    Args:
        sizes: of the RGB branch's backbone.
        i: which stage, from 0.
        extras: names of the further sensors.
        drop_paths: one rate per block.
    """

    def __init__(self, sizes: Backbone, i: int, extras: Sequence[str], drop_paths: Sequence[float]) -> None:
        super().__init__()
        width = sizes.widths[i]
        kernel, stride = (7, 4) if i == 0 else (3, 2)
        self.patches = nn.Conv2d(sizes.widths[i - 1] if i else 3, width, kernel, stride, padding=kernel // 2)
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width, eps=1e-6) for name in extras})
        self.scores = nn.ModuleDict({name: _score(width) for name in extras if len(extras) > 1})
        self.blocks = nn.ModuleList(ParallelBlock(width, _MLP_RATIOS[i], rate) for rate in drop_paths)
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Images or the level before, of the sensors that are there, to their features and what is merged of them.

        All of these are `[B, C, h, w]`.
        """
        features = {name: _channel_norm(self.norms[name], self.patches(x)) for name, x in inputs.items()}
        if self.scores:
            features = {name: x * (1 + self.scores[name](x)) for name, x in features.items()}
        merged = torch.stack(list(features.values())).amax(dim=0)
        for block in self.blocks:
            merged = block(merged)
        return features, _channel_norm(self.norm, merged)


def _score(width: int) -> nn.Module:
    """Return what says how much each position of a sensor matters: `[B, C, h, w]` to `[B, 1, h, w]`."""
    return nn.Sequential(
        nn.Conv2d(width, width, kernel_size=3, padding=1, groups=width),
        nn.Conv2d(width, 1, kernel_size=1),
        nn.Sigmoid(),
    )


def _channel_norm(norm: nn.Module, x: Tensor) -> Tensor:
    normed: Tensor = norm(x.permute(0, 2, 3, 1))
    return normed.permute(0, 3, 1, 2)
