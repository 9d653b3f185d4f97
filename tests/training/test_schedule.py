import pytest

from memorysam.config import TrainSettings
from memorysam.training.schedule import schedule, warmup_cosine, warmup_poly


def test_warm_up_then_polynomial_decay():
    """Ten epochs of warm-up from a tenth, then (1 - t)^0.9, which would reach 0 one epoch after the last."""
    factor = warmup_poly(steps_per_epoch=100, epochs=200, warmup_epochs=10, warmup_ratio=0.1, power=0.9)
    assert factor(0) == pytest.approx(0.1)
    assert factor(500) == pytest.approx(0.55)
    assert factor(1000) == pytest.approx(1.0)
    total = 201 * 100 - 1000
    assert factor(1000 + total // 2) == pytest.approx(0.5**0.9)
    assert factor(20000 - 1) == pytest.approx((101 / total) ** 0.9)
    assert factor(20000 - 1) > 0


def test_warm_up_then_half_a_cosine():
    """The same warm-up; halfway between its end and the last step the mean of both ends; the least at the last step."""
    factor = warmup_cosine(steps_per_epoch=100, epochs=200, warmup_epochs=10, warmup_ratio=0.1, least=0.02)
    assert factor(0) == pytest.approx(0.1)
    assert factor(500) == pytest.approx(0.55)
    assert factor(1000) == 1.0
    last = 20000 - 1
    assert factor(last) == pytest.approx(0.02)
    assert (factor(1000 + 9500) + factor(last - 9500)) / 2 == pytest.approx(0.51, abs=1e-4)
    assert factor(1000 + (last - 1000) // 4) == pytest.approx(0.02 + 0.98 * (1 + 0.5**0.5) / 2, abs=1e-4)
    values = [factor(step) for step in range(1000, 20000, 50)]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("shape", [warmup_poly, warmup_cosine])
def test_never_negative_and_no_warm_up(shape):
    factor = shape(10, 2, 0, 0.1, 0.9)
    assert factor(0) == 1.0
    assert all(0 <= factor(step) <= 1 for step in range(100))
    longer_than_training = shape(10, 2, 10, 0.1, 0.9)
    assert longer_than_training(19) < 1
    assert shape(1, 1, 0, 0.1, 0.9)(0) == 1.0, "the only step learns at the full rate"


def test_settings_choose_the_shape():
    poly = schedule(TrainSettings(epochs=3, warmup_epochs=1, warmup_ratio=0.5, power=2), 10)
    assert [poly(step) for step in range(30)] == [warmup_poly(10, 3, 1, 0.5, 2)(step) for step in range(30)]
    options = TrainSettings(epochs=3, warmup_epochs=0, schedule="cosine", lr=2e-4, lr_min=1e-7)
    cosine = schedule(options, 10)
    assert cosine(0) * options.lr == pytest.approx(2e-4)
    assert cosine(29) * options.lr == pytest.approx(1e-7)
