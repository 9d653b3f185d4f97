import math

import pytest
import torch
from torch.nn import functional as F

from memorysam.training.objective import ohem_cross_entropy


def case(easy, hard, ignored=0):
    """Logits whose pixel losses are known: easy pixels nearly 0, hard ones ln 2 and more."""
    logits = torch.zeros(1, 2, 1, easy + hard + ignored)
    logits[:, 0, :, :easy] = 10.0
    logits[:, 1, :, easy : easy + hard] = torch.arange(hard).float()
    labels = torch.zeros(1, 1, easy + hard + ignored, dtype=torch.int64)
    labels[..., easy + hard :] = 255
    return logits, labels


def test_keeps_the_hard_pixels():
    logits, labels = case(easy=20, hard=5)
    expected = F.cross_entropy(logits[..., 20:], labels[..., 20:])
    assert ohem_cross_entropy(logits, labels).item() == pytest.approx(expected.item())


def test_keeps_at_least_a_sixteenth_of_the_labelled_pixels():
    """Of 64 labelled pixels, 2 are hard: the 4 hardest are kept. Ignored pixels do not count."""
    logits, labels = case(easy=62, hard=2, ignored=100)
    losses = F.cross_entropy(logits, labels, reduction="none", ignore_index=255).flatten()
    expected = losses.sort(descending=True).values[:4].mean()
    assert ohem_cross_entropy(logits, labels).item() == pytest.approx(expected.item())


def test_threshold_is_a_probability():
    logits = torch.tensor([math.log(0.69 / 0.31), math.log(0.71 / 0.29)])
    logits = torch.stack([logits, torch.zeros(2)]).reshape(1, 2, 1, 2).repeat(1, 1, 1, 40)
    labels = torch.zeros(1, 1, 80, dtype=torch.int64)
    assert ohem_cross_entropy(logits, labels, 0.7).item() == pytest.approx(-math.log(0.69), rel=1e-5)


def test_nothing_labelled_is_zero_with_a_gradient():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = ohem_cross_entropy(logits, torch.full((1, 4, 4), 255))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


def test_a_handful_of_easy_pixels_still_gives_a_loss():
    logits = torch.zeros(1, 2, 1, 3)
    logits[:, 0] = 5
    loss = ohem_cross_entropy(logits, torch.zeros(1, 1, 3, dtype=torch.int64))
    assert 0 < loss.item() < 0.01
