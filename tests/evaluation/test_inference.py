import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from memorysam.config import EvaluateSettings
from memorysam.evaluation.inference import in_windows, pad, probabilities
from memorysam.models.base import Segmentation, SegmentationModel
from memorysam.spec import Modality, Task, as_classes


class PixelModel(SegmentationModel):
    """Its logits at a place are the image's average over the 4x4 pixels there: it sees nothing else."""

    PARTS = ("all",)

    def __init__(self, size=(64, 64)):
        super().__init__()
        names = as_classes(["a", "b", "c"])
        self.task = Task(modalities=(Modality(name="x"),), classes=names, image_size=size)
        self.unused = nn.Parameter(torch.zeros(1))
        self.calls = []

    def forward(self, images):
        self.check_input(images)
        self.calls.append(tuple(images["x"].shape[-2:]))
        logits = F.avg_pool2d(images["x"], 4)
        return Segmentation(logits, logits)

    def part_of(self, name):
        return "all"

    def settings(self):
        return {}


def blocks(height, width):
    """An image that is constant over blocks of 32 pixels."""
    coarse = torch.randn(2, 3, height // 32 + 1, width // 32 + 1) * 3
    return F.interpolate(coarse, scale_factor=32, mode="nearest")[..., :height, :width]


@pytest.mark.parametrize("size", [(64, 64), (100, 130), (33, 200), (1024, 1224)])
@pytest.mark.parametrize("method", ["native", "windows"])
def test_answer_has_the_size_asked_for(size, method):
    found = probabilities(PixelModel(), {"x": torch.randn(1, 3, *size)}, size, EvaluateSettings(method=method))
    assert found.shape == (1, 3, *size)
    assert torch.allclose(found.sum(dim=1), torch.ones(1, *size), atol=1e-5)


def test_windows_say_what_the_whole_says_where_context_does_not_matter():
    image = blocks(224, 320)
    model = PixelModel()
    whole = probabilities(model, {"x": image}, (224, 320), EvaluateSettings(method="native"))
    tiled = in_windows(model, {"x": image}, (64, 64), 0.5)
    # Bilinear upsampling looks one cell across a window's edge, where windows overlap with low weight.
    assert (tiled.argmax(1) == whole.argmax(1)).float().mean() > 0.99
    assert (tiled - whole).abs().mean() < 0.01


def test_every_pixel_is_covered_and_windows_overlap():
    model = PixelModel()
    in_windows(model, {"x": torch.randn(1, 3, 100, 200)}, (64, 64), 0.25)
    assert set(model.calls) == {(64, 64)}
    assert len(model.calls) == 2 * 4


def test_small_images_are_padded_for_windows():
    model = PixelModel()
    assert in_windows(model, {"x": torch.randn(1, 3, 20, 30)}, (64, 64), 0.25).shape == (1, 3, 20, 30)
    assert model.calls == [(64, 64)]


def test_flip_gives_the_same_for_a_model_that_does_not_care():
    image = {"x": torch.randn(1, 3, 64, 96)}
    plain = probabilities(PixelModel(), image, (64, 96), EvaluateSettings(method="native"))
    flipped = probabilities(PixelModel(), image, (64, 96), EvaluateSettings(method="native", flip=True))
    assert torch.allclose(plain, flipped, atol=1e-5)


def test_flip_mirrors_back():
    class Left(PixelModel):
        def forward(self, images):
            out = super().forward(images)
            ramp = torch.linspace(0, 5, out.logits.shape[-1]).expand_as(out.logits[:, :1])
            return Segmentation(torch.cat([ramp, -ramp, ramp * 0], dim=1), out.features)

    found = probabilities(
        Left(), {"x": torch.zeros(1, 3, 64, 64)}, (64, 64), EvaluateSettings(method="native", flip=True)
    )
    assert torch.allclose(found, found.flip(-1), atol=1e-5)


def test_scales_are_multiples_of_32_and_averaged():
    model = PixelModel()
    settings = EvaluateSettings(method="native", scales=(0.5, 1.0, 1.3), flip=True)
    found = probabilities(model, {"x": blocks(128, 192)}, (128, 192), settings)
    assert model.calls == list(itertools.chain(*[[s, s] for s in [(64, 96), (128, 192), (160, 256)]]))
    assert torch.allclose(found.sum(dim=1), torch.ones(2, 128, 192), atol=1e-5)


class GuidedModel(PixelModel):
    """Notes which numbers of regions it is shown; its answer at a place is the number there."""

    def __init__(self, size=(64, 64)):
        super().__init__(size)
        modalities = (Modality(name="x"), Modality(name="map", role="regions"))
        self.task = self.task.model_copy(update={"modalities": modalities})
        self.seen = set()

    def forward(self, images):
        self.check_input(images)
        self.calls.append(tuple(images["x"].shape[-2:]))
        self.seen |= set(images["map"].unique().tolist())
        logits = 20 * F.one_hot(images["map"][:, 0, ::4, ::4].long() // 7, 3).permute(0, 3, 1, 2).float()
        return Segmentation(logits, logits)


@pytest.mark.parametrize("method", ["native", "windows"])
def test_numbers_of_regions_stay_whole_at_every_scale_mirrored_in_windows_and_at_padded_edges(method):
    regions = torch.zeros(1, 1, 80, 144)
    regions[..., 48:] = 7  # 7, 14 and 0 are as far apart as they can be: a mixture would be another number
    regions[:, :, 40:, 96:] = 14
    model = GuidedModel()
    settings = EvaluateSettings(method=method, scales=(0.5, 1.0, 1.5), flip=True)
    found = probabilities(model, {"x": torch.randn(1, 3, 80, 144), "map": regions}, (80, 144), settings)
    assert model.seen == {0, 7, 14}
    assert (found.argmax(dim=1) == regions[0] // 7).float().mean() > 0.9


def test_pad_repeats_the_edge():
    padded, size = pad({"x": torch.arange(12.0).reshape(1, 1, 3, 4)})
    assert size == (3, 4)
    assert padded["x"].shape == (1, 1, 32, 32)
    assert (padded["x"][0, 0, 3:, 3:] == 11).all()
