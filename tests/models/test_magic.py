import math

import pytest
import torch

from memorysam.config import ModelSettings
from memorysam.models import weights
from memorysam.models.base import Segmentation, count
from memorysam.models.factory import create
from memorysam.models.magic import Aggregation, Selection, divergence, right_pixels_loss
from memorysam.training.objective import training_loss

from .conftest import make_images, make_task


@pytest.fixture
def magic(micro):
    def build(modalities, **settings):
        return micro(modalities, name="magic", drop_path=0.0, dropout=0.0, **settings).train()

    return build


def labels_of(task, batch=2):
    return torch.randint(0, len(task.classes), (batch, *task.image_size))


def losses_of(model, images=None):
    torch.manual_seed(3)
    return model.training_losses(model(images or make_images(model.task, batch=2)), labels_of(model.task))


def test_published_number_of_parameters_at_inference():
    with torch.device("meta"):
        model = create(ModelSettings(name="magic", backbone="mit-b2"), make_task(4, 25))
    used = count([p for name, p in model.named_parameters() if not name.startswith("selection.")])
    assert abs(used / 24.73e6 - 1) < 0.005


@torch.no_grad()
def test_a_sensor_given_twice_counts_as_once():
    """The aggregate does not grow with the number of sensors."""
    aggregate = Aggregation(16)
    one = torch.randn(1, 2, 16, 8, 8)
    assert torch.allclose(aggregate(one), aggregate(torch.cat([one, one])), atol=1e-6)
    assert aggregate(one).shape == (2, 16, 8, 8)


@pytest.mark.parametrize(
    ("modalities", "names"), [(1, set()), (2, {"selection"}), (3, {"selection"}), (4, {"selection", "consistency"})]
)
def test_losses_by_number_of_sensors(magic, modalities, names):
    losses = losses_of(magic(modalities))
    assert losses.keys() == names
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())


def test_weights_scale_the_losses_and_zero_switches_them_off(magic):
    once = losses_of(magic(4))
    scaled = losses_of(magic(4, selection_weight=0.5, consistency_weight=3.0))
    assert scaled["selection"].item() == pytest.approx(0.5 * once["selection"].item(), rel=1e-5)
    assert scaled["consistency"].item() == pytest.approx(3.0 * once["consistency"].item(), rel=1e-5)
    assert losses_of(magic(4, selection_weight=0.0)).keys() == {"consistency"}
    assert losses_of(magic(4, consistency_weight=0.0)).keys() == {"selection"}
    off = magic(4, selection_weight=0.0, consistency_weight=0.0)
    assert off(make_images(off.task)).frames == {}
    assert losses_of(off) == {}


def test_a_subset_in_training_keeps_the_names_of_the_losses(magic):
    """Processes add losses up by name, whatever each has seen."""
    model = magic(4)
    images = make_images(model.task, batch=2)
    three = losses_of(model, {name: images[name] for name in ("m0", "m2", "m3")})
    assert three["selection"] > 0
    assert three["consistency"] == 0
    alone = losses_of(model, {"m1": images["m1"]})
    assert alone.keys() == three.keys()
    assert not any(alone.values())


def test_the_best_and_the_worst_of_each_sample_are_chosen(magic):
    model = magic(4)
    levels = [torch.randn(3, width, 8, 8) for width in model.encoder.sizes.widths]
    likeness = torch.tensor([[0.9, -0.5, 0.1], [0.2, 0.8, -0.9], [0.5, 0.0, 0.7], [-0.1, 0.3, 0.3]])  # [M, B]
    features = []
    for level in levels:
        across = torch.randn_like(level)
        unit, across = level / level.norm(dim=1, keepdim=True), across / across.norm(dim=1, keepdim=True)
        across = across - (across * unit).sum(dim=1, keepdim=True) * unit
        across = across / across.norm(dim=1, keepdim=True)
        weight = likeness[:, :, None, None, None]
        features.append(weight * unit + (1 - weight**2).sqrt() * across)
    selection = model.select(features, levels)
    assert selection.chosen.tolist() == [[0, 1, 2], [3, 0, 1]]
    assert selection.logits.shape == (3, 5, 8, 8)
    assert [tuple(level.shape) for level in selection.correlations] == [(2, 3, 64)] * 4
    # The similarity of each of the others is the same everywhere: so are their distributions.
    assert all(torch.allclose(level.exp(), torch.tensor(1 / 64), atol=1e-5) for level in selection.correlations)


