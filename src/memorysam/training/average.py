"""A moving average of the weights: less noisy than those of any one step. Not in the original; off by default."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from memorysam.training.statistics import running_statistics


class WeightAverage:
    """Averages what trains of a model, and lends it to the model for scoring and for the best checkpoint.

    Running statistics of batch norms belong to the weights that they were taken with, and are averaged along.

    Args:
        model: whose parameters are averaged.
        decay: weight of the past; 0 for no average at all.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._parameters: dict[str, Tensor] = {}
        if decay:
            self._parameters |= {name: p for name, p in model.named_parameters() if p.requires_grad}
            self._parameters |= running_statistics(model)
        self.tensors: dict[str, Tensor] = {name: p.detach().clone() for name, p in self._parameters.items()}
        """The average, by the names of the parameters."""

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step number `step`, from 1; early steps, far from where it goes, weigh little."""
        weight = 1 - min(self.decay, step / (step + 10))
        for name, tensor in self.tensors.items():
            tensor.lerp_(self._parameters[name].detach(), weight)

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from a saved average; what it lacks begins at the weights as they are."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors.get(name, self._parameters[name]))

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Let the model have the average within the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, tensor in self.tensors.items():
            kept = self._parameters[name].detach().clone()
            self._parameters[name].copy_(tensor)
            tensor.copy_(kept)
