"""Noise for what a model is shown, and what that looks like to people."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from memorysam.data.dataset import Sample
from memorysam.data.raw import Image
from memorysam.evaluation.perturb import Perturbation, without_gaussian
from memorysam.evaluation.pictures import Picture, as_picture
from memorysam.evaluation.robustness import Noise, noisy
from memorysam.models.base import SegmentationModel
from memorysam.spec import Modality


@dataclass(frozen=True)
class Level:
    """How much, as in the test NM of `evaluate --robustness strict`."""

    density: float = 0.0
    """Share of salt and pepper."""
    sigma: float = 0.0
    """Standard deviation of Gaussian noise, in units of normalised values; events get none."""
    seed: int = 0

    @property
    def none(self) -> bool:
        """Whether nothing is changed."""
        return self.density <= 0 and self.sigma <= 0


@contextmanager
def added(model: SegmentationModel, level: Level, scene: str) -> Iterator[dict[str, Tensor]]:
    """Let a model see noisy sensors within the block; yield what it was shown of them last, `[K, H, W]`.

    Args:
        model: called with a batch of one.
        level: how much.
        scene: its name; with the seed it decides all chance.
    """
    seen: dict[str, Tensor] = {}

    def disturb(_module: nn.Module, given: tuple[Mapping[str, Tensor]]) -> tuple[Mapping[str, Tensor]]:
        images = given[0]
        plain = {name: image[0].float().cpu() for name, image in images.items()}
        sensors = [name for name in images if name in model.task.sensors]
        condition = noisy(sensors, Noise("chosen", level.density, level.sigma))
        change = Perturbation(condition, "strict", level.seed, without_gaussian(sensors))
        (changed,) = change([Sample(plain, None, scene, {})])
        seen.update({name: changed.images[name] for name in sensors})
        return ({name: seen[name].to(image)[None] if name in seen else image for name, image in images.items()},)

    if level.none:
        yield seen
        return
    hook = model.register_forward_pre_hook(disturb)
    try:
        yield seen
    finally:
        hook.remove()


def picture_of(seen: Tensor, modality: Modality, stored: Image) -> Picture:
    """Show what a model sees of a sensor, `[K, H, W]`, as its stored values would be shown."""
    return as_picture(unnormalised(seen.numpy(), modality, stored), modality)


def unnormalised(values: NDArray[np.float32], modality: Modality, stored: Image) -> Image:
    """Undo the normalisation: `[K, H, W]` to `[H, W, K]` in the type of `stored`, the image that it was made from."""
    low, high = modality.range_of(stored.dtype)
    channels = values.shape[0]
    means, stds = (np.broadcast_to(np.asarray(v, np.float32), channels) for v in (modality.mean, modality.std))
    zero = np.full(channels, low) if modality.zero == "low" else np.median(stored, axis=(0, 1))
    image: Image = (np.moveaxis(values, 0, 2) * stds + means) * (high - low) + zero
    if stored.dtype.kind != "f":
        image = np.rint(np.clip(image, 0, np.iinfo(stored.dtype).max))
    restored: Image = image.astype(stored.dtype)
    return restored
