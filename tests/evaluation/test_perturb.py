"""What is done to images is what the rules say, worked out here by other means."""

from dataclasses import replace
from math import ceil

import numpy as np
import pytest
import torch

from memorysam.data.dataset import Sample
from memorysam.evaluation import perturb
from memorysam.evaluation.perturb import Perturbation, generator
from memorysam.evaluation.robustness import LOSSES, NOISES, Condition, Noise, missing, noisy

SENSORS = ("rgb", "depth", "front_event", "lidar")
CHANNELS = {"rgb": 3, "depth": 1, "front_event": 2, "lidar": 1, "regions": 1}
HIGH = NOISES[-1]


def make(number, size=(40, 48), scale=1.0):
    """A sample whose values are all different, none of them 0."""
    chance = torch.Generator().manual_seed(number)
    images = {name: scale * (1 + torch.rand(k, *size, generator=chance)) for name, k in CHANNELS.items()}
    return Sample(images, torch.zeros(size, dtype=torch.long), f"scene/{number}", {})


@pytest.fixture
def samples():
    return [make(number, scale=1.0 + number) for number in range(4)]


def apply(condition, variant, samples, seed=0, spared=("front_event",)):
    return Perturbation(condition, variant, seed, spared)(samples)


def same(one, other):
    return one.images.keys() == other.images.keys() and all(
        torch.equal(one.images[name], other.images[name]) for name in one.images
    )


def test_paper_puts_zeros_for_a_missing_sensor_even_where_it_says_nothing(samples):
    samples[0].images["depth"][:] = float("nan")
    found = apply(missing(SENSORS, ("rgb", "lidar")), "paper", samples)
    for before, after in zip(samples, found, strict=True):
        assert list(after.images) == list(before.images)
        for name in ("depth", "front_event"):
            assert torch.equal(after.images[name], torch.zeros_like(before.images[name]))
        for name in ("rgb", "lidar", "regions"):
            assert torch.equal(after.images[name], before.images[name])


def test_strict_takes_a_missing_sensor_away(samples):
    for sample in apply(missing(SENSORS, ("rgb", "lidar")), "strict", samples):
        assert list(sample.images) == ["rgb", "lidar", "regions"]


@pytest.mark.parametrize("loss", LOSSES)
def test_paper_loses_elements_each_channel_by_itself(samples, loss):
    found = apply(missing(SENSORS, ("depth",), "rmm", loss), "paper", samples)
    lost = torch.stack([sample.images["rgb"] == 0 for sample in found])
    assert lost.float().mean() == pytest.approx(loss, abs=0.02)
    whole_pixels = lost.all(dim=1).float().mean()
    assert whole_pixels == pytest.approx(loss**3, abs=0.02)  # as chance has it for three channels
    for before, after in zip(samples, found, strict=True):
        kept = after.images["rgb"] != 0
        assert torch.equal(after.images["rgb"][kept], before.images["rgb"][kept])
        assert torch.equal(after.images["depth"], before.images["depth"])


@pytest.mark.parametrize("loss", LOSSES)
def test_strict_loses_pixels_in_all_channels(samples, loss):
    found = apply(missing(SENSORS, ("depth",), "rmm", loss), "strict", samples)
    for before, after in zip(samples, found, strict=True):
        lost = after.images["rgb"] == 0
        assert torch.equal(lost[:1].expand(3, -1, -1), lost)
        assert lost.float().mean() == pytest.approx(loss, abs=0.05)
        assert torch.equal(after.images["rgb"][~lost], before.images["rgb"][~lost])
        assert not torch.equal(lost[0], after.images["lidar"][0] == 0), "every sensor loses its own"
        assert torch.equal(after.images["depth"], before.images["depth"])


def test_strict_loses_more_of_the_same_at_a_larger_share_and_the_same_whatever_else_is_missing(samples):
    few, many = (apply(missing(SENSORS, ("depth",), "rmm", loss), "strict", samples) for loss in (0.25, 0.75))
    for one, other in zip(few, many, strict=True):
        assert (other.images["rgb"][one.images["rgb"] == 0] == 0).all()
    alone = apply(missing(SENSORS, ("depth", "front_event", "lidar"), "rmm", 0.25), "strict", samples)
    assert all(torch.equal(a.images["rgb"], b.images["rgb"]) for a, b in zip(few, alone, strict=True))


@pytest.mark.parametrize("density", [noise.density for noise in NOISES])
def test_paper_salts_elements_of_the_whole_batch_with_replacement_then_peppers(density):
    batch = torch.stack([make(i, size=(10, 12)).images["rgb"] for i in range(3)])
    noisy_batch = perturb.salt_and_pepper_elements(batch, density, generator("test"))
    chance, expected = generator("test"), batch.numpy().copy()
    count = ceil(density * 1080 * 0.5)
    drawn = []
    for value in (batch.max().item(), batch.min().item()):
        places = np.stack([torch.randint(0, side, (count,), generator=chance).numpy() for side in batch.shape], axis=1)
        for b, k, y, x in places:
            expected[b, k, y, x] = value
        drawn.append({tuple(place) for place in places})
    assert np.array_equal(noisy_batch.numpy(), expected)
    changed = (noisy_batch != batch).any(dim=1)  # pixels
    assert not (noisy_batch != batch).all(dim=1)[changed].all(), "channels are hit apart"
    assert len(drawn[0] | drawn[1]) < 2 * count or density < 0.1, "some are drawn twice"