def test_only_pixels_where_the_prediction_is_right_teach_the_selection():
    prediction = torch.zeros(1, 3, 2, 2)
    prediction[0, 1] = 5.0  # class 1 everywhere
    labels = torch.tensor([[[1, 0], [1, 255]]])
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = right_pixels_loss(logits, Segmentation(prediction, prediction), labels)
    expected = -logits.log_softmax(dim=1)[0, 1, :, 0].mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    assert (logits.grad[..., 0].abs().sum(dim=1) > 0).all()
    assert not logits.grad[..., 1].any()


def test_where_nothing_is_right_the_selection_learns_nothing():
    prediction, logits = torch.zeros(1, 3, 2, 2), torch.randn(1, 3, 2, 2, requires_grad=True)
    prediction[0, 1] = 5.0
    loss = right_pixels_loss(logits, Segmentation(prediction, prediction), torch.full((1, 2, 2), 2))
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


def test_divergence():
    same = torch.randn(2, 10).log_softmax(dim=-1)
    assert divergence(torch.stack([same, same, same])).item() == pytest.approx(0, abs=1e-6)
    apart = torch.full((2, 1, 10), -100.0)
    apart[0, 0, 0] = apart[1, 0, 1] = 100.0
    assert divergence(apart.log_softmax(dim=-1)).item() == pytest.approx(math.log(2), rel=1e-4)
    assert divergence(torch.randn(3, 2, 10).log_softmax(dim=-1)) > 0


def test_consistency_teaches_the_encoder_and_leaves_the_aggregate_as_it_is(magic):
    model = magic(4, selection_weight=0.0)
    losses_of(model)["consistency"].backward()
    taught = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert taught == {"encoder"}


def test_selection_does_not_count_in_the_heads_statistics(magic):
    found = []
    for weight in (0.0, 1.0):
        model = magic(3, selection_weight=weight)
        torch.manual_seed(4)
        model(make_images(model.task, batch=2))
        assert model.head.norm.momentum == 0.1
        found.append(model.head.norm.running_mean)
    assert found[0].any()
    assert torch.equal(*found)


@pytest.mark.parametrize(
    ("modalities", "settings", "selects"),
    [
        (1, {}, False),
        (2, {}, True),
        (4, {}, True),
        (4, {"selection_weight": 0.0}, False),
        (4, {"consistency_weight": 0.0}, True),
    ],
)
def test_what_shall_train_is_reached_by_a_loss(magic, modalities, settings, selects):
    model = magic(modalities, **settings)
    assert all(p.requires_grad == selects for p in model.selection.parameters())
    loss, terms = training_loss(model, model(make_images(model.task, batch=2)), labels_of(model.task))
    assert terms.keys() == {"ohem"} | {name for name, weight in model.loss_weights.items() if weight}
    loss.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_inference_uses_nothing_of_the_selection(magic):
    model = magic(4).eval()
    images = make_images(model.task)
    with torch.no_grad():
        before = model(images)
        for parameter in model.selection.parameters():
            parameter.fill_(float("nan"))
        after = model(images)
        by_hand = model.head(model.levels(images))
    assert before.frames == after.frames == {}
    assert torch.equal(before.logits, after.logits)
    assert torch.equal(before.logits, by_hand)
    assert not any(model.training_losses(after, labels_of(model.task, 1)).values())


def test_the_order_in_which_sensors_are_given_does_not_matter(magic):
    model = magic(4).eval()
    images = make_images(model.task)
    with torch.no_grad():
        assert torch.allclose(model(images).logits, model(dict(reversed(images.items()))).logits, atol=1e-5)


def test_mixed_precision(magic):
    model = magic(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(make_images(model.task, batch=2))
    losses = model.training_losses(output, labels_of(model.task))
    assert output.logits.dtype == torch.bfloat16
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())


def test_a_checkpoint_starts_a_model_of_more_or_fewer_sensors(magic, tmp_path):
    weights.save(tmp_path / "one.safetensors", magic(1, selection_weight=0.5))
    model, report = weights.load(tmp_path / "one.safetensors", make_task(3))
    assert report.new == ()
    assert model.settings()["selection_weight"] == 0.5
    assert all(p.requires_grad for p in model.selection.parameters())


def test_selection_is_what_training_gives_and_nothing_else(magic):
    model = magic(4)
    frames = model(make_images(model.task, batch=2)).frames
    assert list(frames) == ["selection"]
    assert isinstance(frames["selection"], Selection)
