import pytest
import torch
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel, apply_rotary_pos_emb_2d

from memorysam.models import memory_attention
from memorysam.models.sam2_sizes import backbone, configuration

SIZE = (3, 5)


def attention_of():
    torch.manual_seed(0)
    module = Sam2VideoModel(configuration(backbone("micro"), 3, 0.0)).memory_attention.eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return module


def inputs_of(module, memories, placeless, batch=2):
    torch.manual_seed(1)
    places, keys = SIZE[0] * SIZE[1], memories * SIZE[0] * SIZE[1] + placeless
    shapes = [(batch, places, module.layer_norm.normalized_shape[0]), (batch, keys, 64), (1, keys, 64)]
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


def theirs(module, queries, keys, positions, placeless):
    rotation = module.rotary_emb(queries, memory_attention.grid(*SIZE, queries.device))
    x = queries.unsqueeze(1)
    for layer in module.layers:
        x = layer(
            queries=x,
            keys=keys.unsqueeze(1),
            key_point_embedding=positions.unsqueeze(1),
            rope_position_embeddings=rotation,
            num_k_exclude_rope=placeless,
        )
    return module.layer_norm(x).squeeze(1)


@pytest.mark.parametrize(("memories", "placeless"), [(1, 0), (1, 4), (3, 12), (1, 20)])
def test_it_answers_and_learns_as_transformers_does(memories, placeless):
    """Also where there are more keys without a place than places."""
    module = attention_of()
    inputs = inputs_of(module, memories, placeless)
    tensors = [*inputs, *module.parameters()]
    answers = [memory_attention.attend(module, *inputs, SIZE, placeless), theirs(module, *inputs, placeless)]
    assert (answers[0] - answers[1]).abs().max() < 1e-5
    found = [
        torch.autograd.grad(answer.square().mul(torch.arange(answer.shape[2])).sum(), tensors) for answer in answers
    ]
    for mine, yours in zip(*found, strict=True):
        assert (mine - yours).abs().max() <= 1e-4 * max(1.0, float(yours.abs().max()))
    with torch.no_grad():
        assert (memory_attention.attend(module, *inputs, SIZE, placeless) - answers[1]).abs().max() < 1e-5


def test_bfloat16_is_close():
    module = attention_of()
    inputs = inputs_of(module, 2, 4)
    with torch.no_grad():
        exact = theirs(module, *inputs, 4)
        frequencies = module.rotary_emb.inv_freq.clone()
        module.bfloat16().rotary_emb.inv_freq = frequencies
        rounded = memory_attention.attend(module, *(x.bfloat16() for x in inputs), SIZE, 4)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).norm() < 0.03 * exact.norm()


def test_pairs_of_channels_are_turned_by_their_positions_angle(monkeypatch):
    module = attention_of()
    x = torch.randn(2, 2 * 15, 1, 2 * module.rotary_emb.inv_freq.numel() * 2)
    turns = memory_attention.turns_at(module.rotary_emb, SIZE, x.device)
    cos, sin = module.rotary_emb(x, memory_attention.grid(*SIZE, x.device))
    q, k = x[:, :15].transpose(1, 2), x.transpose(1, 2)
    expected = apply_rotary_pos_emb_2d(q, k, cos, sin, repeat_freqs_k=True)[1].transpose(1, 2)
    assert (memory_attention.rotate(x, turns) - expected).abs().max() < 1e-6
    with monkeypatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        assert (memory_attention.rotate(x, turns) - expected).abs().max() < 1e-6
    assert memory_attention.rotate(x.bfloat16(), turns).dtype == torch.bfloat16
