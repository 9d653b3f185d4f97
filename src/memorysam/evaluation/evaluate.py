"""Scoring a model on a split: all of it, on all ranks, and by condition or whatever the samples are tagged with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from memorysam.config import EvaluateSettings
from memorysam.data.dataset import Sample, SegmentationDataset, Source, tag_values
from memorysam.data.loading import PATIENCE, Loader
from memorysam.data.skipping import Skips
from memorysam.data.transforms import CentreCrop, Resize
from memorysam.errors import DataError
from memorysam.evaluation.inference import probabilities
from memorysam.evaluation.metrics import ConfusionMatrix, Protocol, Scores
from memorysam.evaluation.perturb import Perturb
from memorysam.models.base import SegmentationModel
from memorysam.spec import Size

Progress = Callable[[int, int], None]
Look = Callable[[Sample, Tensor, Tensor], None]
"""Takes a sample, its prediction and its label `[H, W]`."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of one model on one split with one set of modalities."""

    scores: Scores
    by: dict[str, dict[str, Scores]]
    """Scores by tag and value, such as `by["condition"]["fog"]`."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the scores hold for: sensors (as `modalities`), split, image count, protocol, size, method, averaging."""

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON."""
        by = {tag: {value: scores.as_dict() for value, scores in values.items()} for tag, values in self.by.items()}
        return {**self.facts, **self.scores.as_dict(), "by": by}


def evaluate(
    model: SegmentationModel,
    source: Source,
    settings: EvaluateSettings,
    *,
    modalities: Sequence[str] | None = None,
    split: str = "",
    workers: int = 0,
    by: Sequence[str] = (),
    progress: Progress | None = None,
    perturb: Perturb | None = None,
    patience: float = PATIENCE,
    skip_share: float | None = None,
    look: Look | None = None,
) -> Evaluation:
    """Score a model on every labelled sample of a source.

    With several ranks, each scores its share and the counts are added up once: the result is that of one process.

    Args:
        model: on its device; it is put into evaluation mode and back.
        source: with labels, of the model's classes.
        settings: how to predict and score.
        modalities: subset that the model gets to see; all of its own by default. They keep the model's order, and
            maps of regions are always among them.
        split: name of the split, for the record.
        workers: processes that read.
        by: tags to score separately.
        progress: called with the number of samples done and their total.
        perturb: what is done to normalised samples before they are predicted; it gets those of one size in a batch.
        patience: seconds that a process may take to read a batch; 0 waits for ever.
        skip_share: of the samples may be left out if they cannot be read; `facts["skipped"]` lists them, added up over
            ranks. None: such a sample is an error.
        look: told of each sample that this rank scores.

    Raises:
        DataError: a sample without a label, any that cannot be read, or more of them than may be left out.
    """
    seen = model.task.seeing(modalities)
    way = {"resize": Resize, "centre": CentreCrop}.get(settings.method)
    transform = None if way is None else way(model.task.image_size, seen)
    device = next(model.parameters()).device
    rank, ranks = _rank()
    mine = range(rank, len(source.ids), ranks)
    batches = [list(mine[i : i + settings.batch_size]) for i in range(0, len(mine), settings.batch_size)]
    dataset = SegmentationDataset(source, seen, transform)
    skips = None if skip_share is None else Skips(len(source.ids), skip_share)
    loader: Loader[list[Sample]] = Loader(dataset, batches, list, workers, patience=patience, skips=skips)
    matrices = _Matrices(source, by, len(model.task.classes), device)
    was_training = model.training
    model.eval()
    done = 0
    try:
        for samples in loader:
            for whole in _same_size(samples):
                group = whole if perturb is None else perturb(whole)
                predictions, labels = predict_labelled(model, group, settings, device)
                for sample, prediction, label in zip(group, predictions, labels, strict=True):
                    matrices.add(sample.tags, prediction, label)
                    if look is not None:
                        look(sample, prediction, label)
            done += len(samples)
            if progress is not None:
                progress(min(done * ranks, len(source.ids)), len(source.ids))
    finally:
        model.train(was_training)
    if skips is not None:
        matrices.leave_out(_over_ranks(skips))
    facts: dict[str, Any] = {
        "modalities": [m.name for m in seen if m.role == "sensor"],
        "split": split,
        "images": matrices.total_images,
        "protocol": settings.protocol,
        "size": list(model.task.image_size),
        "method": settings.method,
        "scales": list(settings.scales),
        "flip": settings.flip,
        "precision": "bf16" if next(model.parameters()).dtype == torch.bfloat16 else "fp32",
    }
    if skips is not None:
        facts["skipped"] = skips.as_list()
    if model.task.regions:
        facts["regions"] = list(model.task.regions)
    return matrices.scores(model, settings.protocol, facts)


def predict_labelled(
    model: SegmentationModel, samples: Sequence[Sample], settings: EvaluateSettings, device: torch.device
) -> tuple[list[Tensor], list[Tensor]]:
    """Predict samples of one size; return class ids and labels `[H, W]` at the size at which the protocol scores.

    `paper`: the size that the network saw, the label resized to it (nearest). `strict`: the label's own size.
    """
    labels = [_label(sample).to(device) for sample in samples]
    images = {name: torch.stack([s.images[name] for s in samples]).to(device) for name in samples[0].images}
    size: Size = tuple(next(iter(images.values())).shape[-2:])  # type: ignore[assignment]
    if settings.protocol == "paper":
        labels = [resize_label(label, size) for label in labels]
    if len({label.shape for label in labels}) == 1:
        size = (labels[0].shape[0], labels[0].shape[1])
        return list(probabilities(model, images, size, settings).argmax(dim=1)), labels
    predictions = []
    for i, label in enumerate(labels):
        one = {name: image[i : i + 1] for name, image in images.items()}
        size = (label.shape[0], label.shape[1])
        predictions.append(probabilities(model, one, size, settings).argmax(dim=1)[0])
    return predictions, labels


def resize_label(label: Tensor, size: Size) -> Tensor:
    """Resize class ids `[H, W]` to `size` (nearest, pixel centres)."""
    if tuple(label.shape) == tuple(size):
        return label
    return F.interpolate(label[None, None].float(), size=size, mode="nearest-exact")[0, 0].long()


class _Matrices:
    """One confusion matrix for the whole split and one per tag value, in an order that all ranks share."""

    def __init__(self, source: Source, by: Sequence[str], classes: int, device: torch.device) -> None:
        values = tag_values(source)
        self.keys = [(tag, value) for tag in by for value in values.get(tag, [])]
        self.images = dict.fromkeys(self.keys, 0)
        for index in range(len(source.ids)):
            for key in source.tags(index).items():
                if key in self.images:
                    self.images[key] += 1
        self.total_images = len(source.ids)
        self._source = source
        self.total = ConfusionMatrix(classes, device)
        self.parts = {key: ConfusionMatrix(classes, device) for key in self.keys}

    def add(self, tags: Mapping[str, str], prediction: Tensor, label: Tensor) -> None:
        """Count one image."""
        self.total.add(prediction, label)
        for key in tags.items():
            if key in self.parts:
                self.parts[key].add(prediction, label)

    def leave_out(self, skips: Skips) -> None:
        """Do not count the images of samples that could not be read."""
        self.total_images -= len(skips.found)
        for index, sample in enumerate(self._source.ids):
            for key in self._source.tags(index).items() if sample in skips.found else ():
                if key in self.images:
                    self.images[key] -= 1

    def scores(self, model: SegmentationModel, protocol: Protocol, facts: dict[str, Any]) -> Evaluation:
        """Add up over ranks and turn counts into scores."""
        counts = torch.stack([self.total.counts, *(self.parts[key].counts for key in self.keys)])
        if _rank()[1] > 1:
            distributed.all_reduce(counts)
        arrays = counts.cpu().numpy().astype(np.int64)
        classes = model.task.classes
        by: dict[str, dict[str, Scores]] = {}
        for (tag, value), array in zip(self.keys, arrays[1:], strict=True):
            by.setdefault(tag, {})[value] = Scores(classes, protocol, self.images[tag, value], array)
        return Evaluation(Scores(classes, protocol, self.total_images, arrays[0]), by, facts)


def _same_size(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Group samples whose images can be stacked."""
    groups: dict[tuple[int, ...], list[Sample]] = {}
    for sample in samples:
        shape = tuple(next(iter(sample.images.values())).shape[-2:])
        groups.setdefault(shape, []).append(sample)
    return list(groups.values())


def _label(sample: Sample) -> Tensor:
    if sample.label is None:
        raise DataError(f"sample {sample.id!r} has no label to score against", fix="use predict for unlabelled images")
    return sample.label


def _over_ranks(skips: Skips) -> Skips:
    """List what all ranks left out; all of them raise if it is too much.

    Raises:
        DataError: more samples than may be left out.
    """
    _, ranks = _rank()
    if ranks > 1:
        lists: list[Any] = [None] * ranks
        distributed.all_gather_object(lists, skips.found)
        skips.found = {sample: what for found in lists for sample, what in found.items()}
        skips.require_few()
    return skips


def _rank() -> tuple[int, int]:
    """Return this process's rank and their number."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
