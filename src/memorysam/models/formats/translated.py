"""What a published file turns into: its tensors under this package's names."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Translated:
    """A state dict under our names."""

    kind: str
    """What it is, for people."""
    family: str
    """Of its backbone: sam2, sam, mit or resnet."""
    backbone: str
    tensors: dict[str, Tensor]
    """By the names they have in the whole model, or, for weights of a backbone alone, within the backbone's module."""
    masks: int = 0
    """Number of classes or masks that the file's head has; 0 for a backbone without one."""
    unused: list[str] = field(default_factory=list)
    """Tensors that no method here has a use for."""
    system: str | None = None
    """The system whose whole model this is; None for weights of a backbone, from which training starts."""
    settings: dict[str, object] = field(default_factory=dict)
    """Of the model, what the file fixes."""
