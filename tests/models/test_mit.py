import pytest
import torch

from memorysam.models.base import count
from memorysam.models.mit import BACKBONES, DropPath, MiT, drop_rates


@pytest.mark.parametrize(
    ("name", "millions"),
    [("mit-b0", 3.3), ("mit-b1", 13.2), ("mit-b2", 24.2), ("mit-b3", 44.1), ("mit-b4", 60.8), ("mit-b5", 81.4)],
)
def test_number_of_parameters_is_the_published_one(name, millions):
    with torch.device("meta"):
        encoder = MiT(name)
    assert round(count(list(encoder.parameters())) / 1e6, 1) == millions


def test_micro_is_tiny():
    assert count(list(MiT("micro").parameters())) < 400_000


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (160, 32)])
def test_four_levels_at_strides_4_to_32(size):
    encoder = MiT("micro").eval()
    pixels = torch.randn(2, 3, *size)
    with torch.no_grad():
        levels = encoder(pixels)
        by_stages = pixels
        for i, level in enumerate(levels):
            assert level.shape == (2, encoder.sizes.widths[i], size[0] >> i + 2, size[1] >> i + 2)
            by_stages = encoder.stage(i, by_stages)
            assert torch.equal(level, by_stages)


def test_later_blocks_are_left_out_more_often():
    rates = drop_rates(BACKBONES["mit-b2"], 0.15)
    assert [len(stage) for stage in rates] == [3, 4, 6, 3]
    flat = [rate for stage in rates for rate in stage]
    assert flat == pytest.approx([0.15 * i / 15 for i in range(16)])
    encoder = MiT("micro", drop_path=0.2)
    used = [module.drop_prob for module in encoder.modules() if isinstance(module, DropPath)]
    assert used == pytest.approx([0.05, 0.1, 0.15, 0.2])  # the first block is never left out


def test_blocks_are_left_out_in_training_only():
    torch.manual_seed(0)
    encoder = MiT("micro", drop_path=0.9)
    pixels = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        trained = [encoder.train()(pixels)[3] for _ in range(8)]
        assert any(not torch.equal(trained[0], other) for other in trained)
        assert torch.equal(encoder.eval()(pixels)[3], encoder(pixels)[3])


def test_recomputing_keeps_less_for_the_backward_pass():
    encoder = MiT("micro", drop_path=0.0).train()
    pixels = torch.randn(1, 3, 64, 64)
    kept = []
    for enabled in (False, True):
        encoder.recompute_activations(enabled)
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, to=sizes: to.append(t.numel()) or t, lambda t: t):
            encoder(pixels)
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 2
