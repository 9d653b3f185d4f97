"""What holds for every system: any sensors, classes, sizes; it learns, is saved whole, trains only what it shall."""

import itertools

import pytest
import torch

from memorysam.config import ModelSettings, TrainedParts
from memorysam.errors import InputError, SettingsError, WeightsError
from memorysam.models import weights
from memorysam.models.base import Segmentation
from memorysam.models.cost import forward_flops, kept_for_backward
from memorysam.models.factory import create, named
from memorysam.models.systems import SYSTEMS
from memorysam.spec import Modality, Task, as_classes
from memorysam.tensors import read_tensors, write_tensors
from memorysam.training.objective import ohem_cross_entropy

CHANNELS = (3, 1, 3, 2, 5)
SIZE = (64, 96)
PAIRS_ONLY = ("cmx",)
"""Systems that are defined for two sensors."""


def task_of(m=2, c=5, size=SIZE):
    sensors = tuple(Modality(name=f"sensor{i}", channels=CHANNELS[i]) for i in range(m))
    return Task(modalities=sensors, classes=as_classes([f"class{i}" for i in range(c)]), image_size=size)


def images_of(task, batch=2):
    return {m.name: torch.randn(batch, m.channels, *task.image_size) for m in task.modalities}


def model_of(name, task, *, from_scratch=True, **settings):
    torch.manual_seed(0)
    return create(ModelSettings(name=name, backbone="micro", **settings), task, from_scratch=from_scratch)


@pytest.fixture(params=sorted(SYSTEMS))
def system(request):
    return request.param


def test_the_settings_know_the_same_systems_as_the_factory():
    assert set(ModelSettings.model_fields["name"].annotation.__args__) == set(SYSTEMS)