def test_paper_takes_salt_from_the_whole_batch_strict_from_the_image(samples):
    condition = noisy(SENSORS, HIGH)
    largest = max(sample.images["front_event"].max() for sample in samples)
    first = apply(condition, "paper", samples)[0].images["front_event"]
    assert samples[0].images["front_event"].max() < largest
    assert (first == largest).float().mean() == pytest.approx(HIGH.density / 2, abs=0.03)
    for before, after in zip(samples, apply(condition, "strict", samples), strict=True):
        old, new = before.images["front_event"], after.images["front_event"]
        changed = (new != old).any(dim=0)
        assert changed.float().mean() == pytest.approx(HIGH.density, abs=0.03)
        for channel in range(2):
            ends = old[channel].max(), old[channel].min()
            assert all(value in ends for value in new[channel][changed])
            assert (new[channel] == ends[0]).sum() > 10 < (new[channel] == ends[1]).sum()


@pytest.mark.parametrize("variant", ["paper", "strict"])
def test_gaussian_noise_comes_last_on_all_but_the_spared(samples, variant):
    found = apply(noisy(SENSORS, HIGH), variant, samples)
    ends = {name: torch.stack([s.images[name] for s in samples]).max() for name in SENSORS}
    for name in SENSORS:
        old, new = (torch.stack([s.images[name] for s in group]) for group in (samples, found))
        if name == "front_event":
            untouched = (old == new).float().mean()
            assert untouched == pytest.approx(1 - HIGH.density, abs=0.03)
            continue
        assert (old == new).float().mean() < 1e-3, "each element has noise"
        assert (new == ends[name]).sum() <= 1, "also salt has"
        assert (new > ends[name]).any(), "and nothing is clipped"
        middle = (new - old).quantile(torch.tensor([0.25, 0.5, 0.75]))  # salt and pepper lie outside
        assert middle[1] == pytest.approx(0, abs=0.06)
        assert (middle[2] - middle[0]) / 1.349 == pytest.approx(HIGH.sigma, rel=0.35)
    everywhere = apply(noisy(SENSORS, HIGH), variant, samples, spared=())
    assert (everywhere[0].images["front_event"] == samples[0].images["front_event"]).float().mean() < 1e-3


def test_gaussian_noise_has_its_standard_deviation():
    noise = perturb.gaussian(torch.zeros(3, 100, 100), 0.5, generator("test"))
    assert noise.std() == pytest.approx(0.5, rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.02)
    assert not torch.equal(noise[0], noise[1])


def test_event_sensors_are_known_by_their_names():
    assert perturb.without_gaussian(SENSORS) == ("front_event",)
    assert perturb.without_gaussian(("event", "thermal")) == ("event",)


CONDITIONS = [missing(SENSORS, ("depth",), "rmm", 0.5), noisy(SENSORS, NOISES[1])]


@pytest.mark.parametrize("condition", CONDITIONS, ids=["rmm", "nm"])
def test_strict_is_the_same_in_any_batch_and_order(samples, condition):
    together = apply(condition, "strict", samples)
    reverse = apply(condition, "strict", samples[::-1])[::-1]
    alone = [apply(condition, "strict", [sample])[0] for sample in samples]
    for one, other, third in zip(together, reverse, alone, strict=True):
        assert same(one, other)
        assert same(one, third)


SINGLE = [
    missing(SENSORS, ("rgb", "front_event"), "rmm", 0.5),
    noisy(SENSORS, Noise("salt and pepper", 0.2, 0.0)),
    noisy(SENSORS, Noise("gaussian", 0.0, 0.2)),
]


@pytest.mark.parametrize("condition", SINGLE, ids=["loss", "salt", "gaussian"])
@pytest.mark.parametrize("variant", ["paper", "strict"])
def test_neither_images_nor_sensors_share_their_chance(condition, variant):
    twins = [make(1), replace(make(1), id="another")]
    for twin in twins:
        twin.images["lidar"] = twin.images["depth"].clone()
    one, other = apply(condition, variant, twins)
    assert not torch.equal(one.images["depth"], other.images["depth"])
    assert not torch.equal(one.images["depth"], one.images["lidar"])


@pytest.mark.parametrize("condition", CONDITIONS, ids=["rmm", "nm"])
@pytest.mark.parametrize("variant", ["paper", "strict"])
def test_the_seed_decides_and_what_was_given_stays(samples, condition, variant):
    before = [make(number, scale=1.0 + number) for number in range(4)]
    one, again, other = (apply(condition, variant, samples, seed) for seed in (1, 1, 2))
    assert all(same(a, b) for a, b in zip(one, again, strict=True))
    assert not any(same(a, b) for a, b in zip(one, other, strict=True))
    assert all(same(a, b) for a, b in zip(samples, before, strict=True))
    assert all(torch.equal(a.images["regions"], b.images["regions"]) for a, b in zip(one, before, strict=True))


@pytest.mark.parametrize("condition", CONDITIONS, ids=["rmm", "nm"])
def test_paper_depends_on_the_batch(samples, condition):
    together, alone = apply(condition, "paper", samples), apply(condition, "paper", samples[:1])
    assert not same(together[0], alone[0])


@pytest.mark.parametrize("variant", ["paper", "strict"])
def test_where_nothing_is_missing_nothing_is_done(samples, variant):
    for condition in (missing(SENSORS, SENSORS), missing(SENSORS, SENSORS, "rmm", 0.5), Condition("nm", SENSORS)):
        assert all(a is b for a, b in zip(apply(condition, variant, samples), samples, strict=True))


def test_keys_of_chance_do_not_run_into_each_other():
    first = torch.rand(4, generator=generator(0, "ab", "c"))
    assert torch.equal(first, torch.rand(4, generator=generator(0, "ab", "c")))
    for key in ((0, "a", "bc"), (1, "ab", "c"), (0, "abc")):
        assert not torch.equal(first, torch.rand(4, generator=generator(*key)))
