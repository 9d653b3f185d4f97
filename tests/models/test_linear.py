import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from memorysam.models import linear as module
from memorysam.models.linear import FastLinear, linear, linear_then, speed_up_linears, weights_in


def layer_of(dtype=torch.float32, bias=True):
    torch.manual_seed(0)
    return nn.Linear(12, 20, bias=bias).to(dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(128, 12), (2, 9, 8, 12), (3, 12), (2, 3, 50, 12)])
def test_it_is_a_linear_layer_with_its_gradients(dtype, tolerance, bias, shape):
    layer = layer_of(dtype, bias)
    x = torch.randn(shape, dtype=dtype, requires_grad=True)
    tensors = [x, *layer.parameters()]
    results = []
    for y in (linear(x, layer.weight, layer.bias), F.linear(x, layer.weight, layer.bias)):
        torch.manual_seed(1)
        results.append((y, *torch.autograd.grad(y, tensors, torch.randn_like(y))))
    for ours, theirs in zip(*results, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= tolerance * max(1.0, float(theirs.detach().abs().max()))


def test_rows_need_not_lie_side_by_side():
    layer = layer_of()
    x = torch.randn(2, 20, 20, 12)[:, :14, :15]
    assert (linear(x, layer.weight, layer.bias) - F.linear(x, layer.weight, layer.bias)).abs().max() < 1e-5


def test_what_does_not_train_gets_no_gradient(monkeypatch):
    layer = layer_of().requires_grad_(False)
    x = torch.randn(100, 12, requires_grad=True)
    linear(x, layer.weight, layer.bias).sum().backward()
    assert layer.weight.grad is None
    assert (x.grad - layer.weight.sum(dim=0)).abs().max() < 1e-5


def test_a_model_keeps_its_names_and_answers():
    model = nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Sequential(nn.Linear(20, 5)))
    names, x = list(model.state_dict()), torch.randn(100, 12)
    before = model(x)
    assert speed_up_linears(model) == 2
    assert speed_up_linears(model) == 0
    assert list(model.state_dict()) == names
    assert isinstance(model[0], FastLinear)
    assert (model(x) - before).abs().max() < 1e-5


def test_frozen_weights_are_converted_once_and_anew_when_they_change():
    layer = layer_of().requires_grad_(False)
    first = weights_in(layer, torch.bfloat16)
    assert first[0].dtype == first[1].dtype == torch.bfloat16
    assert weights_in(layer, torch.bfloat16)[0] is first[0]
    with torch.no_grad():
        layer.weight.mul_(2)
    assert torch.equal(weights_in(layer, torch.bfloat16)[0], layer.weight.bfloat16())
    assert "_converted" not in layer.state_dict()


def test_weights_that_train_are_converted_with_their_gradient():
    layer = layer_of()
    weight, _ = weights_in(layer, torch.bfloat16)
    weight.sum().backward()
    assert layer.weight.grad is not None


def test_autocast_converts_by_itself(monkeypatch):
    layer = FastLinear(12, 20)
    monkeypatch.setattr(module._Product, "apply", lambda *_: pytest.fail("autocast was passed by"))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(100, 12)).dtype == torch.bfloat16


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("learns", [True, False])
def test_gelu_may_come_with_it(dtype, tolerance, learns):
    layer = layer_of(dtype).requires_grad_(learns)
    x = torch.randn(2, 60, 12, dtype=dtype)
    ours = linear_then(x, layer.weight, layer.bias, "gelu")
    assert ours.requires_grad == learns
    assert (ours - F.gelu(layer(x))).abs().max() < tolerance


@pytest.mark.parametrize("large", [1, 1 << 24])
def test_products_of_batches(large, monkeypatch):
    monkeypatch.setattr(module, "LARGE", large)
    a, b = torch.randn(3, 70, 12), torch.randn(3, 80, 12)
    assert (module.product(a, b, 0.5) - 0.5 * a @ b.transpose(1, 2)).abs().max() < 1e-5
    slanted = torch.randn(3, 12, 80).transpose(1, 2)
    assert (module.product(a, slanted) - a @ slanted.transpose(1, 2)).abs().max() < 1e-5


class Weights(TorchDispatchMode):
    """Keep the strides of the weights that oneDNN multiplies by."""

    def __init__(self):
        super().__init__()
        self.strides = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if operator is torch.ops.mkldnn._linear_pointwise.default:
            self.strides.append(args[1].stride())
        return operator(*args, **(kwargs or {}))


@pytest.mark.skipif(not module._FUSED, reason="this PyTorch has no oneDNN")
def test_weights_that_are_part_of_something_wider_reach_onednn_without_gaps(monkeypatch):
    monkeypatch.setattr(module, "LARGE", 1)
    wide = torch.randn(1, 80, 36)  # as queries, keys and values of one image are
    keys, values = wide[..., :12], wide[..., 12:24]
    a, shares = torch.randn(1, 70, 12), torch.randn(1, 70, 80)
    with Weights() as seen:
        scores, out = module.product(a, keys), module.product(shares, values.transpose(1, 2))
    assert (scores - a @ keys.transpose(1, 2)).abs().max() < 1e-5
    assert (out - shares @ values).abs().max() < 1e-4
    assert seen.strides == [(12, 1), (80, 1)]
