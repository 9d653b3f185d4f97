import math

import pytest
import torch
from torch.nn import functional as F

from memorysam.config import TrainSettings
from memorysam.errors import SettingsError
from memorysam.models.base import Segmentation
from memorysam.spec import Task, as_classes, camera
from memorysam.training.objective import Objective, cross_entropy, ohem_cross_entropy, soft_dice, training_loss

TASK = Task(modalities=(camera(),), classes=as_classes(["a", "b", "c"]), image_size=(32, 32))
EVERY_LOSS = {
    "ohem": {},
    "cross-entropy": {"loss": "cross-entropy"},
    "dice alone": {"dice": 1.0},
    "both": {"loss": "cross-entropy", "dice": 0.8},
    "weighted": {"loss": "cross-entropy", "class_weights": (1, 2, 0.5)},
    "weighted ohem": {"class_weights": (1, 2, 0.5), "dice": 0.5},
}


def objective(**options):
    return Objective(TrainSettings(**options), TASK)


def some(ignored=20):
    """Logits and labels of three classes, and the same as rows: the labelled pixels alone."""
    logits, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
    labels.flatten()[:ignored] = 255
    rows, targets = logits.movedim(1, -1).reshape(-1, 3)[ignored:], labels.flatten()[ignored:]
    return logits, labels, rows, targets


def case(easy, hard, ignored=0):
    """Logits whose pixel losses are known: easy pixels nearly 0, hard ones ln 2 and more."""
    logits = torch.zeros(1, 2, 1, easy + hard + ignored)
    logits[:, 0, :, :easy] = 10.0
    logits[:, 1, :, easy : easy + hard] = torch.arange(hard).float()
    labels = torch.zeros(1, 1, easy + hard + ignored, dtype=torch.int64)
    labels[..., easy + hard :] = 255
    return logits, labels


def test_keeps_the_hard_pixels():
    logits, labels = case(easy=20, hard=5)
    expected = F.cross_entropy(logits[..., 20:], labels[..., 20:])
    assert ohem_cross_entropy(logits, labels).item() == pytest.approx(expected.item())


def test_keeps_at_least_a_sixteenth_of_the_labelled_pixels():
    """Of 64 labelled pixels, 2 are hard: the 4 hardest are kept. Ignored pixels do not count."""
    logits, labels = case(easy=62, hard=2, ignored=100)
    losses = F.cross_entropy(logits, labels, reduction="none", ignore_index=255).flatten()
    expected = losses.sort(descending=True).values[:4].mean()
    assert ohem_cross_entropy(logits, labels).item() == pytest.approx(expected.item())


def test_threshold_is_a_probability():
    logits = torch.tensor([math.log(0.69 / 0.31), math.log(0.71 / 0.29)])
    logits = torch.stack([logits, torch.zeros(2)]).reshape(1, 2, 1, 2).repeat(1, 1, 1, 40)
    labels = torch.zeros(1, 1, 80, dtype=torch.int64)
    assert ohem_cross_entropy(logits, labels, 0.7).item() == pytest.approx(-math.log(0.69), rel=1e-5)


@pytest.mark.parametrize("options", EVERY_LOSS.values(), ids=EVERY_LOSS)
def test_nothing_labelled_is_zero_with_a_gradient(options):
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss, terms = objective(**options)(logits, torch.full((1, 4, 4), 255))
    loss.backward()
    assert loss.item() == 0
    assert [term.item() for term in terms.values()] == [0] * len(terms)
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("options", EVERY_LOSS.values(), ids=EVERY_LOSS)
def test_every_loss_falls_where_its_gradient_leads_and_ignored_pixels_have_none(options):
    logits, labels, *_ = some()
    logits.requires_grad_()
    loss, _ = objective(**options)(logits, labels)
    loss.backward()
    assert (logits.grad.movedim(1, -1)[labels == 255] == 0).all()
    assert logits.grad.abs().sum() > 0
    assert objective(**options)(logits - 0.1 * logits.grad, labels)[0] < loss


def test_a_handful_of_easy_pixels_still_gives_a_loss():
    logits = torch.zeros(1, 2, 1, 3)
    logits[:, 0] = 5
    loss = ohem_cross_entropy(logits, torch.zeros(1, 1, 3, dtype=torch.int64))
    assert 0 < loss.item() < 0.01


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5], [0.0, 3.0, 1.0]])
def test_cross_entropy_is_the_mean_over_labelled_pixels(weights):
    logits, labels, rows, targets = some()
    weights = None if weights is None else torch.tensor(weights)
    expected = F.cross_entropy(rows, targets, weights)
    assert cross_entropy(logits, labels, weights).item() == pytest.approx(expected.item(), rel=1e-5)


def test_weights_of_one_change_nothing():
    logits, labels, *_ = some()
    ones = torch.ones(3)
    assert torch.allclose(cross_entropy(logits, labels, ones), cross_entropy(logits, labels))
    weighted = ohem_cross_entropy(logits, labels, 0.5, weights=ones)
    assert torch.allclose(weighted, ohem_cross_entropy(logits, labels, 0.5))


