"""Any number of modalities and classes, at any size, for the smallest backbone of our own and for a real one."""

import itertools

import numpy as np
import pytest
import torch

from memorysam.config import ModelSettings
from memorysam.models.base import count
from memorysam.models.factory import create
from memorysam.models.sam2_sizes import BACKBONES
from memorysam.predict import Predictor

from .conftest import make_images, make_task

MODALITIES = range(1, 7)
CLASSES = (2, 20, 25, 40)
SIZES = ((256, 256), (512, 512), (384, 640))
# Each number, each class count and each size once or more; the large sizes with few modalities.
REAL = [
    (1, 40, (512, 512)),
    (2, 25, (384, 640)),
    (3, 2, (256, 256)),
    (4, 20, (256, 256)),
    (5, 25, (256, 256)),
    (6, 40, (256, 256)),
]
# Every modality count at every size; class counts take turns.
MICRO = [(m, c, size) for (m, size), c in zip(itertools.product(MODALITIES, SIZES), itertools.cycle(CLASSES))]


def name_of(value):
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def build(backbone, modalities, classes, size, **settings):
    task = make_task(modalities, classes, size)
    return create(ModelSettings(backbone=backbone, **settings), task, from_scratch=False)


def check(model, modalities, classes, size):
    with torch.no_grad():
        output = model.eval()(make_images(model.task))
    cells = (size[0] // 4, size[1] // 4)
    assert output.logits.shape == (1, classes, *cells)
    assert output.features.shape == (1, model.sam2.sizes.width // 8, *cells)
    assert list(output.frames) == [f"m{i}" for i in range(modalities)]
    assert torch.isfinite(output.logits).all()
    answers = [frame.masks.logits for frame in output.frames.values()]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(answers, 2)), "each frame says something else"
    assert torch.allclose(output.logits, torch.stack(answers).mean(dim=0), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("modalities", "classes", "size"), REAL, ids=name_of)
def test_a_real_backbone_takes_any_modalities_classes_and_size(modalities, classes, size):
    check(build("sam2.1-tiny", modalities, classes, size), modalities, classes, size)


@pytest.mark.parametrize(("modalities", "classes", "size"), MICRO, ids=name_of)
def test_micro_takes_any_modalities_classes_and_size(modalities, classes, size):
    check(build("micro", modalities, classes, size), modalities, classes, size)


def test_the_two_lists_leave_nothing_out():
    for cases in (REAL, MICRO):
        for position, values in enumerate((MODALITIES, CLASSES, SIZES)):
            assert {case[position] for case in cases} == set(values)


def test_an_image_of_1024x1224_is_answered_at_its_size():
    model = build("micro", 2, 20, (512, 640)).eval()
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 255, (1024, 1224, 3), np.uint8) for name in model.task.names}
    found = Predictor(model).predict(images)
    assert found.labels.shape == (1024, 1224)
    assert found.probabilities.shape == (20, 1024, 1224)


def on_paper(backbone, **settings):
    """A model without memory for its values: enough to count them."""
    with torch.device("meta"):
        return build(backbone, 4, 25, (1024, 1024), **settings)


def trainable(model):
    return {part: count([p for p in parameters if p.requires_grad]) for part, parameters in model.parts().items()}


@pytest.mark.parametrize("backbone", ["sam2-base-plus", "sam2.1-base-plus"])
def test_lora_at_base_plus_has_as_many_parameters_as_the_papers_release(backbone):
    model = on_paper(backbone)
    assert trainable(model)["lora"] == count(model.parts()["lora"]) == 165_760


@pytest.mark.parametrize("backbone", BACKBONES)
def test_lora_grows_with_its_rank_and_the_encoder_stays_frozen(backbone):
    four, eight, none = (trainable(on_paper(backbone, lora_rank=rank)) for rank in (4, 8, 0))
    assert eight["lora"] == 2 * four["lora"] > 0
    assert none["lora"] == 0
    assert four["encoder"] == four["heads"] == four["prompt"] == 0
    assert min(four["memory"], four["decoder"]) > 0
    assert {**four, "lora": 0} == {**eight, "lora": 0} == none
