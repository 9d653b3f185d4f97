import pytest
import torch
from torch import nn, optim

from memorysam.config import ModelSettings, TrainSettings
from memorysam.errors import SettingsError
from memorysam.models.factory import create
from memorysam.spec import Task, as_classes, camera
from memorysam.training.optimizer import optimizer_of, set_rate


class Parts(nn.Module):
    """What an optimizer asks of a model: two parts that train, one that does not, one that is empty."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
        self.decoder = nn.Linear(4, 2)
        self.heads = nn.Linear(4, 1).requires_grad_(False)

    def parts(self):
        return {name: list(part.parameters()) for name, part in self.named_children()} | {"memory": []}


def facts(optimizer):
    """Of every parameter: its decay and its factor."""
    groups = optimizer.param_groups
    return {id(p): (group["weight_decay"], group["lr_factor"]) for group in groups for p in group["params"]}


@pytest.mark.parametrize(("name", "kind"), [("adamw", optim.AdamW), ("sgd", optim.SGD)])
def test_one_dimensional_parameters_do_not_decay_and_frozen_ones_are_left_out(name, kind):
    model = Parts()
    optimizer = optimizer_of(model, TrainSettings(optimizer=name, lr=1e-3, weight_decay=0.01))
    assert type(optimizer) is kind
    trained = [p for p in model.parameters() if p.requires_grad]
    assert facts(optimizer) == {id(p): (0.01 if p.ndim > 1 else 0.0, 1.0) for p in trained}
    assert len(trained) == 6
    assert len(optimizer.param_groups) == 2


def test_every_part_learns_at_its_own_rate():
    model = Parts()
    optimizer = optimizer_of(model, TrainSettings(lr=1e-3, lr_factors={"decoder": 10}))
    found = facts(optimizer)
    assert {found[id(p)][1] for p in model.decoder.parameters()} == {10.0}
    assert {found[id(p)][1] for p in model.encoder.parameters()} == {1.0}
    assert found[id(model.decoder.weight)][0] > found[id(model.decoder.bias)][0] == 0.0
    set_rate(optimizer, 0.5)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates[id(model.decoder.bias)] == 5.0
    assert rates[id(model.encoder[1].bias)] == 0.5


def test_a_step_of_sgd_is_the_gradient_with_its_decay_and_momentum():
    model = Parts()
    options = TrainSettings(optimizer="sgd", momentum=0.5, lr=1.0, weight_decay=0.1, lr_factors={"decoder": 3})
    optimizer = optimizer_of(model, options)
    weight, bias = model.decoder.weight, model.decoder.bias
    expected, velocity = {p: p.detach().clone() for p in (weight, bias)}, {weight: 0.0, bias: 0.0}
    for rate in (0.1, 0.05):
        set_rate(optimizer, rate)
        for p in (weight, bias):
            p.grad = torch.full_like(p, 2.0)
            velocity[p] = 0.5 * velocity[p] + 2.0 + (0.1 * expected[p] if p is weight else 0.0)
            expected[p] = expected[p] - 3 * rate * velocity[p]
        optimizer.step()
    assert torch.allclose(weight, expected[weight])
    assert torch.allclose(bias, expected[bias])


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ({"decodr": 10}, ["no part 'decodr'", "did you mean 'decoder'?", "encoder, decoder"]),
        ({"fusion": 10}, ["no part 'fusion'", "encoder, decoder"]),
        ({"decoder": 10, "heads": 2}, ["nothing of the part 'heads' trains", "encoder, decoder"]),
        ({"memory": 2}, ["nothing of the part 'memory' trains"]),
    ],
)
def test_a_factor_for_what_is_not_there_is_refused(factors, words):
    with pytest.raises(SettingsError) as error:
        optimizer_of(Parts(), TrainSettings(lr_factors=factors))
    assert all(word in str(error.value) for word in [*words, "train.lr_factors"])


def test_the_parts_are_those_of_the_model():
    task = Task(modalities=(camera(), camera("second")), classes=as_classes(["a", "b"]), image_size=(32, 32))
    model = create(ModelSettings(backbone="micro"), task)
    found = facts(optimizer_of(model, TrainSettings(lr_factors={"decoder": 10, "memory": 0.5})))
    for part, parameters in model.parts().items():
        factors = {found[id(p)][1] for p in parameters if p.requires_grad}
        assert factors <= {{"decoder": 10.0, "memory": 0.5}.get(part, 1.0)}, part
    assert {factor for _, factor in found.values()} == {1.0, 10.0, 0.5}
