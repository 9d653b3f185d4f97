import time

import pytest
import torch

from memorysam.benchmark import memory
from memorysam.benchmark.machine import describe, limits
from memorysam.benchmark.parts import STAGES, Watch, by_part
from memorysam.benchmark.plan import our_inference, our_training, plain_inference, plain_training
from memorysam.benchmark.timing import Spread, alone, fastest, in_turns, times_faster
from memorysam.models.cost import kept_for_backward

CPU = torch.device("cpu")


def test_the_machine_is_described():
    found = describe(CPU)
    assert found["cpu"]
    assert found["gpu"] is None
    assert found["threads"] == torch.get_num_threads()
    assert found["memory_bytes"] > 0


def test_limits_are_positive_and_say_how_they_were_reached():
    found = limits(CPU, ("fp32", "bf16"))
    assert found["copy_bytes_per_s"] > 0
    for precision in ("fp32", "bf16"):
        assert found[precision]["flops_per_s"] > 0
        assert found[precision]["way"] in ("F.linear", "1x1 convolution, channels last")
        assert found[precision]["side"] in (64, 128)


def test_calls_take_turns():
    said = []
    seconds = in_turns({"a": lambda: said.append("a"), "b": lambda: said.append("b")}, 2, CPU)
    assert "".join(said) == "ab" + "abab"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}


def test_a_ratio_is_taken_within_each_turn():
    assert times_faster([2.0, 20.0, 6.0], [1.0, 10.0, 2.0]) == 2.0


def test_a_spread_is_median_and_quartiles():
    assert Spread.of([1.0, 2.0, 3.0, 4.0, 5.0]) == Spread(3.0, 2.0, 4.0, 5)


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but for calls that say how long they take."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def lasting(seconds):
        def call():
            now[0] += seconds

        return call

    return lasting


def test_the_fastest_way_is_found(clock):
    way, seconds = fastest({"slow": clock(0.02), "fast": clock(0.001)}, CPU)
    assert way == "fast"
    assert seconds == pytest.approx(0.001)


def test_the_seconds_of_a_small_call_are_those_of_one_call(clock):
    assert alone(clock(0.002), CPU) == pytest.approx(0.002)


def test_a_part_within_another_belongs_to_the_outer_one():
    watch = Watch(CPU)
    with watch.part("outer"), watch.part("inner"):
        time.sleep(0.001)
    assert watch.seconds.keys() == {"outer"}
    assert watch.seconds["outer"] >= 0.001


@pytest.mark.parametrize("make", [plain_inference, lambda model, images: our_inference(model, images, "fp32")])
def test_a_forward_pass_falls_into_its_parts(parts, make):
    model, images, _ = parts()
    found = by_part(make(model, images), 2, CPU)
    assert found.keys() == {*STAGES.values(), "upsampling", "other"}
    assert all(spread.runs == 2 and spread.median >= 0 for spread in found.values())
    assert found["encoder"].median > 0


def test_a_training_step_falls_into_its_parts(parts, plan):
    model, images, labels = parts()
    steps = [plain_training(model, plan(), images, labels), our_training(model, images, labels, "fp32")]
    for step in steps:
        found = by_part(step, 1, CPU)
        assert found.keys() == {*STAGES.values(), "loss", "backward", "optimizer", "other"}
        assert found["backward"].median > 0


def test_watching_leaves_the_model_as_it_was(parts):
    model, images, _ = parts()
    call = our_inference(model, images, "fp32")
    call.model.encode = call.model.encode  # one that somebody has set
    before = vars(call.model).copy()
    by_part(call, 1, CPU)
    assert vars(call.model) == before


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_memory_is_followed_until_it_is_freed(device):
    known = torch.zeros(10, device=device)
    with memory.Followed() as followed:
        a = torch.empty(1000, device=device)
        b = a + 1
        del a
        c = b * 2
        b.view(10, 100).t()  # the same memory
        known.add_(1)[:5].detach()  # memory that was there before
        del b
    assert followed.peak == 2 * 4000
    assert followed.left() == c.nbytes == 4000


def test_peak_memory_of_a_step_counts_gradients_and_what_the_backward_pass_makes(parts):
    model, images, labels = parts(options={"dropout": 0.0})
    step = our_training(model, images, labels, "fp32")
    with_less = our_training(model, images, labels, "fp32", checkpointing=True)
    peaks = []
    for call in (step, with_less):
        call()  # the first one also makes moments
        call.optimizer.zero_grad(set_to_none=True)
        peaks.append(memory.peak(call, CPU))
    gradients = sum(p.nbytes for p in step.model.parameters() if p.requires_grad)
    kept = kept_for_backward(model, batch=1)
    assert max(gradients, kept) < peaks[0] < gradients + 2 * kept
    assert peaks[1] < 0.9 * peaks[0]


def test_a_process_grows_by_what_is_freed_again_before_the_end():
    if memory.resident(lambda: None, CPU) is None:
        pytest.skip("this system does not tell")
    size = 64 * 2**20
    kept = []

    def call():
        block = torch.ones(size, dtype=torch.uint8)
        del block
        kept.append(torch.ones(size // 4, dtype=torch.uint8))

    assert 0.9 * size < memory.resident(call, CPU) < 1.6 * size


def test_a_system_that_does_not_tell_its_memory_is_no_error(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_RESET", tmp_path / "missing" / "clear_refs")
    assert memory.resident(lambda: None, CPU) is None
