import pytest
import torch
import yaml

from memorysam.benchmark import fit
from memorysam.benchmark.counted import training_step
from memorysam.config import RunSettings
from memorysam.errors import SettingsError
from memorysam.models.base import count
from memorysam.models.cost import kept_for_backward
from memorysam.strict import build


def test_a_step_needs_what_is_kept_for_the_backward_pass_and_some_more(parts):
    model, _, _ = parts(options={"dropout": 0.0})
    kept = 2 * kept_for_backward(model, batch=2)
    gradients = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    assert kept < training_step(model, 2).step < 1.2 * kept + gradients


def test_weights_and_two_moments_of_what_trains_are_held(parts):
    model, _, _ = parts()
    trained = 4 * count([p for p in model.parameters() if p.requires_grad])
    buffers = sum(buffer.nbytes for buffer in model.buffers())
    assert training_step(model, 1).held == 4 * count(list(model.parameters())) + buffers + 2 * trained


def test_checkpointing_bf16_and_smaller_batches_need_less(parts):
    model, _, _ = parts()
    most = training_step(model, 2).step
    assert training_step(model, 2, checkpointing=True).step < 0.8 * most
    assert training_step(model, 2, precision="bf16").step < most
    one, three = training_step(model, 1).step, training_step(model, 3).step
    assert most == pytest.approx((one + three) / 2, rel=0.02)


def test_counting_leaves_pytorch_and_the_model_as_they_were(parts):
    model, images, _ = parts()
    before = torch.is_autocast_enabled, torch.autocast
    expected = model.eval()(images).logits
    training_step(model, 1, "bf16", checkpointing=True)
    assert (torch.is_autocast_enabled, torch.autocast) == before
    assert torch.equal(model.eval()(images).logits, expected)


@pytest.mark.parametrize(
    ("text", "size"), [("24GB", 24 * 10**9), ("24", 24 * 10**9), ("1.5 gib", 3 * 2**29), ("800MB", 800 * 10**6)]
)
def test_memory_is_read(text, size):
    assert fit.read_memory(text) == size


@pytest.mark.parametrize("text", ["", "GB", "24 pounds", "-3GB", "0GB"])
def test_what_is_no_memory_is_said_to_be_none(text):
    with pytest.raises(SettingsError, match="no amount of memory"):
        fit.read_memory(text)


@pytest.mark.usefixtures("already_counted")
def test_with_room_for_all_the_fastest_is_proposed(plan):
    found = fit.fit(plan(), 24 * 10**9)
    assert found["proposal"]["accumulate"] == 1
    assert (found["proposal"]["precision"], found["proposal"]["checkpointing"]) == ("bf16", False)
    assert found["counted_only"]
    assert found["measured_bytes"] is None
    settings = build(RunSettings, yaml.safe_load(found["yaml"]), "the proposal")
    assert (settings.model.backbone, settings.model.image_size) == ("micro", (64, 64))
    assert (settings.train.batch_size, settings.train.accumulate, settings.train.precision) == (4, 1, "bf16")


@pytest.mark.usefixtures("already_counted")
def test_every_proposal_fits_by_its_own_count(plan, counted):
    for least in counted:
        size = int(least.need / fit.USABLE) + fit.RESERVED + 10
        result = fit.fit(plan(), size)
        assert result["proposal"]["counted_bytes"] <= result["usable_bytes"]
        assert result["proposal"]["batch_size"] == 4
        fits = [choice for choice in result["choices"] if choice["fits"]]
        assert {**result["proposal"], "fits": True} == fits[0]


def test_choices_are_all_ways_to_take_a_step_the_fastest_first(counted):
    ways = [(choice.precision, choice.checkpointing, choice.passes) for choice in counted]
    assert ways == [(p, c, n) for p in ("bf16", "fp32") for c in (False, True) for n in (1, 2, 4)]
    for first, second, third in zip(counted[::3], counted[1::3], counted[2::3], strict=True):
        assert first.need > second.need > third.need


@pytest.mark.usefixtures("already_counted")
def test_only_the_asked_precision_is_proposed(plan):
    assert fit.fit(plan(precisions=("fp32",)), 10**10)["proposal"]["precision"] == "fp32"


@pytest.mark.usefixtures("already_counted")
def test_what_does_not_fit_is_refused_with_what_would_be_needed(plan):
    with pytest.raises(SettingsError, match=r"no setting fits 1\.0 GB[\s\S]*counted"):
        fit.fit(plan(), 10**9)
