import pytest
import torch
from torch import nn

from memorysam.errors import InputError
from memorysam.models import weights
from memorysam.models.lora import LoRAQKV, add_lora, lora_layers, merge_lora, unmerge_lora

from .conftest import make_images


def shake(model):
    """Give the deltas something to do."""
    for layer in lora_layers(model):
        nn.init.normal_(layer.q_up, std=0.1)
        nn.init.normal_(layer.v_up, std=0.1)


def test_starts_as_the_base_layer():
    base = nn.Linear(8, 36)
    expected = base(x := torch.randn(5, 8))
    assert torch.equal(LoRAQKV(base, rank=2)(x), expected)


def test_deltas_reach_q_and_v_and_leave_k_alone():
    base = nn.Linear(8, 36)
    layer = LoRAQKV(base, rank=2)
    x = torch.randn(5, 8)
    before = layer(x)
    nn.init.ones_(layer.q_up)
    nn.init.ones_(layer.v_up)
    change = layer(x) - before
    assert torch.equal(change[:, 12:24], torch.zeros(5, 12))
    assert torch.allclose(change[:, :12], (x @ layer.q_down.T).sum(1, keepdim=True).expand(-1, 12), atol=1e-5)
    assert torch.allclose(change[:, 24:], (x @ layer.v_down.T).sum(1, keepdim=True).expand(-1, 12), atol=1e-5)


def test_every_block_is_adapted_also_at_stage_transitions(micro):
    model = micro(1)
    layers = lora_layers(model)
    assert len(layers) == 5
    assert {(layer.in_features, layer.out_features) for layer in layers} >= {(32, 96), (32, 192), (64, 384), (128, 576)}
    assert add_lora(model, 4) == 0, "adapting twice must not wrap twice"


def test_zero_rank_has_no_lora(micro):
    assert lora_layers(micro(1, lora_rank=0)) == []


def test_merged_equals_unmerged_and_comes_back_exactly(micro):
    model = micro(2).eval()
    shake(model)
    images = make_images(model.task)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        plain = model(images).logits
        merge_lora(model)
        merged = model(images).logits
    assert torch.allclose(plain, merged, atol=1e-5)
    unmerge_lora(model)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_merging_twice_adds_once(micro):
    model = micro(1).eval()
    shake(model)
    merge_lora(model)
    once = [layer.weight.clone() for layer in lora_layers(model)]
    merge_lora(model)
    assert all(torch.equal(a, layer.weight) for a, layer in zip(once, lora_layers(model), strict=True))


def test_a_step_changes_the_deltas_and_not_the_base(micro):
    model = micro(2)
    model.train_only(["lora"])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    shake(model)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01, eps=1e-30)
    model(make_images(model.task)).logits.square().mean().backward()
    optimizer.step()
    for name, tensor in model.state_dict().items():
        is_delta = name.endswith(("q_down", "q_up", "v_down", "v_up"))
        assert torch.equal(tensor, before[name]) != is_delta, name


def test_merged_weights_are_not_saved(micro, tmp_path):
    model = micro(1)
    merge_lora(model)
    with pytest.raises(InputError, match="unmerge_lora"):
        weights.save(tmp_path / "model.safetensors", model)