@pytest.mark.parametrize(("m", "c"), [(1, 2), (2, 20), (2, 2), (2, 25), (3, 25), (5, 3)])
def test_any_sensors_classes_and_sizes(system, m, c):
    task = task_of(m, c, size=(64, 32) if c == 2 else SIZE)
    if system in PAIRS_ONLY and m != 2:
        with pytest.raises(SettingsError, match="2"):
            model_of(system, task)
        return
    model = model_of(system, task).eval()
    with torch.no_grad():
        output = model(images_of(task))
    height, width = task.image_size
    assert output.logits.shape == (2, c, height // 4, width // 4)
    assert output.features.shape[0] == 2
    assert output.features.shape[2:] == (height // 4, width // 4)
    assert output.logits.isfinite().all()
    assert output.at((50, 70)).shape == (2, c, 50, 70)


def test_images_of_another_size_than_the_tasks(system):
    """Windows, scales and native evaluation show them."""
    task = task_of()
    model = model_of(system, task).eval()
    with torch.no_grad():
        output = model({m.name: torch.randn(1, m.channels, 96, 32) for m in task.modalities})
    assert output.logits.shape == (1, 5, 24, 8)


def test_any_subset_of_the_sensors_in_any_order(system):
    task = task_of(2 if system in PAIRS_ONLY else 3)
    model, images = model_of(system, task).eval(), images_of(task)
    sizes = range(1, len(images) + 1)
    with torch.no_grad():
        chosen = [names for size in sizes for names in itertools.permutations(images, size)]
        outputs = [model({name: images[name] for name in names}).logits for names in chosen]
    assert all(logits.isfinite().all() for logits in outputs)
    with pytest.raises(InputError, match="without any image"):
        model({})
    with pytest.raises(InputError, match="other"):
        model({"other": images["sensor0"]})


def test_every_sensor_has_a_say(system):
    task = task_of(2 if system in PAIRS_ONLY else 3)
    model, images = model_of(system, task).eval(), images_of(task, batch=1)
    with torch.no_grad():
        before = model(images).logits
        for name, image in images.items():
            assert not torch.equal(model({**images, name: torch.randn_like(image)}).logits, before), name


def test_samples_of_a_batch_do_not_mix(system):
    task = task_of()
    model, images = model_of(system, task).eval(), images_of(task, batch=3)
    with torch.no_grad():
        together = model(images).logits
        alone = torch.cat([model({k: v[i : i + 1] for k, v in images.items()}).logits for i in range(3)])
    assert (together - alone).abs().max() < 1e-4 * max(1.0, float(alone.abs().max()))


def test_a_few_steps_on_one_batch_lower_the_loss(system):
    task = task_of(c=3)
    model = model_of(system, task).train()
    images = images_of(task)
    labels = (images["sensor0"].mean(dim=1) > 0).long() + (torch.arange(SIZE[1]) > 48).long()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    losses = []
    for _ in range(8):
        output = model(images)
        loss = ohem_cross_entropy(output.at(SIZE), labels) + sum(model.training_losses(output, labels).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert min(losses[-2:]) < losses[0]


@pytest.mark.parametrize("from_scratch", [True, False])
@pytest.mark.parametrize("m", [1, 2, 3])
def test_what_shall_train_gets_gradients_and_nothing_else_changes(system, m, from_scratch):
    """Distributed training waits for the gradient of everything that is declared to train."""
    if system in PAIRS_ONLY and m != 2:
        return
    task = task_of(m, c=3)
    model = model_of(system, task, from_scratch=from_scratch).train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    output = model(images_of(task))
    labels = torch.randint(0, 3, (2, *SIZE))
    (ohem_cross_entropy(output.at(SIZE), labels) + sum(model.training_losses(output, labels).values())).backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    torch.optim.SGD(trained, lr=0.1).step()
    for name, p in model.named_parameters():
        assert p.requires_grad or torch.equal(p, before[name]), name
    keeps = SYSTEMS[system].keeps_encoder and not from_scratch
    assert all(p.requires_grad != keeps for p in model.parts()["encoder"])


def test_parts_can_be_frozen_by_settings(system):
    task = task_of()
    frozen = TrainedParts(encoder=False, lora=False, adapters=False, memory=False, fusion=False, decoder=False)
    model = model_of(system, task, train=frozen)
    parts = model.parts()
    assert set(parts) == set(model.PARTS)
    assert sum(len(parameters) for parameters in parts.values()) == len(list(model.parameters()))
    assert {part for part, parameters in parts.items() if any(p.requires_grad for p in parameters)} <= {"stem"}
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.train()(images_of(task))
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_saved_and_loaded_it_is_the_same(system, tmp_path):
    task = task_of()
    model = model_of(system, task)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.01 * torch.randn_like(p))
    weights.save(tmp_path / "model.safetensors", model)
    again, report = weights.load(tmp_path / "model.safetensors")
    assert report.new == ()
    assert again.settings() == model.settings()
    assert again.task == task
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())
    images = images_of(task)
    with torch.no_grad():
        assert torch.equal(model.eval()(images).logits, again.eval()(images).logits)


def test_loading_is_strict(system, tmp_path):
    task = task_of()
    model = model_of(system, task)
    path = tmp_path / "model.safetensors"
    tensors, header = model.state_dict(), weights.header(model)
    names = [name for name, p in model.named_parameters() if p.ndim > 1 and not model.FOLLOWS_CLASSES.search(name)]
    victim = next(name for name in names if model.part_of(name) == "decoder")
    write_tensors(path, {k: v for k, v in tensors.items() if k != victim}, header)
    with pytest.raises(WeightsError, match="1 missing"):
        weights.load(path)
    write_tensors(path, {**tensors, "surplus.weight": torch.zeros(1)}, header)
    with pytest.raises(WeightsError, match="1 unexpected"):
        weights.load(path)
    write_tensors(path, {**tensors, victim: torch.zeros(1)}, header)
    with pytest.raises(WeightsError, match="1 of another shape"):
        weights.load(path)


def test_other_classes_get_a_new_head(system, tmp_path):
    model = model_of(system, task_of(c=5))
    path = tmp_path / "model.safetensors"
    weights.save(path, model)
    other = task_of(c=7)
    settings = ModelSettings(**read_tensors(path)[1]["model"])
    with pytest.raises(WeightsError, match="other classes"):
        weights.load(path, other, settings)
    again, report = weights.load(path, other, settings, rehead=True)
    assert report.new
    assert all(model.FOLLOWS_CLASSES.search(name) for name in report.new)
    kept = [name for name in model.state_dict() if name not in report.new]
    assert all(torch.equal(model.state_dict()[name], again.state_dict()[name]) for name in kept)


def test_another_systems_checkpoint_is_refused(system, tmp_path):
    weights.save(tmp_path / "model.safetensors", model_of(system, task_of()))
    other = "memorysam" if system != "memorysam" else "cmnext"
    with pytest.raises(WeightsError, match=f"another system: {system}"):
        weights.load(tmp_path / "model.safetensors", None, ModelSettings(name=other, backbone="micro"))


def test_an_option_of_another_system_is_refused(system):
    foreign = {"cmnext": {"lora_rank": 8}, "mcubesnet": {"lora_rank": 8}}.get(system, {"filters": 2})
    with pytest.raises(SettingsError, match=f"means nothing to {system}"):
        model_of(system, task_of(), **foreign)


def test_activations_recomputed_give_the_same_gradients(system):
    task = task_of(c=3)
    labels = torch.randint(0, 3, (2, *SIZE))
    images = images_of(task)
    gradients = []
    for enabled in (False, True):
        model = model_of(system, task).train()
        model.recompute_activations(enabled)
        torch.manual_seed(1)
        ohem_cross_entropy(model(images).at(SIZE), labels).backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-5, rtol=1e-3), name


def test_costs_are_counted(system):
    task = task_of()
    model = model_of(system, task)
    small, large = forward_flops(model), forward_flops(model, (128, 192))
    assert 3.5 * small < large
    assert forward_flops(model, modalities=1) <= small
    assert kept_for_backward(model) > 0
    assert all(p.device.type == "cpu" for p in model.parameters())


def test_a_name_finds_system_and_backbone():
    assert (named("cmnext-b2").name, named("cmnext-b2").backbone) == ("cmnext", "mit-b2")
    assert named("memorysam-sam2.1-tiny").backbone == "sam2.1-tiny"
    assert named("mcubesnet").backbone == "resnet-101"
    for wrong in ("cmnxt-b2", "cmnext-b9", "", "memorysam-mit-b2"):
        with pytest.raises(SettingsError):
            named(wrong)


def test_segmentation_is_what_models_give():
    assert Segmentation(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4)).at((8, 8)).shape == (1, 2, 8, 8)
