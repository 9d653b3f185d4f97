"""Published checkpoint formats: their names of tensors, translated to this package's; one file per family.

Nothing is guessed: a tensor is translated, or named as unused with its reason, or left over as unexpected.
"""

from collections.abc import Callable, Mapping

from torch import Tensor

from memorysam.models.formats import mcubesnet, mit, sam, sam2
from memorysam.models.formats.translated import Translated

_FAMILIES: tuple[Callable[[Mapping[str, Tensor]], Translated | None], ...] = (
    sam2.translate,
    sam.translate,
    mcubesnet.translate,
    mit.translate,
)
KNOWN = (
    "SAM2 (Meta .pt or transformers), the MemorySAM release, SAM (Meta .pth or transformers), SAMed, CWSAM, "
    "MCubeSNet, ResNet-101 (torchvision), MiT (.pth or transformers), CMNeXt, CMX"
)
"""For people."""


def translate(state: Mapping[str, Tensor]) -> Translated | None:
    """Recognise a state dict and translate its names; None where it is none of the known kinds."""
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}  # saved from inside DDP
    for translated in _FAMILIES:
        found = translated(state)
        if found is not None:
            return found
    return None
