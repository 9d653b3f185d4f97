"""What missing and noisy sensors look like: pure functions of normalised images and a generator (arXiv 2503.18445).

Two variants. `paper` is what the benchmark's published code does: element by element, over the whole batch at once.
`strict` treats each image by itself, pixel by pixel in all channels at once, with chance that depends on the seed, the
image's id and the sensor alone: numbers do not depend on how images are put into batches, and a pixel that is lost at a
small share is also lost at a larger one.

Shapes: a batch `[B, K, H, W]`, an image `[K, H, W]`, all of them normalised.
"""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from math import ceil

import torch
from torch import Tensor

from memorysam.data.dataset import Sample
from memorysam.evaluation.robustness import Condition, Noise, Variant

Perturb = Callable[[Sequence[Sample]], list[Sample]]
"""Changes the images of samples of one size, which are predicted together."""


def generator(*key: object) -> torch.Generator:
    """Return a generator whose numbers depend on `key` alone, on every machine."""
    digest = hashlib.sha256("\0".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))


def lose_elements(batch: Tensor, share: float, chance: torch.Generator) -> Tensor:
    """Set each element to 0 with probability `share`, channels apart (`paper`)."""
    lost = torch.rand(batch.shape, generator=chance) < share
    return batch.masked_fill(lost, 0.0)


def lose_pixels(image: Tensor, share: float, chance: torch.Generator) -> Tensor:
    """Set each pixel to 0 with probability `share`, in all channels (`strict`)."""
    lost = torch.rand(image.shape[-2:], generator=chance) < share
    return image.masked_fill(lost, 0.0)


def salt_and_pepper_elements(batch: Tensor, density: float, chance: torch.Generator) -> Tensor:
    """Set elements to the largest, then others to the smallest value of the whole batch (`paper`).

    Half of `density` times the number of elements are drawn each time, rounded up, with replacement: some are drawn
    twice, and pepper may fall on salt.
    """
    count = ceil(density * batch.numel() * 0.5)
    noisy = batch.clone()
    for value in (batch.max(), batch.min()):
        places = tuple(torch.randint(side, (count,), generator=chance) for side in batch.shape)
        noisy[places] = value
    return noisy


def salt_and_pepper_pixels(image: Tensor, density: float, chance: torch.Generator) -> Tensor:
    """Set pixels, with probability `density`, to the largest or to the smallest value of each channel (`strict`)."""
    drawn = torch.rand(image.shape[-2:], generator=chance)
    largest, smallest = (image.flatten(1).amax(1), image.flatten(1).amin(1))
    salted = torch.where(drawn < density / 2, largest[:, None, None], image)
    return torch.where(drawn >= 1 - density / 2, smallest[:, None, None], salted)


def gaussian(images: Tensor, sigma: float, chance: torch.Generator) -> Tensor:
    """Add noise of standard deviation `sigma` to every element; nothing is clipped."""
    return images + sigma * torch.randn(images.shape, generator=chance)


def without_gaussian(sensors: Sequence[str]) -> tuple[str, ...]:
    """Return the sensors that get no Gaussian noise unless others are named: those with `event` in their names."""
    return tuple(name for name in sensors if "event" in name)


@dataclass(frozen=True)
class Perturbation:
    """One condition as something that can be done to samples. Maps of regions are left alone.

    Args:
        condition: which.
        variant: whose rules.
        seed: of all chance.
        spared: sensors that get no Gaussian noise.
    """

    condition: Condition
    variant: Variant
    seed: int = 0
    spared: Collection[str] = ()

    def __call__(self, samples: Sequence[Sample]) -> list[Sample]:
        """Return the samples with other images; those given stay as they are."""
        if self.condition.harmless:
            return list(samples)
        if self.variant == "strict":
            return [replace(sample, images=self._one(sample)) for sample in samples]
        return self._batch(samples)

    def _one(self, sample: Sample) -> dict[str, Tensor]:
        condition = self.condition
        images = dict(sample.images)
        if condition.part == "emm":
            return {name: image for name, image in images.items() if name not in condition.absent}
        for name in condition.absent:
            images[name] = lose_pixels(images[name], condition.loss, self._chance("loss", sample.id, name))
        if condition.noise is not None:
            for name in condition.present:
                images[name] = self._noisy(images[name], name, condition.noise, sample.id)
        return images

    def _noisy(self, image: Tensor, name: str, noise: Noise, sample: str) -> Tensor:
        image = salt_and_pepper_pixels(image, noise.density, self._chance("salt", sample, name))
        if name in self.spared:
            return image
        return gaussian(image, noise.sigma, self._chance("gaussian", sample, name))

    def _batch(self, samples: Sequence[Sample]) -> list[Sample]:
        condition = self.condition
        chance = self._chance(condition.name, *(sample.id for sample in samples))
        changed: dict[str, Tensor] = {}
        for name in condition.absent:
            batch = torch.stack([sample.images[name] for sample in samples])
            emm = condition.part == "emm"
            changed[name] = torch.zeros_like(batch) if emm else lose_elements(batch, condition.loss, chance)
        if condition.noise is not None:
            for name in condition.present:  # salt and pepper for all, then Gaussian noise for all
                batch = torch.stack([sample.images[name] for sample in samples])
                changed[name] = salt_and_pepper_elements(batch, condition.noise.density, chance)
            for name in condition.present:
                if name not in self.spared:
                    changed[name] = gaussian(changed[name], condition.noise.sigma, chance)
        return [
            replace(sample, images={n: changed[n][i] if n in changed else image for n, image in sample.images.items()})
            for i, sample in enumerate(samples)
        ]

    def _chance(self, *key: object) -> torch.Generator:
        return generator(self.variant, self.seed, *key)
