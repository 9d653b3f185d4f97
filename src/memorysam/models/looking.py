"""Where a modality looks in the memory of the earlier ones: weights of memory attention's last layer, for one place.

Shapes: `A` heads, `d` their width, `L` = `h*w` positions of a sixteenth of the image, `M` memories, `P` pointer tokens
of each of them, `N` = `M*L + M*P` keys.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from memorysam.errors import InputError
from memorysam.models.base import SegmentationModel
from memorysam.models.memory_attention import rotate, turns_at
from memorysam.models.memorysam import MemorySAM
from memorysam.spec import Size


@dataclass(frozen=True)
class Glance:
    """How one place of a modality looks at one earlier modality. All glances of a place sum to 1, pointers included."""

    weights: Tensor  # [h, w], at least 0
    pointer: float
    """Weight of the object pointer, which has no place."""

    @property
    def share(self) -> float:
        """Weight of that modality: its memory's and its pointer's."""
        return float(self.weights.sum()) + self.pointer

    @property
    def spread(self) -> Tensor:
        """Where in its memory, whatever the share: `[h, w]`, sum 1."""
        spread: Tensor = self.weights / self.weights.sum().clamp_min(torch.finfo(torch.float32).tiny)
        return spread


@dataclass(frozen=True)
class Look:
    """Queries of one modality, and the keys that earlier ones left it, in the last layer of memory attention."""

    name: str
    """Of the modality that looks."""
    earlier: tuple[str, ...]
    """Those that it can look at, in their order."""
    size: Size
    """`h, w`."""
    queries: Tensor  # [A, L, d], turned by their positions
    keys: Tensor  # [A, N, d], likewise
    scale: float

    def at(self, y: int, x: int) -> dict[str, Glance]:
        """Recompute softmax(q k) for one query, the mean over heads.

        Args:
            y: row of the position, from 0 to `h - 1`.
            x: column, from 0 to `w - 1`.

        Raises:
            InputError: there is no such position.
        """
        h, w = self.size
        if not (0 <= y < h and 0 <= x < w):
            raise InputError(f"there is no position {y}, {x}", expected=f"from 0, 0 to {h - 1}, {w - 1}")
        scores = (self.queries[:, y * w + x, None].float() * self.keys.float()).sum(-1) * self.scale  # [A, N]
        weights = scores.softmax(dim=-1).mean(dim=0)
        count = len(self.earlier)
        maps = weights[: count * h * w].view(count, h, w)
        pointers = weights[count * h * w :].view(count, -1).sum(dim=1)
        return {
            name: Glance(one, float(pointer)) for name, one, pointer in zip(self.earlier, maps, pointers, strict=True)
        }


@dataclass
class Watch:
    """What a model did in its last call."""

    looks: tuple[Look, ...] = ()
    """Of each modality that had earlier ones to look at; none in systems without memory."""
    _asked: list[Tensor] = field(default_factory=list)
    _offered: list[Tensor] = field(default_factory=list)


def why_blind(model: SegmentationModel, sensors: int) -> str | None:
    """Return why there is nothing to be seen of a model's memory attention; None where there is.

    Args:
        model: any system.
        sensors: how many modalities it is given.
    """
    if not isinstance(model, MemorySAM):
        return f"{model.settings()['name']} has no memory: its sensors meet elsewhere"
    if not model.memory:
        return "this model was trained without its memory (model.memory: false)"
    return None if sensors > 1 else "one sensor alone has no earlier one to look at"


@contextmanager
def watch(model: SegmentationModel) -> Iterator[Watch]:
    """Record where modalities look, in every call of `model` within the block; the last call is kept.

    The model computes what it always does: queries and keys are taken on their way.

    Args:
        model: any system; one without memory leaves nothing. Its calls have a batch of one.
    """
    record = Watch()
    with ExitStack() as stack:
        if isinstance(model, MemorySAM) and model.memory:
            last: Any = model.sam2.memory_attention.layers[-1].cross_attn_image

            def begin(_module: nn.Module, _given: object) -> None:
                record._asked.clear()
                record._offered.clear()

            def end(_module: nn.Module, given: tuple[Mapping[str, Tensor]], output: Any) -> None:
                size = next(iter(output.frames.values())).pyramid.s16.shape[-2:]
                record.looks = _looks(model, tuple(given[0]), (size[0], size[1]), record._asked, record._offered)

            for hook in (
                model.register_forward_pre_hook(begin),
                last.q_proj.register_forward_hook(lambda _m, _i, out: record._asked.append(out.detach())),
                last.k_proj.register_forward_hook(lambda _m, _i, out: record._offered.append(out.detach())),
                model.register_forward_hook(end),
            ):
                stack.callback(hook.remove)
        yield record


def _looks(
    model: MemorySAM, names: Sequence[str], size: Size, asked: Sequence[Tensor], offered: Sequence[Tensor]
) -> tuple[Look, ...]:
    """Split what the layer was given into modalities; the first one has nothing to look at."""
    last: Any = model.sam2.memory_attention.layers[-1].cross_attn_image
    rotary: Any = model.sam2.memory_attention.rotary_emb
    heads, places = last.num_attention_heads, size[0] * size[1]
    looks = []
    for frame, (q, k) in enumerate(zip(asked, offered, strict=True), start=1):
        earlier = names[:frame][-model.latest :]  # 0: all of them
        turns, images = turns_at(rotary, size, q.device), len(earlier) * places
        q, k = (each[:1].reshape(1, each.shape[1], heads, -1) for each in (q, k))
        k = torch.cat([rotate(k[:, :images], turns), k[:, images:]], dim=1)
        queries, keys = (each[0].transpose(0, 1).cpu() for each in (rotate(q, turns), k))
        looks.append(Look(names[frame], tuple(earlier), size, queries, keys, last.scaling))
    return tuple(looks)
