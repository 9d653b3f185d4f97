"""What CWSAM adds to SAM's image encoder: adapters within each block, and a prompt before each block.

Shapes: `N` images, `E` width of the encoder, `F = E/32` of the prompts, `h, w` a sixteenth of the image.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NARROWER = 4
"""By which an adapter is narrower than the encoder."""

FACTOR = 32
"""By which prompts are narrower than the encoder."""

KEPT = 0.25
"""Share of the frequencies, the lowest ones, of which the hand-crafted feature is made."""


class Adapter(nn.Module):
    """`[..., E]` down to a quarter of the width, GELU, and up again.

    The last layer starts at zero, so that at the start the encoder computes what SAM's does: our choice.
    """

    def __init__(self, embed: int) -> None:
        super().__init__()
        self.down = nn.Linear(embed, embed // NARROWER)
        self.up = nn.Linear(embed // NARROWER, embed)
        _zero(self.up)

    def forward(self, x: Tensor) -> Tensor:
        """Without the skip connection."""
        adapted: Tensor = self.up(F.gelu(self.down(x)))
        return adapted


class BlockAdapters(nn.Module):
    """The adapters of one block.

    `depth` is in the release and its checkpoints but is never called there; nor is it here.
    """

    def __init__(self, embed: int) -> None:
        super().__init__()
        self.space = Adapter(embed)
        self.mlp = Adapter(embed)
        self.depth = Adapter(embed)

    def forward(self, block: Any, tokens: Tensor) -> Tensor:
        """Send `[N, h, w, E]` through SAM's `block`, with an adapter after its attention and one beside its MLP."""
        x = block.layer_norm1(tokens)
        if block.window_size:
            h, w = x.shape[1:3]
            x, padded = block.window_partition(x, block.window_size)
        attended, _ = block.attn(x)
        attended = attended + self.space(attended)
        if block.window_size:
            attended = block.window_unpartition(attended, block.window_size, padded, (h, w))
        tokens = tokens + attended
        x = block.layer_norm2(tokens)
        moved: Tensor = tokens + block.mlp(x) + 0.5 * self.mlp(x)
        return moved


class PromptGenerator(nn.Module):
    """What is added to the tokens before each block: made of the smoothed image and of the tokens themselves.

    The projection that all blocks share starts at zero, so that the first prompts change nothing: our choice.

    Args:
        embed: `E`.
        blocks: of the encoder.
        patch: side of a token in pixels.
        scrambled: see `token_feature`.
    """

    def __init__(self, embed: int, blocks: int, patch: int, scrambled: bool) -> None:
        super().__init__()
        width = embed // FACTOR
        self.scrambled = scrambled
        self.handcrafted = nn.Conv2d(3, width, kernel_size=patch, stride=patch)
        self.embedding = nn.Linear(embed, width)
        self.light = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.shared = nn.Linear(width, embed)
        _zero(self.shared)

    def forward(self, pixels: Tensor, tokens: Tensor) -> list[Tensor]:
        """From images `[N, 3, H, W]` and their tokens before position `[N, h, w, E]`, one `[N, h, w, E]` per block."""
        smooth = self.handcrafted(low_pass(pixels).to(pixels.dtype)).flatten(2).transpose(1, 2)
        feature = smooth + self.token_feature(tokens)
        return [self.shared(F.gelu(light(feature))).view(tokens.shape) for light in self.light]

    def token_feature(self, tokens: Tensor) -> Tensor:
        """`[N, h, w, E]` to `[N, hw, F]`.

        The released code reads the tokens' memory as `[E, hw]` although it is `[hw, E]`, so that each "token" holds
        values of others, depending on the size of the image. Its weights were trained that way: `scrambled` does it.
        """
        n, h, w, e = tokens.shape
        flat = tokens.reshape(n, e, h * w).transpose(1, 2) if self.scrambled else tokens.flatten(1, 2)
        feature: Tensor = self.embedding(flat)
        return feature


def low_pass(image: Tensor) -> Tensor:
    """Keep the lowest frequencies of each channel, and of the result the magnitude: `[N, K, H, W]`, float32.

    As in the release, the square that is kept is as wide as high, in periods per image, whatever the image's shape; it
    contains the negative frequency at its edge and not the positive one.
    """
    h, w = image.shape[-2:]
    line = int(math.sqrt(h * w * KEPT) // 2)
    y, x = ((torch.arange(side, device=image.device) + line) % side < 2 * line for side in (h, w))
    spectrum = torch.fft.fft2(image.float()) * (y[:, None] & x)  # half precision has no transform for most sizes
    smooth: Tensor = torch.fft.ifft2(spectrum).real.abs()
    return smooth


def _zero(layer: nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
