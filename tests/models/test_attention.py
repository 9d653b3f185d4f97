import pytest
import torch
from torch.nn import functional as F

from memorysam.models import attention as module
from memorysam.models.attention import attention, for_transformers
from memorysam.models.dropout import draw_seed, keep_mask


def inputs(queries=20, keys=30, dtype=torch.float32, n=2, heads=3, d=8):
    torch.manual_seed(0)
    shapes = ((n, heads, queries, d), (n, heads, keys, d), (n, heads, keys, d))
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def gradients(out, tensors):
    torch.manual_seed(3)
    return torch.autograd.grad(out, tensors, torch.randn_like(out))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("largest", [1 << 25, 700, 40], ids=["whole", "by-rows", "by-queries"])
def test_it_is_attention_however_it_is_cut(dtype, tolerance, largest, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", largest)
    monkeypatch.setattr(module, "WIDE_TO_LEARN", 0)  # products, whatever is faster
    q, k, v = inputs(dtype=dtype)
    ours, theirs = attention(q, k, v, 0.4), F.scaled_dot_product_attention(q, k, v, scale=0.4)
    assert (ours - theirs).abs().max() <= tolerance
    for mine, yours in zip(gradients(ours, (q, k, v)), gradients(theirs, (q, k, v)), strict=True):
        assert (mine - yours).abs().max() <= 10 * tolerance


def test_long_or_learning_sequences_in_float32_go_to_pytorchs_kernel(monkeypatch):
    monkeypatch.setattr(module._Products, "apply", lambda *_: pytest.fail("products were made"))
    q, k, v = inputs(keys=module.LONG)
    with torch.no_grad():
        assert torch.equal(attention(q, k, v, 0.4), F.scaled_dot_product_attention(q, k, v, scale=0.4))
    assert attention(*inputs(), 0.4).requires_grad


@pytest.mark.parametrize("largest", [1 << 25, 700])
def test_the_backward_pass_drops_what_the_forward_pass_dropped(largest, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", largest)
    q, k, v = inputs()
    torch.manual_seed(5)
    out = attention(q, k, v, 0.4, dropout=0.25)
    torch.manual_seed(5)
    seed = draw_seed()
    rows = max(1, largest // (20 * 30)) if largest < 6 * 600 else 6
    masks = [
        keep_mask(torch.Size((min(rows, 6 - i), 20, 30)), 0.25, seed + n, q.dtype)
        for n, i in enumerate(range(0, 6, rows))
    ]
    mask = torch.cat(masks).view(2, 3, 20, 30)
    expected = (torch.softmax(q @ k.transpose(-1, -2) * 0.4, dim=-1) * mask) @ v
    assert (out - expected).abs().max() < 1e-6
    for mine, yours in zip(gradients(out, (q, k, v)), gradients(expected, (q, k, v)), strict=True):
        assert (mine - yours).abs().max() < 1e-5


def test_transformers_call_it_with_heads_last_in_the_answer():
    q, k, v = inputs()
    out, weights = for_transformers(torch.nn.Identity(), q, k, v, None, scaling=0.4, is_causal=False)
    assert weights is None
    assert (out.transpose(1, 2) - F.scaled_dot_product_attention(q, k, v, scale=0.4)).abs().max() < 1e-6
    bias = torch.randn(2, 3, 20, 30)
    out, _ = for_transformers(torch.nn.Identity(), q, k, v, bias)
    assert (out.transpose(1, 2) - F.scaled_dot_product_attention(q, k, v, bias)).abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kernel", [True, False], ids=["kernel", "products"])
@pytest.mark.parametrize("keys", [30, 100])
def test_the_last_key_may_stand_for_many(dtype, kernel, keys, monkeypatch):
    monkeypatch.setattr(module, "WIDE_TO_LEARN", 10**9 if kernel else 0)
    q, k, v = inputs(keys=keys, dtype=dtype)
    many_k, many_v = (torch.cat([t, t[:, :, -1:].expand(-1, -1, 6, -1)], dim=2) for t in (k, v))
    ours = attention(q, k, v, 0.4, last=7)
    expected = F.scaled_dot_product_attention(q, many_k, many_v, scale=0.4)
    tolerance = 1e-6 if dtype == torch.float32 else 3e-2
    assert (ours - expected).abs().max() <= tolerance
    for mine, yours in zip(gradients(ours, (q, k, v)), gradients(expected, (q, k, v)), strict=True):
        assert (mine - yours).abs().max() <= 10 * tolerance * max(1.0, float(yours.abs().max()))


@pytest.mark.parametrize("keys", [10, 63, 64])
def test_few_keys_are_weighed_as_many_are(keys, monkeypatch):
    q, k, v = inputs(keys=keys)
    with torch.no_grad():
        ours = attention(q, k, v, 0.4)
        monkeypatch.setattr(module, "FEW", 0)
        assert (ours - attention(q, k, v, 0.4)).abs().max() < 1e-6
