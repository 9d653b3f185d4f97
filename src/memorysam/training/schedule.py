"""The learning rate over time, and which parameters decay."""

from collections.abc import Callable

from torch import nn, optim


def warmup_poly(
    steps_per_epoch: int, epochs: int, warmup_epochs: float, warmup_ratio: float, power: float
) -> Callable[[int], float]:
    """Return the factor on the learning rate at each step: linear warm-up, then polynomial decay.

    The decay aims at zero one epoch after the last, as in the original: the last step still learns.
    """
    warmup = round(warmup_epochs * steps_per_epoch)
    total = max((epochs + 1) * steps_per_epoch, warmup + 1)

    def factor(step: int) -> float:
        if step < warmup:
            return warmup_ratio + (1 - warmup_ratio) * step / warmup
        return float((1 - min(1.0, (step - warmup) / (total - warmup))) ** power)

    return factor


def adamw(model: nn.Module, lr: float, weight_decay: float) -> optim.AdamW:
    """Return AdamW over what trains; one-dimensional parameters (biases, norms) do not decay."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return optim.AdamW([group for group in groups if group["params"]], lr=lr)
