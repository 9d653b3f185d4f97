"""MCubeSNet's released checkpoint, and ResNet-101's weights from ImageNet, as torchvision publishes them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from memorysam.models.deeplab import BACKBONES
from memorysam.models.formats.rules import rename
from memorysam.models.formats.translated import Translated

_BACKBONE = "resnet-101"
_SIZES = BACKBONES[_BACKBONE]
_SENSORS = 4
"""Colour, (sin, cos) of the angle of linear polarisation, its degree, near infrared."""
# MCubeSNet's names to ours, in which sensors have their numbers: the model knows what they are called in its task.
_RULES = (
    (r"^backbone(\d)\.", r"encoders.\1."),
    (r"^aspp(\d)\.aspp1\.atrous_conv\.", r"pools.\1.branches.0.0."),
    (r"^aspp(\d)\.aspp2\.atrous_conv\.", r"pools.\1.branches.1.0."),
    (r"^aspp(\d)\.aspp3\.atrous_conv\.", r"pools.\1.branches.2.0."),
    (r"^aspp(\d)\.aspp4\.atrous_conv\.", r"pools.\1.branches.3.0."),
    (r"^aspp(\d)\.aspp1\.bn\.", r"pools.\1.branches.0.1."),
    (r"^aspp(\d)\.aspp2\.bn\.", r"pools.\1.branches.1.1."),
    (r"^aspp(\d)\.aspp3\.bn\.", r"pools.\1.branches.2.1."),
    (r"^aspp(\d)\.aspp4\.bn\.", r"pools.\1.branches.3.1."),
    (r"^aspp(\d)\.global_avg_pool\.1\.", r"pools.\1.pooled.0."),
    (r"^aspp(\d)\.global_avg_pool\.2\.", r"pools.\1.pooled.1."),
    (r"^aspp(\d)\.conv1\.", r"pools.\1.project.0."),
    (r"^aspp(\d)\.bn1\.", r"pools.\1.project.1."),
    (r"^decoder\.bn1\.", "decoder.low_norm."),
    (r"^decoder\.last_conv\.0\.", "decoder.norm."),
    (r"^decoder\.last_conv\.3\.", "decoder.refine.0."),
    (r"^decoder\.last_conv\.4\.", "decoder.refine.1."),
    (r"^decoder\.last_conv\.7\.", "decoder.classifier."),
)
_LOW, _FILTERS = "decoder.conv1.weight", "decoder.condconv1.conv1.weight"
"""Kernels over the features of all sensors, one sensor's after the other's; ours are one each."""


def translate(state: Mapping[str, Tensor]) -> Translated | None:
    """Recognise a state dict and translate its names; None where it is none of these kinds."""
    if _LOW in state and _FILTERS in state:
        return _mcubesnet(state)
    # Of its relatives, only ResNet-101 has 23 blocks in the third stage.
    last, beyond = (f"layer3.{_SIZES.blocks[2] + more}.conv3.weight" for more in (-1, 0))
    return _imagenet(state) if "conv1.weight" in state and last in state and beyond not in state else None


def _imagenet(state: Mapping[str, Tensor]) -> Translated:
    """Names are ours; the classifier has no use, and files of old lack the counters of batch norm."""
    unused = [name for name in state if name in ("fc.weight", "fc.bias")]
    tensors = {name: tensor for name, tensor in state.items() if name not in unused}
    for name in [name for name in tensors if name.endswith(".running_mean")]:
        tensors.setdefault(name.replace("running_mean", "num_batches_tracked"), torch.zeros((), dtype=torch.int64))
    return Translated("ResNet (ImageNet)", "resnet", _BACKBONE, tensors, unused=unused)


def _mcubesnet(state: Mapping[str, Tensor]) -> Translated:
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name == _LOW:
            tensors |= _shares("low", tensor)
        elif name == _FILTERS:
            tensors |= _shares("high", tensor[:, : -_SIZES.narrow])
            tensors["decoder.narrow.weight"] = tensor[:, -_SIZES.narrow :]
        else:
            tensors[rename(name, _RULES)] = tensor
    classes = state.get("decoder.last_conv.7.weight")
    return Translated(
        "MCubeSNet (authors' release)",
        "resnet",
        _BACKBONE,
        tensors,
        masks=0 if classes is None else len(classes),
        system="mcubesnet",
        settings={"filters": max(1, len(state[_FILTERS]) // _SIZES.pooled)},
    )


def _shares(kind: str, kernel: Tensor) -> dict[str, Tensor]:
    """Cut a kernel over all sensors into one for each."""
    return {f"decoder.{kind}.{number}.weight": part for number, part in enumerate(kernel.chunk(_SENSORS, dim=1), 1)}
