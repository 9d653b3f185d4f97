"""Numbers that are not finite: noticed before the step is taken, and told with where they come from."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from memorysam.data.dataset import Batch
from memorysam.errors import TrainingError, WeightsError, listing


def require_finite_weights(model: nn.Module, where: object) -> None:
    """Refuse to train weights that no step can mend.

    Args:
        model: as it starts.
        where: the weights come from.

    Raises:
        WeightsError: names the tensors.
    """
    tensors = model.state_dict()
    bad = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if bad:
        raise WeightsError(
            "these weights hold numbers that are not finite",
            where=f"{where}: {listing(bad)}",
            expected="finite weights; a run cannot leave them",
            fix="use another checkpoint, an earlier one of the run that diverged",
        )


class Buffers:
    """What a forward pass changes beside the gradients (prototypes, running statistics), so that it can be undone.

    Args:
        model: on its device.
    """

    def __init__(self, model: nn.Module) -> None:
        saved = model.state_dict(keep_vars=True)
        self._now = [tensor for tensor in saved.values() if not isinstance(tensor, nn.Parameter)]
        self._then: list[Tensor] = []

    def keep(self) -> None:
        """Remember them as they are."""
        self._then = [tensor.clone() for tensor in self._now]

    @torch.no_grad()
    def restore(self) -> None:
        """Put back what was kept."""
        for now, then in zip(self._now, self._then, strict=True):
            now.copy_(then)


def not_finite(
    step: int, facts: Mapping[str, float], ids: Sequence[str], batches: Sequence[Batch]
) -> TrainingError | None:
    """Return what to raise if a step's numbers are not all finite.

    Args:
        step: its number, from 1.
        facts: losses and the norm of the gradient, averaged over ranks: all of them see the same.
        ids: of all samples of the step.
        batches: what this rank has read of them.
    """
    if all(math.isfinite(value) for value in facts.values()):
        return None
    values = ", ".join(f"{name} {value:.4g}" for name, value in facts.items())
    inputs = [
        f"{name} of {sample}"
        for batch in batches
        for name, image in batch.images.items()
        for sample, fine in zip(batch.ids, _finite(image), strict=True)
        if not fine
    ]
    found = f"; the input is not finite: {listing(inputs)}" if inputs else ""
    return TrainingError(
        f"step {step} is not finite: {values}",
        where=f"samples {listing(ids, 16)}{found}",
        expected="finite losses and gradients; the step was not taken",
        fix="look at these samples with check-data, lower train.lr, set train.clip, or use precision fp32",
    )


def _finite(image: Tensor) -> list[bool]:
    return [bool(fine) for fine in image.isfinite().flatten(1).all(dim=1).tolist()]
