"""What takes the steps: which parameters decay, and how fast each part of the model learns."""

from collections import defaultdict

from torch import nn, optim

from memorysam.config import TrainSettings
from memorysam.errors import SettingsError, did_you_mean, listing
from memorysam.models.base import SegmentationModel

FACTOR = "lr_factor"
"""Key of a group of parameters: what the learning rate of a step is multiplied by for it."""


def optimizer_of(model: SegmentationModel, options: TrainSettings) -> optim.Optimizer:
    """Return the optimizer of what trains; one-dimensional parameters (biases, norms) do not decay.

    Args:
        model: with what shall not train frozen.
        options: which optimizer, its learning rate by part, its decay.

    Raises:
        SettingsError: a factor for a part that the model does not have, or of which nothing trains.
    """
    factors = _factors(model, options.lr_factors)
    chosen: dict[tuple[float, bool], list[nn.Parameter]] = defaultdict(list)
    for parameter in model.parameters():
        if parameter.requires_grad:
            chosen[factors.get(id(parameter), 1.0), parameter.ndim > 1].append(parameter)
    groups = [
        {"params": parameters, "weight_decay": options.weight_decay if decays else 0.0, FACTOR: factor}
        for (factor, decays), parameters in chosen.items()
    ]
    if options.optimizer == "sgd":
        return optim.SGD(groups, lr=options.lr, momentum=options.momentum)
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    return optim.AdamW(groups, lr=options.lr, fused=True if on_cpu else None)  # on the CPU one pass, four times faster


def set_rate(optimizer: optim.Optimizer, rate: float) -> None:
    """Give every group of parameters the learning rate of a step, times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group[FACTOR]


def _factors(model: SegmentationModel, wanted: dict[str, float]) -> dict[int, float]:
    """Return the factor of every parameter of a part that has one, by the parameter's identity."""
    parts = model.parts()
    trained = [part for part, parameters in parts.items() if any(p.requires_grad for p in parameters)]
    for part in wanted:
        if part not in trained:
            raise SettingsError(
                f"nothing of the part {part!r} trains" if part in parts else f"the model has no part {part!r}",
                where="train.lr_factors",
                expected=f"one that trains: {listing(trained)}",
                fix="leave it out, or see model.train" if part in parts else did_you_mean(part, trained),
            )
    return {id(parameter): factor for part, factor in wanted.items() for parameter in parts[part]}
