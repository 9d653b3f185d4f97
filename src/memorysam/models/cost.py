"""What a model costs, counted: operations of a forward pass, and memory of a training step."""

from copy import deepcopy

import torch
from torch import Tensor, UntypedStorage
from torch.utils.flop_counter import FlopCounterMode

from memorysam.models.base import SegmentationModel
from memorysam.spec import Size


def forward_flops(model: SegmentationModel, size: Size | None = None, modalities: int | None = None) -> int:
    """Return the floating-point operations of one forward pass of one sample: two for each multiplication-addition.

    Matrix products, convolutions and attention are counted; norms, activations, resizing and FFTs are not.

    Args:
        model: of any system; it is left as it is.
        size: height and width of the images, multiples of 32; the model's own for None.
        modalities: how many of the sensors are shown, from the first on; all for None.
    """
    shadow = deepcopy(model).to("meta").eval()
    height, width = size or model.task.image_size
    shown = model.task.seeing(model.task.sensors[:modalities])
    images = {m.name: torch.empty(1, m.channels, height, width, device="meta") for m in shown}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shadow(images)
    return int(counter.get_total_flops())


def kept_for_backward(model: SegmentationModel, size: Size | None = None, batch: int = 2) -> int:
    """Return the bytes that one forward pass in training keeps for the backward pass, per sample, without the weights.

    Counted from what autograd saves, each storage once, so that it is the same on every machine.

    Args:
        model: of any system, on any device; all its sensors are shown.
        size: height and width of the images; the model's own for None.
        batch: of the pass. Batch normalisation wants more than one.
    """
    height, width = size or model.task.image_size
    device = next(model.parameters()).device
    images = {m.name: torch.zeros(batch, m.channels, height, width, device=device) for m in model.task.modalities}
    shadow = deepcopy(model).train()
    weights = {tensor.untyped_storage().data_ptr() for tensor in shadow.state_dict(keep_vars=True).values()}
    kept: dict[int, UntypedStorage] = {}  # holding the storages keeps their addresses from being used again

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        shadow(images)
    return sum(storage.nbytes() for storage in kept.values()) // batch
