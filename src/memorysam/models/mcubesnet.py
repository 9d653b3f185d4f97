"""MCubeSNet: one DeepLab encoder per sensor, and filters chosen by region (Liang et al., CVPR 2022).

Shapes: `B` batch, `K` channels of a sensor, `C` classes, `D` width (256 as published), `N` filter responses, a multiple
of it (768), `R` regions, `h, w` = `H/4, W/4`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memorysam.models.base import Segmentation, SegmentationModel
from memorysam.models.deeplab import ASPP, BACKBONES, EXPANSION, Norm, ResNet, conv_norm, initialise, resize
from memorysam.spec import Task


@dataclass(frozen=True)
class Features:
    """What the model makes of one sensor."""

    low: Tensor  # [B, 4 * width, h, w], after the first stage
    high: Tensor  # [B, D, h/4, w/4], after ASPP


@dataclass(frozen=True)
class Selection:
    """Which filters were kept where."""

    regions: Tensor  # [R], the numbers of the regions, ascending
    filters: Tensor  # [B, R, D], ascending; of a region that an image lacks, they mean nothing
    features: Tensor  # [B, D, h, w], the responses that were kept


class MCubeSNet(SegmentationModel):
    """The method: raw channels of any number of sensors, and a map of regions that says where which filters count.

    Sensors are encoded each by itself. A sensor that is not given adds nothing, as if its features were zero; the
    released code does the same, but cannot do without RGB. A task without a map of regions has one region, the whole
    image. Numbers of regions may be any whole numbers: the choice of filters holds no weights of a region. (In the
    released code, pixels numbered beyond 9 get zeros.)

    Args:
        task: sensors, at most one map of regions, classes.
        backbone: name of the encoders' sizes.
        filters: filter responses for each that is kept.
    """

    PARTS = ("encoder", "decoder")
    """ASPP belongs to the decoder: the published recipe trains the two at ten times the encoders' learning rate."""
    FOLLOWS_CLASSES = re.compile(r"^decoder\.classifier\.")

    def __init__(self, task: Task, backbone: str = "resnet-101", *, filters: int = 3) -> None:
        super().__init__()
        self.task, self.backbone = task, backbone
        sizes = BACKBONES[backbone]
        sensors = {m.name: m.channels for m in task.modalities if m.role == "sensor"}
        self.encoders = nn.ModuleDict({name: ResNet(channels, sizes) for name, channels in sensors.items()})
        deepest = 8 * sizes.width * EXPANSION
        self.pools = nn.ModuleDict({name: ASPP(deepest, sizes.pooled) for name in sensors})
        low = sizes.width * EXPANSION
        self.decoder = Decoder(task.sensors, low, sizes.narrow, sizes.pooled, filters, len(task.classes))
        initialise(self)
        # ImageNet's weights are for colour: they fill one encoder, of the first sensor that has three channels.
        colour = next((name for name, channels in sensors.items() if channels == 3), "(no sensor of three channels)")
        self.BASE = (f"encoders.{colour}.",)

    def forward(self, images: Mapping[str, Tensor]) -> Segmentation:
        """Segment a batch: `{sensor: [B, K, H, W]}`, and the map of regions `[B, 1, H, W]` if the task has one."""
        self.check_input(images)
        # Always in the task's order, so that no sum depends on the order of a mapping.
        features = {name: self.encode(name, images[name]) for name in self.task.sensors if name in images}
        selection = self.decoder.select(features, self.regions(images))
        logits, last = self.decoder.classify(selection.features)
        return Segmentation(logits, last, dict(features), align_corners=True)

    def encode(self, name: str, image: Tensor) -> Features:
        """Encoder and ASPP of one sensor: `[B, K, H, W]`."""
        low, deep = self.encoders[name](image)
        return Features(low, self.pools[name](deep))

    def regions(self, images: Mapping[str, Tensor]) -> Tensor:
        """Return the map of regions at stride 4, `[B, h, w]`: the upper left pixel of each 4x4, or 0 everywhere."""
        found = [images[name] for name in self.task.regions]
        some = next(iter(images.values()))
        return (found[0] if found else torch.zeros_like(some))[:, 0, ::4, ::4].long()

    def part_of(self, name: str) -> str:
        """Return the part of a parameter."""
        return "encoder" if name.startswith("encoders.") else "decoder"

    def own_name(self, name: str) -> str:
        """Return the name here of a released tensor, whose sensors have the numbers 1 to 4."""

        def sensor(found: re.Match[str]) -> str:
            number = int(found[2]) - 1
            return found[1] + (self.task.sensors[number] if 0 <= number < len(self.task.sensors) else found[2])

        return re.sub(r"^((?:encoders|pools|decoder\.low|decoder\.high)\.)(\d+)(?=\.)", sensor, name)

    def recompute_activations(self, enabled: bool) -> None:
        """Trade time for memory in training: recompute the encoders' activations in the backward pass."""
        for module in self.encoders.modules():
            if isinstance(module, ResNet):
                module.recompute = enabled

    def settings(self) -> dict[str, object]:
        """Return the constructor's settings, for a checkpoint."""
        return {"name": "mcubesnet", "backbone": self.backbone, "filters": self.decoder.ratio}


