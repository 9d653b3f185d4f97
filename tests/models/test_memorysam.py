import itertools

import pytest
import torch

from memorysam.config import ModelSettings, TrainedParts
from memorysam.errors import InputError, SettingsError
from memorysam.models.cost import forward_flops
from memorysam.models.factory import create
from memorysam.spec import Modality
from memorysam.training.objective import training_loss

from .conftest import make_images, make_task


@pytest.mark.parametrize("modalities", range(1, 7))
@pytest.mark.parametrize("classes", [2, 20, 25, 40])
def test_any_number_of_modalities_and_classes(micro, modalities, classes):
    model = micro(modalities, classes).eval()
    with torch.no_grad():
        output = model(make_images(model.task, batch=2))
    assert output.logits.shape == (2, classes, 16, 24)
    assert output.features.shape == (2, 8, 16, 24)
    assert list(output.frames) == [f"m{i}" for i in range(modalities)]


@pytest.mark.parametrize("size", [(256, 256), (512, 512), (384, 640), (32, 32), (32, 160), (224, 96)])
def test_any_size_that_is_a_multiple_of_32(micro, size):
    model = micro(2).eval()
    with torch.no_grad():
        logits = model(make_images(model.task, size=size)).logits
    assert logits.shape == (1, 5, size[0] // 4, size[1] // 4)
    assert torch.isfinite(logits).all()


def test_every_subset_of_the_modalities(micro):
    model = micro(4).eval()
    images = make_images(model.task)
    names = list(images)
    answers = []
    for size in range(1, 5):
        for subset in itertools.combinations(names, size):
            with torch.no_grad():
                answers.append(model({name: images[name] for name in subset}).logits)
    assert len(answers) == 15
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(answers, 2))


def test_later_modalities_see_earlier_ones_and_not_the_reverse(micro):
    model = micro(3).eval()
    images = make_images(model.task)
    with torch.no_grad():
        before = model(images).frames
        changed = model({**images, "m1": images["m1"] + 1}).frames
    assert torch.equal(before["m0"].masks.logits, changed["m0"].masks.logits)
    assert not torch.equal(before["m2"].masks.logits, changed["m2"].masks.logits)


def test_the_memory_may_start_from_any_modality(micro):
    """The first frame gets SAM2's embedding for an empty memory in place of memory attention, whichever it is."""
    model = micro(3).eval()
    images = make_images(model.task)
    empty = model.sam2.no_memory_embedding.reshape(1, -1, 1, 1)
    answers = []
    for order in itertools.permutations(images):
        with torch.no_grad():
            output = model({name: images[name] for name in order})
        assert list(output.frames) == list(order)
        for place, frame in enumerate(output.frames.values()):
            assert torch.equal(frame.conditioned, frame.pyramid.s16 + empty) == (place == 0)
        answers.append(output.logits)
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(answers, 2)), "the order matters"


def test_without_memory_each_modality_sees_itself_alone(micro):
    model = micro(3, memory=False).eval()
    images = make_images(model.task)
    with torch.no_grad():
        together = model(images).frames
        alone = model({"m2": images["m2"]}).frames
    assert torch.allclose(together["m2"].masks.logits, alone["m2"].masks.logits, atol=1e-5)


def test_only_the_latest_memories_are_attended_to_where_asked(micro):
    model = micro(4, latest=2).eval()
    images = make_images(model.task)
    whole = micro(4, latest=0).eval()
    with torch.no_grad():
        before = model(images).frames
        assert torch.allclose(before["m2"].conditioned, whole(images).frames["m2"].conditioned)
        assert not torch.allclose(before["m3"].conditioned, whole(images).frames["m3"].conditioned)
        memories = [model.memorize(frame.pyramid, frame.masks) for frame in list(before.values())[1:3]]
        assert torch.allclose(before["m3"].conditioned, model.condition(before["m3"].pyramid, memories), atol=1e-5)


def test_the_cost_of_a_further_modality_is_bounded_by_the_latest_memories(micro):
    costs = {latest: [forward_flops(micro(m, latest=latest)) for m in (4, 5, 6)] for latest in (0, 2)}
    grows, bounded = ([b - a for a, b in itertools.pairwise(costs[latest])] for latest in (0, 2))
    assert bounded[1] == bounded[0]
    assert grows[1] > grows[0] > bounded[0]


def test_prediction_is_the_mean_over_modalities_or_the_last_mask(micro):
    for residual in (True, False):
        model = micro(3, residual=residual).eval()
        with torch.no_grad():
            output = model(make_images(model.task))
        masks = torch.stack([frame.masks.logits for frame in output.frames.values()])
        assert torch.allclose(output.logits, masks.mean(dim=0) if residual else masks[-1])


