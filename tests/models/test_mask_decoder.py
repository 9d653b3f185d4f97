from copy import deepcopy

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel

from memorysam.models import mask_decoder
from memorysam.models.once import made_once
from memorysam.models.sam2_sizes import backbone, configuration


def decoder_of(classes, name="micro"):
    torch.manual_seed(0)
    decoder = Sam2VideoModel(configuration(backbone(name), classes, 0.0)).mask_decoder.eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return decoder


def inputs_of(decoder, batch, size, dtype=torch.float32):
    torch.manual_seed(1)
    width, (h, w) = decoder.hidden_size, size
    shapes = [
        (batch, width, h, w),
        (1, width, h, w),
        (batch, 2, width),
        (batch, width // 8, 4 * h, 4 * w),
        (batch, width // 4, 2 * h, 2 * w),
    ]
    return [torch.randn(shape, dtype=dtype).requires_grad_() for shape in shapes]


def ours(decoder, image, position, prompt, s4, s8):
    return mask_decoder.decode(decoder, image, position, prompt, (s4, s8))


def theirs(decoder, image, position, prompt, s4, s8):
    masks, ious, tokens, score = decoder(
        image_embeddings=image,
        image_positional_embeddings=position.expand(len(image), -1, -1, -1),
        sparse_prompt_embeddings=prompt.unsqueeze(1),
        dense_prompt_embeddings=torch.zeros(1, image.shape[1], 1, 1, dtype=image.dtype),
        multimask_output=True,
        high_resolution_features=[s4, s8],
    )
    return masks[:, 0], ious[:, 0], tokens[:, 0], score[:, 0]


@pytest.mark.parametrize("classes", [2, 20, 25])
@pytest.mark.parametrize(("batch", "size"), [(1, (4, 4)), (3, (8, 5))])
def test_it_answers_as_transformers_does(classes, batch, size):
    decoder = decoder_of(classes)
    inputs = inputs_of(decoder, batch, size)
    with torch.no_grad():
        for _ in range(2):  # the second time with what was kept of the first
            for mine, yours in zip(ours(decoder, *inputs), theirs(decoder, *inputs), strict=True):
                assert mine.shape == yours.shape
                assert (mine - yours).abs().max() <= 1e-5 * max(1.0, float(yours.abs().max()))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_those_of_transformers(layout):
    decoder = decoder_of(4)
    inputs = inputs_of(decoder, 2, (4, 6))
    inputs = [x.detach().to(memory_format=layout).requires_grad_() if x.ndim == 4 else x for x in inputs]
    used = {name: p for name, p in decoder.named_parameters() if not name.startswith(("conv_s0", "conv_s1"))}
    tensors = [*inputs, *used.values()]
    found = []
    for decode in (ours, theirs):
        answers = decode(decoder, *inputs)
        found.append(torch.autograd.grad(sum(answer.square().sum() for answer in answers), tensors))
    for name, mine, yours in zip(["image", "position", "prompt", "s4", "s8", *used], *found, strict=True):
        assert (mine - yours).abs().max() <= 1e-4 * max(1.0, float(yours.abs().max())), name


def test_bfloat16_is_close():
    decoder = decoder_of(5)
    inputs = inputs_of(decoder, 2, (4, 6))
    with torch.no_grad():
        exact = theirs(decoder, *inputs)
        rounded = ours(decoder.bfloat16(), *(x.bfloat16() for x in inputs))
    for mine, yours in zip(rounded, exact, strict=True):
        assert mine.dtype == torch.bfloat16
        assert (mine.float() - yours).norm() < 0.05 * yours.norm()


def test_what_is_kept_of_the_networks_follows_their_weights():
    decoder = decoder_of(3).requires_grad_(False)
    inputs = inputs_of(decoder, 1, (4, 4))
    names = list(decoder.state_dict())
    with torch.no_grad():
        before = ours(decoder, *inputs)[0]
        decoder.output_hypernetworks_mlps[1].proj_out.bias.add_(1.0)
        after = ours(decoder, *inputs)[0]
        copied = ours(deepcopy(decoder), *inputs)[0]
        assert (after - theirs(decoder, *inputs)[0]).abs().max() < 1e-5
    assert (after - before)[:, 0].abs().max() > 0.01
    assert torch.equal(after, copied)
    assert list(decoder.state_dict()) == names


def test_things_are_made_again_when_a_tensor_or_a_setting_changes():
    owner, tensor = torch.nn.Module(), torch.ones(3)
    made = []

    def make():
        made.append(1)
        return tensor * 2

    with torch.inference_mode():
        kept = made_once(owner, "_kept", [tensor], make, 4)
        assert made_once(owner, "_kept", [tensor], make, 4) is kept
    assert not kept.is_inference()
    assert made_once(owner, "_kept", [tensor], make, 5) is not kept
    tensor.add_(1)
    assert torch.equal(made_once(owner, "_kept", [tensor], make, 5), torch.full((3,), 4.0))
    assert len(made) == 3


def test_of_what_may_train_nothing_is_kept():
    owner, tensor = torch.nn.Module(), torch.nn.Parameter(torch.ones(3))
    made_once(owner, "_kept", [tensor], lambda: tensor * 2).sum().backward()
    assert torch.equal(tensor.grad, torch.full((3,), 2.0))
    with torch.no_grad():
        before = made_once(owner, "_kept", [tensor], lambda: tensor * 2)
    version = tensor._version
    torch.optim.AdamW([tensor], lr=0.5, fused=True).step()
    assert tensor._version == version, "if fused steps make versions, this test proves nothing"
    with torch.no_grad():
        assert not torch.equal(made_once(owner, "_kept", [tensor], lambda: tensor * 2), before)


def test_stand_ins_of_a_tracer_are_not_kept():
    owner = torch.nn.Module()
    with FakeTensorMode():
        made_once(owner, "_kept", [], lambda: torch.ones(2))
    assert type(made_once(owner, "_kept", [], lambda: torch.ones(2))) is torch.Tensor
