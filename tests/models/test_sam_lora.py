import itertools
import math

import pytest
import torch

from memorysam.config import ModelSettings
from memorysam.models import weights
from memorysam.models.base import count
from memorysam.models.factory import create
from memorysam.models.lora import lora_layers, merge_lora
from memorysam.models.sam import SAM

from .conftest import make_images, make_task
from .test_lora import shake

BOTH = pytest.mark.parametrize("name", ["sam-lora", "cwsam"])


def stir(model, by=0.1):
    """Move every weight, also those that start at zero."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize(("name", "published"), [("sam-b", 93_735_472), ("sam-l", 312_342_832), ("sam-h", 641_090_608)])
def test_sizes_are_those_of_metas_sam(name, published):
    with torch.device("meta"):
        sam = SAM(name, masks=4, image_size=(1024, 1024))
    assert count(list(sam.parameters())) == published - 5_964  # of prompts, which are never given here


def test_decoder_positions_are_of_token_centres_with_x_first():
    sam = SAM("micro", masks=4, image_size=(32, 80))
    position = sam.dense_position(2, 5)
    assert position.shape == (1, 64, 2, 5)
    for row, column in ((0, 0), (1, 3)):
        centre = torch.tensor([2 * (column + 0.5) / 5 - 1, 2 * (row + 0.5) / 2 - 1])
        angles = 2 * math.pi * centre @ sam.positional_embedding
        assert torch.allclose(position[0, :, row, column], torch.cat([angles.sin(), angles.cos()]), atol=1e-5)


@BOTH
@pytest.mark.parametrize("size", [(64, 96), (96, 64), (32, 32), (32, 160)])
def test_tables_have_the_size_of_the_tasks_images(micro, name, size):
    model = micro(1, size=size, name=name)
    h, w = size[0] // 16, size[1] // 16
    encoder = model.sam.vision_encoder
    assert encoder.pos_embed.shape == (1, h, w, 96)
    for i, layer in enumerate(encoder.layers):
        reach = (h, w) if i in (1, 3) else (4, 4)
        assert [len(layer.attn.rel_pos_h), len(layer.attn.rel_pos_w)] == [2 * side - 1 for side in reach]


@BOTH
@pytest.mark.parametrize("size", [(128, 64), (96, 224)])
def test_a_checkpoint_loaded_at_another_size_is_the_model_shown_images_of_that_size(micro, tmp_path, name, size):
    """Tables resized on loading and tables interpolated on the fly are the same."""
    model = stir(micro(2, name=name))
    weights.save(tmp_path / "model.safetensors", model)
    other, report = weights.load(tmp_path / "model.safetensors", make_task(2, size=size))
    assert report.new == ()
    assert other.sam.vision_encoder.pos_embed.shape == (1, size[0] // 16, size[1] // 16, 96)
    images = make_images(other.task)
    with torch.no_grad():
        before = model(images).logits
        assert torch.allclose(before, other.eval()(images).logits, atol=1e-5)
        torch.nn.init.zeros_(other.sam.vision_encoder.pos_embed)
        assert not torch.allclose(before, other(images).logits, atol=1e-2), "positions have an effect"


@BOTH
def test_several_modalities_are_the_mean_of_each_alone_in_any_order(micro, name):
    model = stir(micro(3, name=name))
    images = make_images(model.task, batch=2)
    with torch.no_grad():
        alone = {key: model({key: image}) for key, image in images.items()}
        for names in itertools.permutations(images, 2):
            together = model({key: images[key] for key in names})
            assert list(together.frames) == list(names)
            logits = torch.stack([alone[key].logits for key in names])
            assert not torch.allclose(logits[0], logits[1], atol=1e-2)
            assert torch.allclose(together.logits, logits.mean(dim=0), atol=1e-4)
            features = torch.stack([alone[key].features for key in names])
            assert torch.allclose(together.features, features.mean(dim=0), atol=1e-4)
            assert all(torch.allclose(together.frames[k].ious, alone[k].frames[k].ious, atol=1e-4) for k in names)


@BOTH
def test_a_batch_equals_single_runs(micro, name):
    model = stir(micro(2, name=name))
    images = make_images(model.task, batch=3)
    with torch.no_grad():
        together = model(images).logits
        for i in range(3):
            one = model({key: image[i : i + 1] for key, image in images.items()}).logits
            assert torch.allclose(together[i : i + 1], one, atol=1e-4)


@BOTH
def test_mixed_precision_stays_near_full_precision(micro, name):
    model = stir(micro(2, channels=5, name=name), 0.02)  # five channels: the learned stem is in half precision too
    images = make_images(model.task)
    with torch.no_grad():
        full = model(images).logits
        with torch.autocast("cpu", torch.bfloat16):
            half = model(images).logits
    assert half.dtype == torch.bfloat16
    assert (half.float() - full).abs().max() < 0.1 * full.abs().max()


def test_every_block_is_adapted_and_the_decoder_is_not(micro):
    model = micro(1, name="sam-lora", lora_rank=3)
    layers = lora_layers(model)
    assert layers == [block.attn.qkv for block in model.sam.blocks]
    assert {tuple(layer.q_down.shape) for layer in layers} == {(3, 96)}
    assert lora_layers(micro(1, name="sam-lora", lora_rank=0)) == []


def test_deltas_start_without_effect_then_have_one_and_can_be_merged(micro):
    with_deltas, without = (micro(1, name="sam-lora", lora_rank=rank).eval() for rank in (4, 0))
    without.load_state_dict({n: t for n, t in with_deltas.state_dict().items() if n in without.state_dict()})
    images = make_images(with_deltas.task)
    with torch.no_grad():
        assert torch.equal(with_deltas(images).logits, without(images).logits)
        shake(with_deltas)
        shaken = with_deltas(images).frames["m0"].embedding
        assert (shaken - without(images).frames["m0"].embedding).abs().max() > 0.1
        merge_lora(with_deltas)
        assert torch.allclose(with_deltas(images).frames["m0"].embedding, shaken, atol=1e-4)


def test_each_class_has_its_own_mask_token_and_network_and_none_is_dropped(micro):
    model = stir(micro(1, classes=6, name="sam-lora"))
    assert model.sam.mask_decoder.mask_tokens.weight.shape == (6, 64)
    images = make_images(model.task)
    with torch.no_grad():
        before = model(images).logits
        for i in range(6):
            last = model.sam.mask_decoder.output_hypernetworks_mlps[i].proj_out
            last.bias.add_(1)
            changed = [not torch.equal(a, b) for a, b in zip(before[0], model(images).logits[0], strict=True)]
            assert changed == [j == i for j in range(6)]
            last.bias.sub_(1)
            before = model(images).logits


def test_trains_lora_and_decoder_and_never_the_iou_head():
    model = create(ModelSettings(name="sam-lora", backbone="micro"), make_task(2), from_scratch=False)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {model.part_of(name) for name in trained} == {"lora", "decoder"}
    assert "sam.no_mask_embed.weight" in trained
    assert not any("iou_prediction_head" in name for name in trained)
    model.train_only(model.PARTS[:-1])
    heads = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert {model.part_of(name) for name in heads} == {"heads"}
    assert all("iou_prediction_head" in name for name in heads)
