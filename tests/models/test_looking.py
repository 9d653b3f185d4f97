"""Where a modality looks: recomputed weights are those that the model used."""

import pytest
import torch

from memorysam.config import ModelSettings
from memorysam.errors import InputError
from memorysam.models.factory import create
from memorysam.models.looking import watch, why_blind
from memorysam.spec import Modality, Task, as_classes, camera

SIZE = (64, 96)


def make(names=("rgb", "depth", "heat"), **settings):
    torch.manual_seed(1)
    modalities = (camera(names[0]), *(Modality(name=name, channels=1) for name in names[1:]))
    task = Task(modalities=modalities, classes=as_classes(["a", "b", "c"]), image_size=SIZE)
    return create(ModelSettings(**{"backbone": "micro", "lora_rank": 0} | settings), task).eval()


def images(model):
    return {m.name: torch.randn(1, m.channels, *SIZE) for m in model.task.modalities}


def run(model, given):
    with torch.no_grad(), watch(model) as seen:
        output = model(given)
    return output, seen.looks


def test_each_later_modality_looks_at_all_earlier_ones():
    model = make(("rgb", "a", "b", "c"))
    _, looks = run(model, images(model))
    assert [(look.name, look.earlier) for look in looks] == [
        ("a", ("rgb",)),
        ("b", ("rgb", "a")),
        ("c", ("rgb", "a", "b")),
    ]
    assert looks[0].size == (4, 6)


def test_weights_of_all_memories_and_pointers_sum_to_one_and_are_spread_within_each():
    model = make()
    _, looks = run(model, images(model))
    for look in looks:
        for y, x in ((0, 0), (2, 5), (3, 1)):
            glances = look.at(y, x)
            assert sum(glance.share for glance in glances.values()) == pytest.approx(1, abs=1e-5)
            for glance in glances.values():
                assert glance.weights.shape == (4, 6)
                assert glance.weights.min() >= 0
                assert 0 < glance.pointer < 1
                assert float(glance.spread.sum()) == pytest.approx(1, abs=1e-5)


def test_they_are_the_weights_that_the_model_used():
    model = make()
    layer = model.sam2.memory_attention.layers[-1].cross_attn_image
    values, mixed = [], []
    layer.v_proj.register_forward_hook(lambda _m, _i, out: values.append(out))
    layer.o_proj.register_forward_pre_hook(lambda _m, given: mixed.append(given[0]))
    _, looks = run(model, images(model))
    assert layer.num_attention_heads == 1  # else the mean over heads could not be compared
    for look, value, result in zip(looks, values, mixed, strict=True):
        places = look.size[0] * look.size[1]
        count = len(look.earlier)
        tokens = (value.shape[1] - count * places) // count
        for y, x in ((0, 0), (3, 4)):
            glances = look.at(y, x)
            ours = torch.zeros(value.shape[2])
            scores = (look.queries[0, y * look.size[1] + x] * look.keys[0]).sum(-1) * look.scale
            exact = scores.softmax(-1)
            for i, glance in enumerate(glances.values()):
                ours += glance.weights.flatten() @ value[0, i * places : (i + 1) * places]
                start = count * places + i * tokens
                assert glance.pointer == pytest.approx(float(exact[start : start + tokens].sum()), abs=1e-6)
                ours += exact[start : start + tokens] @ value[0, start : start + tokens]
            assert torch.allclose(ours, result[0, y * look.size[1] + x], atol=1e-5)


def test_with_only_the_latest_memory_the_earlier_one_is_the_one_before():
    model = make(latest=1)
    _, looks = run(model, images(model))
    assert [look.earlier for look in looks] == [("rgb",), ("depth",)]


def test_watching_changes_nothing_and_leaves_nothing_behind():
    model = make()
    given = images(model)
    with torch.no_grad():
        before = model(given).logits
    assert torch.equal(run(model, given)[0].logits, before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_subset_in_bfloat16_is_seen_too():
    model = make().bfloat16()
    given = {name: image.bfloat16() for name, image in images(model).items() if name != "depth"}
    _, (look,) = run(model, given)
    assert (look.name, look.earlier) == ("heat", ("rgb",))
    assert look.at(1, 1)["rgb"].share == pytest.approx(1, abs=1e-4)


def test_what_cannot_look_says_why():
    assert why_blind(make(), 2) is None
    assert "one sensor alone" in why_blind(make(), 1)
    assert "without its memory" in why_blind(make(memory=False), 3)
    other = make(name="mean-fusion", backbone="default", lora_rank=4)
    assert "mean-fusion has no memory" in why_blind(other, 3)
    assert run(other, images(other))[1] == ()


def test_a_place_outside_is_refused():
    model = make()
    with pytest.raises(InputError, match="no position 4, 0"):
        run(model, images(model))[1][0].at(4, 0)
