"""What a run reads: the batches of each step, on all ranks or on none."""

from collections.abc import Callable
from types import TracebackType

import torch

from memorysam.config import RunSettings
from memorysam.data.dataset import Batch, SegmentationDataset, Source, collate
from memorysam.data.loading import Loader
from memorysam.data.skipping import Skips
from memorysam.data.transforms import TrainTransform
from memorysam.errors import MemorySAMError
from memorysam.spec import Modality
from memorysam.training.sampler import TrainSampler
from memorysam.training.together import nobody_failed


class Feed:
    """Batches in the order of a sampler, from its `start` on; a context manager, whose end is that of the readers.

    Args:
        source: of the training split.
        modalities: what the model takes.
        settings: of the run.
        sampler: whose samples are read.
        device: of this rank; batches come on the CPU.
        skipped: told the id of a sample that cannot be read and why, where the settings say that it is left out.
    """

    def __init__(
        self,
        source: Source,
        modalities: tuple[Modality, ...],
        settings: RunSettings,
        sampler: TrainSampler,
        device: torch.device,
        skipped: Callable[[str, str], None],
    ) -> None:
        data, train = settings.data, settings.train
        transform = TrainTransform(settings.model.image_size, settings.augment, modalities)
        dataset = SegmentationDataset(source, modalities, transform, train.seed)
        skips = None
        if data.on_bad == "skip":
            skips = Skips(len(source.ids), data.skip_share, replace=True, tell=skipped)
        pin = device.type == "cuda"
        self._loader: Loader[Batch] = Loader(dataset, sampler, collate, data.workers, pin, data.patience, skips)
        self._batches = iter(self._loader)
        self._passes, self._device = train.accumulate, device

    @property
    def waited(self) -> float:
        """Seconds spent waiting for data so far."""
        return self._loader.waited

    def read(self) -> list[Batch]:
        """Return what the forward passes of a step see.

        Raises:
            MemorySAMError: on all ranks, if a sample cannot be read on one of them.
        """
        batches: list[Batch] = []
        error = None
        try:
            batches.extend(next(self._batches) for _ in range(self._passes))
        except MemorySAMError as found:
            error = found
        nobody_failed(error, self._device)
        return batches

    def __enter__(self) -> "Feed":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batches.close()
