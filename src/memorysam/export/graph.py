"""A model as one graph: a fixed list of modalities, a fixed image size, any batch.

The graph holds what `models` computes for predictions: LoRA merged, rotary embeddings of real numbers, positions for
this size as constants, no memory of the last modality.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from memorysam.errors import SettingsError
from memorysam.models.base import SegmentationModel
from memorysam.models.tune import for_inference
from memorysam.spec import Modality, Size

LARGEST_BATCH = 1024


class Fixed(nn.Module):
    """A model whose images come one after the other instead of by name.

    Args:
        model: prepared for predictions.
        names: of the modalities, in the order in which their images are given.
    """

    def __init__(self, model: SegmentationModel, names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.names = tuple(names)

    def forward(self, *images: Tensor) -> Tensor:
        """`[B, K, H, W]` of each modality to logits `[B, C, H/4, W/4]`."""
        logits: Tensor = self.model(dict(zip(self.names, images, strict=True))).logits
        return logits.float()


def inputs_of(modalities: Sequence[Modality], size: Size, batch: int, seed: int = 0) -> tuple[Tensor, ...]:
    """Return images that look a little like images: `[B, K, H, W]` for each modality, smooth with edges and noise."""
    draw = torch.Generator().manual_seed(seed)
    images = []
    for modality in modalities:
        coarse = torch.randn(batch, modality.channels, 6, 6, generator=draw)
        smooth = nn.functional.interpolate(coarse, size=size, mode="bicubic")
        steps = nn.functional.interpolate(torch.randn(batch, 1, 9, 9, generator=draw), size=size, mode="nearest")
        noise = torch.randn(batch, modality.channels, *size, generator=draw)
        image = smooth + 0.7 * steps + 0.1 * noise
        images.append((image * 4).round().abs() if modality.role == "regions" else image)
    return tuple(images)


def aligns_corners(model: SegmentationModel, names: Sequence[str]) -> bool:
    """Whether a model's logits are to be upsampled so that their corners lie on the image's."""
    modalities = model.task.seeing(names)
    images = inputs_of(modalities, model.task.image_size, batch=1)
    with torch.no_grad():
        return bool(model({m.name: image for m, image in zip(modalities, images, strict=True)}).align_corners)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep what PyTorch tells its own developers, whole graphs at times, from the terminal, the log and warnings."""
    with warnings.catch_warnings(action="ignore"), ExitStack() as stack:
        for redirect in (contextlib.redirect_stdout, contextlib.redirect_stderr):
            stack.enter_context(redirect(io.StringIO()))
        logger = logging.getLogger("torch")
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.CRITICAL)
        yield


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "batch" in text and "pecializ" in text:
        return "one of its steps is for a fixed number of images"
    if "data-dependent" in text:
        return "the shape of one of its steps depends on the values of an image"
    return text[:200] or type(error).__name__


def graph_of(model: SegmentationModel, names: Sequence[str], size: Size) -> ExportedProgram:
    """Return the graph of a model; the model is prepared for predictions in place.

    Args:
        model: in float32, on the CPU.
        names: of the modalities that will be given, in the model's order.
        size: height and width, multiples of 32.

    Raises:
        SettingsError: what the model does cannot be said in a graph.
    """
    for_inference(model)
    modalities = model.task.seeing(names)
    batch = Dim("batch", min=1, max=LARGEST_BATCH)
    images = inputs_of(modalities, size, batch=2)
    fixed = Fixed(model, [modality.name for modality in modalities]).eval()
    try:
        with torch.no_grad(), quietly():
            return torch.export.export(
                fixed, images, dynamic_shapes={"images": tuple({0: batch} for _ in images)}, strict=False
            )
    except Exception as error:  # noqa: BLE001  of many kinds, none of which says this
        raise SettingsError(
            f"this model cannot be made a graph: {_reason(error)}",
            where=str(model.settings()["name"]),
            expected="a model whose steps do not depend on the values it computes",
            fix="use it through memorysam.load",
        ) from None
