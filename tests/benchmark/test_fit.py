from dataclasses import replace

import pytest
import torch
import yaml

from memorysam.benchmark import advice, fit
from memorysam.benchmark import counted as counting
from memorysam.benchmark.counted import training_step
from memorysam.benchmark.memory import Followed
from memorysam.config import RunSettings, packaged
from memorysam.data.dataset_file import read_layout
from memorysam.errors import SettingsError
from memorysam.models.base import count
from memorysam.models.cost import kept_for_backward
from memorysam.models.factory import create
from memorysam.spec import Modality, Task
from memorysam.strict import build, read_yaml


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


@pytest.mark.parametrize(("precision", "checkpointing"), [("bf16", False), ("bf16", True), ("fp32", False)])
def test_remembering_what_operations_make_of_shapes_changes_no_count(parts, monkeypatch, precision, checkpointing):
    model, _, _ = parts()
    training_step(model, 1, precision, checkpointing)  # tables that a model makes in its first call
    found = training_step(model, 1, precision, checkpointing)
    asked = []
    monkeypatch.setattr(counting, "Shapes", lambda: asked.append(1) or Followed())
    assert training_step(model, 1, precision, checkpointing) == found
    assert asked


@pytest.fixture
def needs(monkeypatch):
    """A step takes a GB per 64 x 64 pixels and modality, eight times as much in fp32 or with a large backbone."""

    def need(plan, batch, precision, checkpointing):
        assert (batch, checkpointing) == (1, True)
        height, width = plan.model.image_size
        weight = 8 if "large" in plan.model.backbone else 1
        return counting.Need(0, 10**9 * weight * plan.modalities * height * width // 64**2)

    monkeypatch.setattr(advice, "make_model", lambda plan: plan)
    monkeypatch.setattr(advice, "training_step", need)
    return need


@pytest.mark.usefixtures("needs")
def test_the_least_change_of_each_kind_that_fits_is_advised(plan):
    words = advice.advice(plan(modalities=4), 2 * 10**9)
    assert "--size 32 (1.0 GB)" in words
    assert "--modalities 2 (2.0 GB)" in words
    assert "--backbone" not in words, "none is smaller than the micro one"
    assert "--precision" not in words, "bf16 has been tried"


@pytest.mark.usefixtures("needs")
def test_a_smaller_backbone_of_the_same_family_and_bf16_are_advised(plan):
    asked = plan(modalities=1, precisions=("fp32",))
    large = replace(asked, model=asked.model.model_copy(update={"backbone": "sam2.1-large"}))
    assert "--backbone sam2.1-base-plus (1.0 GB)" in advice.advice(large, 10**9)
    assert "--precision bf16 (1.0 GB)" in advice.advice(asked, 10**9)


@pytest.mark.usefixtures("needs")
def test_where_no_single_change_is_enough_that_is_said(plan):
    assert "together" in advice.advice(plan(modalities=2), 1)
    assert "larger GPU" in advice.advice(plan(), 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(name for name in packaged() if name.startswith("fit/")))
def test_recipes_that_fit_a_gpu_take_the_steps_of_the_paper(name):
    """Counted with the model, the sensors and the classes of the recipe."""
    recipe, paper = (build(RunSettings, read_yaml(packaged()[n]), n) for n in (name, "table1/rgb-d-e-l"))
    train = recipe.train
    changed = {"precision": train.precision, "checkpointing": train.checkpointing, "accumulate": train.accumulate}
    assert recipe == paper.model_copy(update={"train": paper.train.model_copy(update=changed)})
    layout = read_layout(packaged("datasets")["deliver"])
    modalities = [
        Modality(**layout.sensors[sensor].model_dump(include=set(Modality.model_fields)))
        for sensor in recipe.data.modalities
    ]
    task = Task(modalities=modalities, classes=layout.classes, image_size=recipe.model.image_size)
    model = create(recipe.model, task, from_scratch=False)
    samples, rest = divmod(train.batch_size, train.accumulate)
    need = training_step(model, samples, train.precision, train.checkpointing).total
    size = fit.read_memory(name.removeprefix("fit/"))
    assert rest == 0
    assert 0.3 * size < need <= fit.usable(size)
