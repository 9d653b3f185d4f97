import pytest
import torch

from memorysam.config import ModelSettings
from memorysam.errors import WeightsError
from memorysam.models import weights
from memorysam.models.factory import create

from .conftest import make_images, make_task


@pytest.fixture
def cmnext(micro):
    def build(modalities, **settings):
        return micro(modalities, name="cmnext", **settings).eval()

    return build


@torch.no_grad()
def logits(model, images):
    return model(images).logits


def test_alone_the_first_sensor_makes_a_plain_segformer(cmnext):
    model = cmnext(1)
    assert {name.split(".")[0] for name in model.state_dict()} == {"encoder", "head"}
    images = make_images(model.task)
    with torch.no_grad():
        expected = model.head(model.encoder(images["m0"]))
    assert torch.equal(logits(model, images), expected)


def test_features_and_logits_are_made_of_four_fused_levels(cmnext):
    model = cmnext(4)
    images = make_images(model.task, batch=2)
    with torch.no_grad():
        levels, output = model.levels(images), model(images)
    widths = model.encoder.sizes.widths
    assert [level.shape for level in levels] == [(2, w, 16 >> i, 24 >> i) for i, w in enumerate(widths)]
    assert torch.equal(output.features, model.head.embed(levels))
    assert torch.equal(output.logits, model.head(levels))


def test_a_missing_first_sensor_is_a_zero_image(cmnext):
    model = cmnext(3)
    images = make_images(model.task)
    without = {name: image for name, image in images.items() if name != "m0"}
    assert torch.equal(logits(model, without), logits(model, {**images, "m0": torch.zeros_like(images["m0"])}))


def test_missing_further_sensors_are_left_out_while_one_is_there(cmnext):
    model = cmnext(4)
    images = make_images(model.task)
    some = {name: images[name] for name in ("m0", "m2")}
    zeros = {**images, "m1": torch.zeros_like(images["m1"]), "m3": torch.zeros_like(images["m3"])}
    assert not torch.equal(logits(model, some), logits(model, zeros))
    seen = []
    model.parallel[0].register_forward_pre_hook(lambda _, inputs: seen.append(list(inputs[0])))
    logits(model, some)
    assert seen == [["m2"]]


def test_without_further_sensors_all_are_zero_images(cmnext):
    model = cmnext(4)
    images = make_images(model.task)
    zeros = {name: image if name == "m0" else torch.zeros_like(image) for name, image in images.items()}
    assert torch.equal(logits(model, {"m0": images["m0"]}), logits(model, zeros))


def test_the_order_in_which_sensors_are_given_does_not_matter(cmnext):
    model = cmnext(4)
    images = make_images(model.task)
    assert torch.equal(logits(model, images), logits(model, dict(reversed(images.items()))))


@pytest.mark.parametrize(("modalities", "differ"), [(1, False), (2, False), (3, True)])
def test_scrambled_tokens_matter_with_two_further_sensors_or_more(cmnext, modalities, differ):
    plain, scrambled = (cmnext(modalities, scrambled_tokens=on) for on in (False, True))
    scrambled.load_state_dict(plain.state_dict())
    images = make_images(plain.task)
    assert torch.equal(logits(plain, images), logits(scrambled, images)) != differ
    assert [m.settings()["scrambled_tokens"] for m in (plain, scrambled)] == [False, True]


def test_scrambling_moves_values_and_changes_none(cmnext):
    model = cmnext(3, scrambled_tokens=True)
    x = torch.randn(2, 6, 4, 5)
    onward = model._onward(x, torch.zeros_like(x))
    assert onward.shape == x.shape
    assert not torch.equal(onward, x)
    assert torch.equal(onward.flatten(1).sort().values, x.flatten(1).sort().values)


def test_a_checkpoint_does_not_load_with_the_sensors_exchanged(cmnext, tmp_path):
    model = cmnext(3)
    path = tmp_path / "model.safetensors"
    weights.save(path, model)
    exchanged = model.task.model_copy(update={"modalities": model.task.modalities[::-1]})
    with pytest.raises(WeightsError, match="norms"):
        weights.load(path, exchanged)
    further = model.task.model_copy(update={"modalities": tuple(model.task.modalities[i] for i in (0, 2, 1))})
    again, _ = weights.load(path, further)
    images = make_images(model.task)
    assert torch.equal(logits(model, images), logits(again.eval(), images)), "further sensors have names, not numbers"


def test_parts_that_join_the_sensors_can_be_frozen():
    model = create(ModelSettings(name="cmnext", backbone="micro", train={"encoder": False}), make_task(3))
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"parallel", "rectify", "fuse", "head"}
