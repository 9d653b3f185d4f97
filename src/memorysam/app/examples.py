"""Scenes to begin with: of the data that are named, else of those that the model was trained on, else rendered ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from memorysam.app.session import Scene
from memorysam.config import DataSettings
from memorysam.data.catalog import SCENES, agree, open_dataset
from memorysam.data.dataset import Source
from memorysam.errors import DataError, MemorySAMError, listing
from memorysam.models.base import SegmentationModel
from memorysam.spec import Task

FEW = 24
"""Of a run's own validation split."""
_SMALLEST = 256
"""Pixels of the longer side of rendered scenes, at least: people look at them."""


@dataclass(frozen=True)
class Examples:
    """Samples of a split that fit a model."""

    title: str
    """Which data, for people."""
    source: Source
    names: tuple[str, ...]
    """Modalities that are read."""
    indices: tuple[int, ...]
    """Which samples."""

    @property
    def ids(self) -> list[str]:
        """Names of the samples."""
        return [self.source.ids[index] for index in self.indices]

    def scene(self, number: int) -> Scene:
        """Read the sample with that number, from 0.

        Raises:
            DataError: a file that cannot be read, or no such sample.
        """
        if not 0 <= number < len(self.indices):
            raise DataError(f"there is no example {number}", expected=f"from 0 to {len(self.indices) - 1}")
        raw = self.source.read(self.indices[number], self.names)
        return Scene(raw.id, raw.images, raw.label, raw.tags)


def named(
    task: Task, dataset: str, root: Path | None = None, split: str | None = None, data: DataSettings | None = None
) -> Examples:
    """Open examples that were asked for.

    Args:
        task: of the model.
        dataset: a dataset.yaml, or a name.
        root: folder of the data.
        split: which part; the validation split where there is one, else the last one.
        data: of the run, whose other settings are kept where it is about the same data set.

    Raises:
        MemorySAMError: nothing there, or nothing that fits the model.
    """
    if data is None or data.dataset != dataset:
        data = DataSettings(dataset=dataset)
    if root is not None:
        data = data.model_copy(update={"root": root})
    return _open(task, data, split, None)


def data_of(about: Mapping[str, Any]) -> DataSettings | None:
    """Return what a checkpoint says of the data that it was trained on."""
    found = (about.get("settings") or {}).get("data")
    return None if found is None else DataSettings(**found)


def of_run(model: SegmentationModel) -> tuple[Examples | None, str]:
    """Find examples for a model that nothing was said of.

    Returns:
        The examples, or None where nothing fits; and where they are from, or why there are none.
    """
    about = model.origin.about if model.origin is not None else {}
    reasons = []
    for settings in (data_of(about), DataSettings(dataset=SCENES)):
        if settings is None:
            continue
        try:
            examples = _open(model.task, settings, None, FEW)
            return examples, examples.title
        except (MemorySAMError, OSError) as error:
            reasons.append(str(error).splitlines()[0])
    return None, "no examples: " + "; ".join(reasons)


def _open(task: Task, data: DataSettings, split: str | None, few: int | None) -> Examples:
    larger = max(1, -(-_SMALLEST // max(task.image_size)))
    opened = open_dataset(data, (task.image_size[0] * larger, task.image_size[1] * larger))
    theirs = {modality.name for modality in opened.modalities}
    names = tuple(m.name for m in task.modalities if m.name in theirs or m.role == "regions")
    if not set(names) & set(task.sensors):
        raise DataError(
            f"the data set {opened.name!r} has none of the model's sensors",
            where=listing(sorted(theirs)),
            expected=listing(task.sensors),
        )
    agree(task, opened, names)
    part = split or _split(opened.splits, data.val_split)
    source = opened.source(part, names)
    return Examples(f"{opened.name}, {part}", source, names, _spread(len(source.ids), few))


def _split(splits: Sequence[str], usual: str) -> str:
    return usual if usual in splits else splits[-1]


def _spread(count: int, few: int | None) -> tuple[int, ...]:
    if few is None or count <= few:
        return tuple(range(count))
    return tuple(int(i) for i in np.linspace(0, count - 1, few).round())
