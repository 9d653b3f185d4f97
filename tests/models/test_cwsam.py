import math

import pytest
import torch

from memorysam.config import ModelSettings
from memorysam.models.cwsam import ClassUpscaling
from memorysam.models.cwsam_adapters import low_pass
from memorysam.models.factory import create

from .conftest import make_images, make_task
from .test_sam_lora import stir


@pytest.fixture
def model(micro):
    return stir(micro(1, name="cwsam"))


def answer(model, images):
    with torch.no_grad():
        return model(images).logits


def wave(size, cycles, axis):
    """A cosine of so many periods per image, 1 at the first pixel."""
    values = (2 * math.pi * cycles / size[axis] * torch.arange(size[axis], dtype=torch.float64)).cos().float()
    return values.view(-1, 1).expand(size) if axis == 0 else values.expand(size)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("size", [(64, 64), (32, 128), (64, 96)])
def test_low_pass_keeps_low_frequencies_and_drops_high_ones(size, axis):
    line = int(math.sqrt(size[0] * size[1] * 0.25) // 2)
    for cycles in range(size[axis] // 2):
        image = wave(size, cycles, axis)
        # At the edge, one of a wave's two frequencies is kept: half of it.
        share = 1 if cycles < line else 0.5 if cycles == line else 0
        assert torch.allclose(low_pass(image[None, None])[0, 0], share * image.abs(), atol=1e-5), cycles


def test_low_pass_takes_half_precision():
    image = torch.randn(1, 3, 96, 64)
    assert torch.allclose(low_pass(image.bfloat16()), low_pass(image), atol=0.05)


def test_scrambled_tokens_hold_values_of_others(model):
    tokens = torch.randn(2, 4, 6, 96)
    prompts = model.prompts
    weight, bias = prompts.embedding.weight, prompts.embedding.bias
    with torch.no_grad():
        assert torch.allclose(prompts.token_feature(tokens), tokens.flatten(1, 2) @ weight.T + bias, atol=1e-5)
        prompts.scrambled = True
        feature = prompts.token_feature(tokens)
    for image in range(2):
        flat = tokens[image].flatten()
        for p in (0, 7, 23):
            row = torch.stack([flat[c * 24 + p] for c in range(96)])
            assert torch.allclose(feature[image, p], weight @ row + bias, atol=1e-5)


def test_scrambling_is_an_option_that_changes_the_answer_and_is_saved(micro):
    plain, scrambled = (stir(micro(1, name="cwsam", scrambled_tokens=on)) for on in (False, True))
    scrambled.load_state_dict(plain.state_dict())
    images = make_images(plain.task)
    assert (answer(plain, images) - answer(scrambled, images)).abs().max() > 0.01
    assert [m.settings()["scrambled_tokens"] for m in (plain, scrambled)] == [False, True]


def test_at_the_start_the_encoder_is_sams(micro):
    model = micro(2, name="cwsam").eval()
    images = make_images(model.task)
    with torch.no_grad():
        ours = model.encode(images)
        theirs = model.sam.encode(torch.cat(list(images.values())))
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_each_block_is_given_its_own_prompt(model):
    images = make_images(model.task)
    before = answer(model, images)
    for light in model.prompts.light:
        with torch.no_grad():
            light.bias.add_(3)
        after = answer(model, images)
        assert not torch.allclose(before, after, atol=1e-3)
        before = after


def test_adapters_follow_attention_and_stand_beside_the_mlp_at_half_scale(model):
    """With adapters that give a constant, in the last block: one passes the MLP, the other adds half of itself."""
    block, adapters = model.sam.blocks[2], model.adapters[2]
    assert block.window_size == 4
    tokens = torch.randn(2, 4, 6, 96)
    with torch.no_grad():
        for adapter in (adapters.space, adapters.mlp):
            for layer in (adapter.down, adapter.up):
                layer.weight.zero_()
                layer.bias.zero_()
        plain = block(tokens)
        assert torch.allclose(adapters(block, tokens), plain, atol=1e-5)
        adapters.mlp.up.bias.fill_(2.0)
        assert torch.allclose(adapters(block, tokens), plain + 1.0, atol=1e-5)
        adapters.mlp.up.bias.zero_()
        adapters.space.up.bias.fill_(2.0)
        block.mlp.lin2.weight.zero_()
        plain = block(tokens)
        assert torch.allclose(adapters(block, tokens), plain + 2.0, atol=1e-5)


def test_adapters_of_depth_are_there_and_do_nothing(model):
    images = make_images(model.task)
    before = answer(model, images)
    with torch.no_grad():
        for adapters in model.adapters:
            adapters.depth.up.bias.fill_(100.0)
    assert torch.equal(answer(model, images), before)


def test_only_the_first_mask_token_is_read_and_all_take_part(model):
    images = make_images(model.task)
    before = answer(model, images)
    decoder = model.sam.mask_decoder
    with torch.no_grad():
        for network in decoder.output_hypernetworks_mlps[1:]:
            network.proj_out.bias.add_(1)
        assert torch.equal(answer(model, images), before)
        decoder.mask_tokens.weight[3].add_(1)
        assert not torch.allclose(answer(model, images), before, atol=1e-4)
        decoder.output_hypernetworks_mlps[0].proj_out.bias.add_(1)
        assert not torch.allclose(answer(model, images), before, atol=1e-2)


def test_channels_of_the_classes_are_interleaved():
    upscaling = ClassUpscaling(width=4, classes=3)
    image = torch.randn(2, 8, 5, 7)
    with torch.no_grad():
        before = upscaling(image)
        assert before.shape == (2, 4, 3, 5, 7)
        upscaling.to_classes.bias[2 * 3 + 1] += 1  # channel 2 of class 1
        changed = (upscaling(image) != before).flatten(3).any(dim=3)
    assert changed.nonzero().tolist() == [[0, 2, 1], [1, 2, 1]]


def test_trains_adapters_prompts_and_decoder_and_never_what_is_not_reached():
    model = create(ModelSettings(name="cwsam", backbone="micro"), make_task(2), from_scratch=False)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {model.part_of(name) for name in trained} == {"adapters", "decoder"}
    roots = {name.split(".")[0] for name in trained}
    assert roots == {"adapters", "prompts", "class_upscaling", "sam"}
    assert not any(".depth." in name or "iou_prediction_head" in name for name in trained)
    networks = {name.split(".")[3] for name in trained if "output_hypernetworks_mlps" in name}
    assert networks == {"0"}
