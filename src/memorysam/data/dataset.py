"""The only Dataset: a source of stored samples, a transform, and the way from stored values to tensors.

`Raw` (in `raw`) is what is stored (NumPy, `[H, W, K]`, stored values), `Sample` what a model sees (tensors,
`[K, H, W]`).
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils import data

from memorysam.data.raw import Image as Image
from memorysam.data.raw import Raw as Raw
from memorysam.data.values import normalised
from memorysam.spec import Classes, Modality


@dataclass(frozen=True)
class Sample:
    """One sample as a model sees it."""

    images: dict[str, Tensor]  # [K, H, W], float32, normalised
    label: Tensor | None  # [H', W'], int64
    id: str
    tags: dict[str, str]


@dataclass(frozen=True)
class Batch:
    """Samples of equal size, stacked."""

    images: dict[str, Tensor]  # [B, K, H, W]
    label: Tensor  # [B, H, W]
    ids: list[str]

    def to(self, device: torch.device) -> "Batch":
        """Move the tensors to a device, without waiting for it where memory is pinned."""
        images = {name: image.to(device, non_blocking=True) for name, image in self.images.items()}
        return replace(self, images=images, label=self.label.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Called by the data loader where a GPU is fed."""
        images = {name: image.pin_memory() for name, image in self.images.items()}
        return replace(self, images=images, label=self.label.pin_memory())


class Source(Protocol):
    """One split of a data set: where its samples are and what they are made of. Reading is left to `read`."""

    modalities: tuple[Modality, ...]
    classes: Classes
    ids: Sequence[str]
    """Unique names of the samples, in a fixed order."""

    def read(self, index: int, modalities: Sequence[str]) -> Raw:
        """Read the named modalities of a sample, and its label.

        Raises:
            DataError: a file that is missing, damaged, of another size, or holds an unknown value; the file is named.
        """

    def tags(self, index: int) -> dict[str, str]:
        """Return what is known of a sample without reading it."""


Key = tuple[int, int] | int
"""Epoch and index, or an index of the first epoch."""

Transform = Callable[[Raw, np.random.Generator], Raw]
"""Changes images and label together; all its chance comes from the generator."""


class SegmentationDataset(data.Dataset[Sample]):
    """Samples of a source for a model.

    It is indexed by `(epoch, index)`, so that a sample's augmentation depends on these two and the seed alone: not on
    the worker that happens to draw it, nor on what was drawn before. That is what makes resuming exact.

    Args:
        source: of stored samples.
        modalities: what the model takes, in its order; they may normalise differently from the source's own.
        transform: applied to the stored sample.
        seed: of all chance.
    """

    def __init__(
        self, source: Source, modalities: Sequence[Modality], transform: Transform | None = None, seed: int = 0
    ) -> None:
        self.source = source
        self.modalities = tuple(modalities)
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.source.ids)

    def __getitem__(self, key: Key) -> Sample:
        return self.sample(key, _place(key)[1])

    def sample(self, key: Key, index: int) -> Sample:
        """Return the sample `index` in the place of `key`: changed by the chance of that place."""
        epoch, place = _place(key)
        raw = self.source.read(index, [m.name for m in self.modalities])
        if self.transform is not None:
            raw = self.transform(raw, np.random.default_rng((self.seed, epoch, place)))
        return to_sample(raw, self.modalities)

    def in_place_of(self, key: Key) -> Iterator[int]:
        """Yield the sample of `key`, then those that may take its place: the ones after it in the split, in turn."""
        _, first = _place(key)
        yield from (index % len(self) for index in range(first, first + len(self)))

    def names(self, keys: Iterable[Key]) -> list[str]:
        """Return the ids of the samples of keys."""
        return [self.source.ids[_place(key)[1]] for key in keys]


def _place(key: Key) -> tuple[int, int]:
    return key if isinstance(key, tuple) else (0, key)


def to_sample(raw: Raw, modalities: Sequence[Modality]) -> Sample:
    """Normalise the stored values of each modality and turn everything into tensors."""
    images = {m.name: normalise(raw.images[m.name], m) for m in modalities if m.name in raw.images}
    label = None if raw.label is None else torch.from_numpy(raw.label.astype(np.int64))
    return Sample(images, label, raw.id, raw.tags)


def normalise(image: Image, modality: Modality) -> Tensor:
    """Turn stored values `[H, W, K]` into what a model sees: float32 `[K, H, W]`; see `values.normalised`."""
    return torch.from_numpy(normalised(image, modality))


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack labelled samples of one size."""
    images = {name: torch.stack([s.images[name] for s in samples]) for name in samples[0].images}
    labels = torch.stack([s.label for s in samples if s.label is not None])
    return Batch(images, labels, [s.id for s in samples])


def fingerprint(source: Source) -> str:
    """Return a short name of what a source holds: its samples, modalities and classes. Another list, another name."""
    digest = hashlib.sha256()
    for part in (*source.ids, *(m.model_dump_json() for m in source.modalities), source.classes.model_dump_json()):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:16]


def tag_values(source: Source) -> Mapping[str, list[str]]:
    """Return each tag's values, sorted."""
    values: dict[str, set[str]] = {}
    for index in range(len(source.ids)):
        for key, value in source.tags(index).items():
            values.setdefault(key, set()).add(value)
    return {key: sorted(found) for key, found in sorted(values.items())}