class Decoder(nn.Module):
    """DeepLabV3+'s decoder with region-guided filter selection (RGFSConv).

    The released code concatenates the sensors' features before a convolution. Here each sensor has its own share of the
    kernel, by its name: what is not given is left out instead of being multiplied by zeros.

    Args:
        sensors: their names.
        low: channels of a sensor's features at stride 4.
        narrow: channels to which those of all sensors are brought.
        width: channels of a sensor's features at stride 16, and of what is kept (`D`).
        ratio: filter responses for each that is kept.
        classes: their number (`C`).
    """

    def __init__(self, sensors: tuple[str, ...], low: int, narrow: int, width: int, ratio: int, classes: int) -> None:
        super().__init__()
        self.width, self.ratio = width, ratio
        self.low = nn.ModuleDict({name: nn.Conv2d(low, narrow, 1, bias=False) for name in sensors})
        self.low_norm = Norm(narrow)
        responses = width * ratio
        self.high = nn.ModuleDict({name: nn.Conv2d(width, responses, 3, padding=1, bias=False) for name in sensors})
        self.narrow = nn.Conv2d(narrow, responses, 3, padding=1, bias=False)
        self.norm = Norm(width)
        self.refine = conv_norm(width, width, 3)
        self.classifier = nn.Conv2d(width, classes, 1)

    def select(self, features: Mapping[str, Features], regions: Tensor) -> Selection:
        """Filter all sensors' features, and keep for each region `[B, h, w]` the filters that respond most in it."""
        low = _filtered({name: found.low for name, found in features.items()}, self.low)
        low = F.relu(self.low_norm(low))
        high = {name: resize(found.high, low.shape[-2:]) for name, found in features.items()}
        return keep_most_active(_filtered(high, self.high) + self.narrow(low), regions, self.width)

    def classify(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, D, h, w]` to logits `[B, C, h, w]` and the features `[B, D, h, w]` that they are made of."""
        x = F.dropout(F.relu(self.norm(kept)), 0.5, self.training)
        last = self.refine(x)
        return self.classifier(F.dropout(last, 0.1, self.training)), last


def _filtered(inputs: Mapping[str, Tensor], convolutions: nn.ModuleDict) -> Tensor:
    """Return the sum of what each sensor's convolution makes of its features: one convolution of them all."""
    kernel = torch.cat([convolutions.get_parameter(f"{name}.weight") for name in inputs], dim=1)
    return F.conv2d(torch.cat(list(inputs.values()), dim=1), kernel, padding=kernel.shape[-1] // 2)


def keep_most_active(responses: Tensor, regions: Tensor, kept: int) -> Selection:
    """Keep, in each region of each image, the channels whose sum over the region is largest, in ascending order.

    Every pixel gets its own region's channels. The choice has no gradient, what is kept has. Sums are taken in float32
    whatever the responses are in: two filters that change places shift all channels between them.

    Args:
        responses: `[B, N, h, w]`, with their signs.
        regions: `[B, h, w]`, whole numbers.
        kept: number of channels (`D`), at most `N`.
    """
    places, device = regions.flatten(1), responses.device.type
    if regions.is_meta:  # only shapes are known, as when operations are counted: one region
        numbers, device = places.new_zeros(1), "cpu"
    else:
        numbers, places = torch.unique(places, return_inverse=True)  # [R], and [B, hw] from 0 to R - 1
    flat = responses.flatten(2)
    with torch.no_grad(), torch.autocast(device, enabled=False):
        inside = F.one_hot(places, len(numbers)).float()  # [B, hw, R]
        sums = flat.float() @ inside  # [B, N, R]
        filters = sums.topk(kept, dim=1).indices.sort(dim=1).values  # [B, D, R]
        chosen = filters.gather(2, places.unsqueeze(1).expand(-1, kept, -1))  # [B, D, hw]
    b, _, h, w = responses.shape
    return Selection(numbers, filters.transpose(1, 2), flat.gather(1, chosen).view(b, kept, h, w))