def test_weights_do_not_choose_the_hard_pixels_but_weigh_them_in_the_mean():
    """Of 24 pixels the 20 easy ones are left out, however heavy; two hard ones of each class are left."""
    logits = torch.zeros(1, 2, 1, 24)
    logits[:, 0, :, :20] = 10.0
    logits[0, 1, 0, 20:] = torch.tensor([1.0, 2.0, -1.0, -3.0])
    labels = torch.zeros(1, 1, 24, dtype=torch.int64)
    labels[..., 22:] = 1
    weights = torch.tensor([5.0, 0.5])
    expected = F.cross_entropy(logits[0, :, 0, 20:].T, labels[0, 0, 20:], weights)
    assert ohem_cross_entropy(logits, labels, weights=weights).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("options", [{}, {"loss": "cross-entropy"}], ids=["ohem", "cross-entropy"])
def test_a_class_of_weight_0_does_not_count(options):
    logits, labels, *_ = some()
    without = labels.where(labels != 1, 255)
    expected, _ = objective(**options)(logits, without)
    loss, _ = objective(**options, class_weights=(1, 0, 1))(logits, labels)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    alone, _ = objective(**options, class_weights=(1, 0, 1))(logits, torch.ones_like(labels))
    assert alone.item() == 0


def test_dice_by_its_definition():
    logits, labels, rows, targets = some()
    p, y = rows.softmax(1).double(), F.one_hot(targets, 3).double()
    expected = [1 - 2 * (p[:, c] @ y[:, c]) / (p[:, c] @ p[:, c] + y[:, c].sum()) for c in range(3)]
    assert soft_dice(logits, labels).item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)


def test_dice_is_a_mean_over_the_classes_that_are_present():
    logits, labels, *_ = some()
    labels[labels == 2] = 0
    p, y = logits.softmax(1), labels == 1
    valid = labels != 255
    first = 1 - 2 * p[:, 0][labels == 0].sum() / (p[:, 0][valid].square().sum() + (labels == 0).sum())
    second = 1 - 2 * p[:, 1][y].sum() / (p[:, 1][valid].square().sum() + y.sum())
    assert soft_dice(logits, labels).item() == pytest.approx(((first + second) / 2).item(), rel=1e-5)


def test_dice_is_0_where_all_is_right_and_1_where_all_is_wrong():
    labels = torch.randint(0, 3, (1, 8, 8))
    right = 100 * F.one_hot(labels, 3).movedim(-1, 1).float()
    assert soft_dice(right, labels).item() == pytest.approx(0, abs=1e-6)
    assert soft_dice(right.roll(1, dims=1), labels).item() == pytest.approx(1)


def test_the_largest_number_of_classes_leaves_room_for_the_ignore_index():
    logits, labels = torch.randn(1, 255, 4, 4), torch.full((1, 4, 4), 254)
    labels[0, 0] = 255
    expected = soft_dice(logits[:, :, 1:], labels[:, 1:])
    assert soft_dice(logits, labels).item() == pytest.approx(expected.item())


def test_terms_have_names_and_shares():
    logits, labels, *_ = some()
    loss, terms = objective(loss="cross-entropy", dice=0.8)(logits, labels)
    assert list(terms) == ["cross_entropy", "dice"]
    assert loss.item() == pytest.approx(0.2 * terms["cross_entropy"].item() + 0.8 * terms["dice"].item())
    loss, terms = objective()(logits, labels)
    assert list(terms) == ["ohem"]
    assert torch.equal(loss, ohem_cross_entropy(logits, labels))
    loss, _ = objective(ohem_probability=0.2, ohem_least=0.5)(logits, labels)
    assert torch.equal(loss, ohem_cross_entropy(logits, labels, 0.2, 0.5))


def test_a_wrong_number_of_class_weights_is_told_with_the_classes():
    with pytest.raises(SettingsError) as error:
        objective(class_weights=(1, 2))
    for words in ("2 weights of classes, and 3 classes", "train.class_weights", "a, b, c"):
        assert words in str(error.value)


class TwoLosses:
    """What `training_loss` asks of a model."""

    task = TASK

    def training_losses(self, output, labels):
        return {"one": output.logits.square().mean(), "two": output.logits.abs().mean()}


@pytest.mark.parametrize("weight", [None, 0.0, 4.0])
def test_the_models_own_losses_are_weighed_and_added(weight):
    logits, labels, *_ = some()
    logits = logits.bfloat16().requires_grad_()
    chosen = None if weight is None else objective(prototype_weight=weight)
    loss, terms = training_loss(TwoLosses(), Segmentation(logits, logits), labels, chosen)
    one, two = logits.square().mean(), logits.abs().mean()
    main = ohem_cross_entropy(logits.float(), labels)
    assert loss.item() == pytest.approx((main + (1 if weight is None else weight) * (one + two)).item())
    assert list(terms) == ["ohem", "one", "two"]
    assert loss.dtype == terms["ohem"].dtype == torch.float32
    assert not any(term.requires_grad for term in terms.values())


@pytest.mark.parametrize("options", EVERY_LOSS.values(), ids=EVERY_LOSS)
def test_losses_of_bfloat16_logits_are_those_of_the_same_numbers_in_float32(options):
    """Outside of autocast, as the loop computes them, at a size to which they are upsampled."""
    logits, labels = torch.randn(2, 3, 4, 4).bfloat16(), torch.randint(0, 3, (2, 16, 16))
    chosen = objective(**options, prototype_weight=0)
    ours, theirs = (
        training_loss(TwoLosses(), Segmentation(given, given), labels, chosen)[0] for given in (logits, logits.float())
    )
    assert ours.dtype == torch.float32
    assert torch.equal(ours, theirs)
