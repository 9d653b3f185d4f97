import pytest
import torch
from torch import nn

from memorysam.benchmark.baseline import PlainMemorySAM
from memorysam.benchmark.plan import our_inference, our_training, plain_inference, plain_training
from memorysam.errors import InputError, SettingsError
from memorysam.models.lora import merge_lora
from memorysam.models.sam2 import SAM2
from memorysam.training.objective import training_loss

EXACT = {"dropout": 0.0}


def pairs(model, plain):
    """Parameters of both under the same name."""
    theirs = dict(plain.parts.named_parameters())
    for name, parameter in model.sam2.named_parameters():
        yield name, parameter, theirs.get(name, theirs.get(f"prompt_encoder.{name}"))


@pytest.mark.parametrize("modalities", [1, 3])
@pytest.mark.parametrize("options", [{}, {"memory": False}, {"residual": False}, {"lora_rank": 0}], ids=str)
def test_the_baseline_computes_what_the_model_computes(parts, modalities, options):
    model, images, _ = parts(modalities=modalities, batch=2, options=options)
    expected = model.eval()(images)
    plain = PlainMemorySAM(model).eval()(images)
    assert plain.logits.shape == (2, 5, 64, 64)
    torch.testing.assert_close(plain.logits, expected.at((64, 64)), atol=1e-4, rtol=0)
    torch.testing.assert_close(plain.features, expected.features, atol=1e-4, rtol=0)


def test_it_does_so_for_sam_2_0_as_well(parts):
    """Which gives pointers no positions."""
    model, images, _ = parts(modalities=3)
    sizes = model.sam2.sizes.__class__(**{**vars(model.sam2.sizes), "version_2_1": False})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("memorysam.models.sam2.backbone", lambda _: sizes)
        older = SAM2("micro", masks=5)
    model.sam2, model.lora_rank = older, 0
    plain = PlainMemorySAM(model).eval()(images)
    torch.testing.assert_close(plain.logits, model.eval()(images).at((64, 64)), atol=1e-4, rtol=0)


def test_losses_prototypes_and_gradients_are_the_same(parts):
    model, images, labels = parts(batch=2, options=EXACT)
    nn.init.normal_(model.prototypes.prototypes)
    plain = PlainMemorySAM(model).train()
    loss, _ = training_loss(model.train(), model(images), labels)
    theirs = plain.loss(plain(images), labels)
    torch.testing.assert_close(theirs, loss, rtol=1e-3, atol=0)
    torch.testing.assert_close(plain.prototypes, model.prototypes.prototypes)
    loss.backward()
    theirs.backward()
    total = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm().item()
    trained = 0
    for name, parameter, other in pairs(model, plain):
        assert parameter.requires_grad == other.requires_grad, name
        if parameter.grad is not None:
            trained += 1
            # A bias of keys has no gradient but rounding.
            torch.testing.assert_close(other.grad, parameter.grad, rtol=1e-3, atol=1e-5 * total, msg=name)
    assert trained > 100
    assert all("qkv.weight" not in name for name, p, _ in pairs(model, plain) if p.grad is not None)


def test_classes_that_are_absent_leave_their_prototypes_alone(parts):
    model, images, labels = parts(options=EXACT)
    nn.init.normal_(model.prototypes.prototypes)
    before = model.prototypes.prototypes.clone()
    labels = labels.where(labels != 3, 255)
    plain = PlainMemorySAM(model).train()
    plain.loss(plain(images), labels)
    assert torch.equal(plain.prototypes[3], before[3])
    assert not torch.equal(plain.prototypes[0], before[0])


def test_preparing_ours_does_not_touch_the_baseline_nor_the_model(parts):
    model, images, labels = parts()
    expected = plain_inference(model, images)()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    our_inference(model, images, "fp32")()
    our_training(model, images, labels, "fp32")()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(plain_inference(model, images)(), expected)


def test_the_modules_are_those_of_transformers(parts):
    model, _, _ = parts()
    for name, module in PlainMemorySAM(model).parts.named_modules():
        where = type(module).__module__
        ours = where.startswith("memorysam")
        assert not ours or name.endswith(".qkv"), name
        assert ours or where.startswith(("transformers.", "torch.nn")), name


def test_a_training_step_of_either_changes_what_trains_and_nothing_else(parts, plan):
    model, images, labels = parts()
    for step in (plain_training(model, plan(), images, labels), our_training(model, images, labels, "fp32")):
        before = {name: p.detach().clone() for name, p in step.model.named_parameters()}
        assert step().item() > 0
        changed = {name for name, p in step.model.named_parameters() if not torch.equal(p, before[name])}
        trains = {name for name, p in step.model.named_parameters() if p.requires_grad}
        assert changed <= trains
        assert len(changed) > 0.9 * len(trains)  # no mask is made of the first token


def test_merged_weights_and_other_forms_are_refused(parts):
    model, _, _ = parts(options={"prototypes": "released"})
    with pytest.raises(SettingsError, match="the paper's form"):
        PlainMemorySAM(model)
    model, _, _ = parts()
    merge_lora(model)
    with pytest.raises(InputError, match="merged"):
        PlainMemorySAM(model)
