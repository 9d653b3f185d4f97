import pytest
import torch

from memorysam.errors import SettingsError, WeightsError
from memorysam.models import weights

from .conftest import make_images


@pytest.fixture
def model(micro):
    return micro(2, name="cmx").eval()


@torch.no_grad()
def logits(model, images):
    return model(images).logits


@pytest.mark.parametrize("modalities", [1, 3, 4])
def test_it_is_for_two_sensors(micro, modalities):
    with pytest.raises(SettingsError, match=f"with {modalities} modalities") as error:
        micro(modalities, name="cmx")
    assert "expected: 2" in str(error.value)


def test_four_fused_levels(model):
    images = make_images(model.task, batch=2)
    with torch.no_grad():
        levels = model.levels(images)
    assert [tuple(level.shape) for level in levels] == [(2, 16, 16, 24), (2, 32, 8, 12), (2, 48, 4, 6), (2, 64, 2, 3)]
    assert torch.equal(logits(model, images), model.head(levels))


def test_each_sensor_has_its_own_encoder(model):
    assert list(model.encoders) == ["1_m0", "2_m1"]
    assert model.parts()["encoder"] == [*model.encoders["1_m0"].parameters(), *model.encoders["2_m1"].parameters()]
    images = make_images(model.task)
    before = logits(model, images)
    assert torch.equal(before, logits(model, dict(reversed(images.items())))), "the order of a mapping says nothing"
    exchanged = {"m0": images["m1"], "m1": images["m0"]}
    assert not torch.equal(before, logits(model, exchanged))


def test_a_missing_sensor_is_a_zero_image(model):
    images = make_images(model.task)
    for missing, there in (("m0", "m1"), ("m1", "m0")):
        zeros = {**images, missing: torch.zeros_like(images[missing])}
        assert torch.equal(logits(model, {there: images[there]}), logits(model, zeros))


def test_a_checkpoint_does_not_load_with_the_sensors_exchanged(model, tmp_path):
    path = tmp_path / "model.safetensors"
    weights.save(path, model)
    exchanged = model.task.model_copy(update={"modalities": model.task.modalities[::-1]})
    with pytest.raises(WeightsError, match=r"missing: encoders\.1_m1"):
        weights.load(path, exchanged)