def test_batch_does_not_mix_samples(micro):
    model = micro(2).eval()
    images = make_images(model.task, batch=3)
    with torch.no_grad():
        together = model(images).logits
        one = model({name: image[1:2] for name, image in images.items()}).logits
    assert torch.allclose(together[1:2], one, atol=1e-4)


def test_object_gate_empties_masks_where_the_score_is_negative(micro):
    closed = micro(2, object_gate=True).eval()
    last = closed.sam2.mask_decoder.pred_obj_score_head.proj_out
    images = make_images(closed.task)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(-5.0)
        assert (closed(images).logits == -1024).all()
        last.bias.fill_(5.0)
        opened = closed(images).logits
        closed.sam2.object_gate = False
        assert torch.equal(closed(images).logits, opened)


def test_channels_become_three(micro):
    for channels, stem in [(1, "repeat"), (1, "learned"), (2, (0, 1, 0)), (5, "learned"), (7, (6, 0, 3))]:
        task = make_task(1)
        task = task.model_copy(update={"modalities": (Modality(name="m0", channels=channels, stem=stem),)})
        model = create(ModelSettings(backbone="micro"), task).eval()
        image = torch.randn(1, channels, 64, 96)
        three = model.stems["m0"](image)
        assert three.shape == (1, 3, 64, 96)
        if stem == "repeat":
            assert all(torch.equal(three[:, i : i + 1], image) for i in range(3))
        elif stem == "learned":
            assert torch.allclose(three, image.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1), atol=1e-5)
        else:
            assert torch.equal(three, image[:, list(stem)])
        with torch.no_grad():
            assert model({"m0": image}).logits.shape == (1, 5, 16, 24)


@pytest.mark.parametrize("modalities", [1, 3])
@pytest.mark.parametrize("scratch", [True, False])
@pytest.mark.parametrize(
    "settings",
    [{}, {"memory": False}, {"prototypes": "off"}, {"residual": False}, {"lora_rank": 0}]
    + [{"train": TrainedParts(**{part: False})} for part in ("lora", "memory", "decoder")],
)
def test_what_is_declared_to_train_gets_a_gradient_and_nothing_else(modalities, scratch, settings):
    task = make_task(modalities)
    model = create(ModelSettings(backbone="micro", **settings), task, from_scratch=scratch)
    output = model(make_images(task, batch=2))
    labels = torch.randint(0, 5, (2, *task.image_size))
    loss, _ = training_loss(model, output, labels)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_default_trains_the_papers_parts():
    """Everything but the encoder's own weights; heads that no loss reaches stay as they are."""
    model = create(ModelSettings(backbone="micro"), make_task(2), from_scratch=False)
    trained = {part for part, parameters in model.parts().items() if any(p.requires_grad for p in parameters)}
    assert trained == {"lora", "memory", "decoder"}


def test_parts_hold_every_parameter_once(micro):
    model = micro(3)
    counted = [id(p) for parameters in model.parts().values() for p in parameters]
    assert sorted(counted) == sorted(id(p) for p in model.parameters())


def test_recomputing_activations_changes_nothing_but_memory(micro):
    model = micro(2, dropout=0.0).train()
    images = make_images(model.task)
    gradients = []
    for recompute in (False, True):
        model.recompute_activations(recompute)
        model.zero_grad()
        model(images).logits.square().mean().backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_wrong_input_is_explained(micro):
    model = micro(2)
    good = make_images(model.task)
    for images, words in [
        ({}, "without any image"),
        ({"thermal": good["m0"]}, "no modality 'thermal'"),
        ({"m0": good["m0"][:, :1]}, "expected: [batch, 3, height, width]"),
        ({"m0": good["m0"][0]}, "expected: [batch, 3, height, width]"),
        ({**good, "m1": good["m1"][..., :64]}, "same batch, height and width"),
        ({"m0": torch.randn(1, 3, 60, 96)}, "multiples of 32"),
    ]:
        with pytest.raises(InputError) as error:
            model(images)
        assert words in str(error.value)


def test_no_memory_and_no_residual_is_refused():
    with pytest.raises(SettingsError, match="would have no effect"):
        create(ModelSettings(backbone="micro", memory=False, residual=False), make_task(2))


def test_unknown_backbone_names_the_nearest():
    with pytest.raises(SettingsError, match="did you mean 'sam2-tiny'"):
        create(ModelSettings(backbone="sam2-tinny"), make_task(2))
