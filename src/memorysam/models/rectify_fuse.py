"""The two modules with which CMX joins two sensors at each level, and CMNeXt as well (arXiv 2203.04838).

Shapes: `B` batch, `C` width of the level, `h, w` its size, `N = h * w`.
"""

import torch
from torch import Tensor, nn


class Rectification(nn.Module):
    """Feature rectification (FRM): each side gets from the other what channel and position weights let through.

    Args:
        width: `C`.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.channels = nn.Sequential(
            nn.Linear(4 * width, 4 * width), nn.ReLU(), nn.Linear(4 * width, 2 * width), nn.Sigmoid()
        )
        self.positions = nn.Sequential(
            nn.Conv2d(2 * width, width, kernel_size=1), nn.ReLU(), nn.Conv2d(width, 2, kernel_size=1), nn.Sigmoid()
        )

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Two `[B, C, h, w]` to two of the same shape."""
        both = torch.cat([a, b], dim=1)
        pooled = torch.cat([both.mean(dim=(2, 3)), both.amax(dim=(2, 3))], dim=1)
        channels_a, channels_b = self.channels(pooled)[:, :, None, None].chunk(2, dim=1)
        positions_a, positions_b = self.positions(both).chunk(2, dim=1)
        return a + 0.5 * (channels_b + positions_b) * b, b + 0.5 * (channels_a + positions_a) * a


class Fusion(nn.Module):
    """Feature fusion (FFM): cross attention whose cost is linear in the number of positions, then a mix of channels.

    Args:
        width: `C`.
        heads: of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.split = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(2))
        self.key_value = nn.ModuleList(nn.Linear(width, 2 * width, bias=False) for _ in range(2))
        self.join = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.shortcut = nn.Conv2d(2 * width, width, kernel_size=1, bias=False)
        self.mix = nn.Sequential(
            nn.Conv2d(2 * width, width, kernel_size=1),
            nn.Conv2d(width, width, kernel_size=3, padding=1, groups=width),
            nn.ReLU(),
            nn.Conv2d(width, width, kernel_size=1),
            nn.BatchNorm2d(width),
        )
        self.norm = nn.BatchNorm2d(width)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Two `[B, C, h, w]` to one."""
        sides = [x.flatten(2).transpose(1, 2) for x in (a, b)]  # [B, N, C]
        split = [self.split[i](sides[i]).relu().chunk(2, dim=-1) for i in range(2)]
        contexts = [self._context(i, split[i][1]) for i in range(2)]
        joined = []
        for i, (kept, query) in enumerate(split):
            attended = (self._heads(query) @ contexts[1 - i]).transpose(1, 2).flatten(2)  # [B, N, C], from the other
            joined.append(self.norms[i](sides[i] + self.join[i](torch.cat([kept, attended], dim=-1))))
        both = torch.cat(joined, dim=-1).transpose(1, 2).reshape(a.shape[0], -1, *a.shape[-2:])
        fused: Tensor = self.norm(self.shortcut(both) + self.mix(both))
        return fused

    def _context(self, i: int, x: Tensor) -> Tensor:
        """Return what side `i` tells: `[B, heads, C/heads, C/heads]`, from `[B, N, C]`."""
        key, value = (self._heads(part) for part in self.key_value[i](x).chunk(2, dim=-1))
        scores: Tensor = key.transpose(-2, -1) @ value * key.shape[-1] ** -0.5
        return scores.softmax(dim=-2)

    def _heads(self, x: Tensor) -> Tensor:
        """`[B, N, C]` to `[B, heads, N, C/heads]`."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)
