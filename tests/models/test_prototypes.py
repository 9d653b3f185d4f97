import pytest
import torch

from memorysam.models.prototypes import PrototypeMemory, class_sums


def batch():
    """Features that are the class id, so that prototypes are known by heart."""
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    labels[:, :, 4:] = 2
    labels[:, 6:] = 255
    features = labels[:, ::4, ::4].float().unsqueeze(1).repeat(1, 3, 1, 1) + 1
    return features, labels


def test_sums_by_hand():
    features, labels = batch()
    sums, counts = class_sums(features, labels, 4)
    assert counts.tolist() == [2.0, 0.0, 2.0, 0.0]
    assert sums[:, 0].tolist() == [2.0, 0.0, 6.0, 0.0]


def test_paper_form_by_hand():
    """Mean feature per class; momentum 0.2 from zero; the loss compares with the prototypes after the update."""
    memory = PrototypeMemory(4, 3)
    features, labels = batch()
    loss = memory(features, labels)
    assert memory.prototypes[:, 0].tolist() == pytest.approx([0.2, 0.0, 0.6, 0.0])
    expected = 3 * ((1 - 0.2) ** 2 + (3 - 0.6) ** 2) / 12
    assert loss.item() == pytest.approx(expected)


def test_absent_class_leaves_its_prototype_alone_and_adds_nothing():
    memory = PrototypeMemory(4, 3)
    memory.prototypes.fill_(5.0)
    features, labels = batch()
    memory(features, labels)
    assert (memory.prototypes[[1, 3]] == 5.0).all()
    assert memory.prototypes[0, 0].item() == pytest.approx(0.8 * 5 + 0.2 * 1)


def test_released_form_pulls_absent_classes_to_zero_and_divides_twice():
    memory = PrototypeMemory(4, 3, form="released")
    memory.prototypes.fill_(5.0)
    features, labels = batch()
    loss = memory(features, labels)
    assert memory.prototypes[1, 0].item() == pytest.approx(4.0)
    assert memory.prototypes[0, 0].item() == pytest.approx(0.8 * 5 + 0.2 * 0.5)
    errors = [(0.5 - 4.1) ** 2, 4.0**2, (1.5 - 4.3) ** 2, 4.0**2]
    assert loss.item() == pytest.approx(256 * 256 * sum(errors) / 4, rel=1e-5)


def test_gradient_flows_into_features_and_not_into_the_memory():
    memory = PrototypeMemory(4, 3)
    features, labels = batch()
    features.requires_grad_()
    memory(features, labels).backward()
    assert features.grad is not None
    assert features.grad[0, 0, 0, 0] > 0
    assert list(memory.parameters()) == []
    assert not memory.prototypes.requires_grad


def test_all_ignored_batch_changes_nothing_and_costs_nothing():
    memory = PrototypeMemory(4, 3)
    features = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = memory(features, torch.full((1, 8, 8), 255))
    loss.backward()
    assert loss.item() == 0
    assert (memory.prototypes == 0).all()


def test_many_pixels_are_summed_in_float32_under_autocast():
    memory = PrototypeMemory(2, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = torch.full((1, 4, 128, 128), 1.0, dtype=torch.bfloat16)
        memory(features, torch.zeros(1, 512, 512, dtype=torch.int64))
    assert memory.prototypes.dtype == torch.float32
    assert memory.prototypes[0, 0].item() == pytest.approx(0.2)


def test_prototypes_are_part_of_the_state(micro):
    model = micro(2)
    assert "prototypes.prototypes" in model.state_dict()
    assert micro(2, prototypes="off").prototypes is None
