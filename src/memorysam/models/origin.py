"""What a loaded model remembers of its checkpoint: how it was trained, and how it scored, while that still holds."""

from dataclasses import dataclass
from typing import Any, Self

import torch

from memorysam.models.base import SegmentationModel
from memorysam.spec import Task

_WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_LASTING = ("base",)
"""What stays true of a model that was changed after loading: the name of the weights it may be compared with."""


@dataclass(frozen=True)
class Origin:
    """What a checkpoint of ours says besides its model, bound to the tensors and the task that it says it of."""

    about: dict[str, Any]
    task: Task
    mark: int

    @classmethod
    def of(cls, model: SegmentationModel, about: dict[str, Any], task: Task) -> Self:
        """Remember what a file says of a model that was just loaded from it.

        Args:
            model: loaded.
            about: the header of its file.
            task: that the file carries; the model may have been loaded for another.
        """
        return cls(about, task, _mark(model))

    def still_true(self, model: SegmentationModel) -> dict[str, Any]:
        """Return what of it holds for the model as it is now: next to nothing if it was trained on, say."""
        if model.task == self.task and _mark(model) == self.mark:
            return dict(self.about)
        weights = (self.about.get("settings") or {}).get("model", {}).get("weights")
        return {"settings": {"model": {"weights": weights}}, **{k: self.about[k] for k in _LASTING if k in self.about}}


def _mark(model: SegmentationModel) -> int:
    """Return a number that any training changes: the sum of all tensors' bits, read as whole numbers."""
    total = 0
    for tensor in model.state_dict().values():
        values = tensor.detach().cpu().contiguous().reshape(-1)
        total += int(values.view(_WHOLE[values.element_size()]).sum(dtype=torch.int64))
    return total
