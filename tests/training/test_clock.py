"""A wall clock that is set back or forward by hours changes nothing but the times in the log."""

import json
import time

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tqdm import tqdm

from memorysam.tensors import read_tensors
from memorysam.training import loop, progress
from memorysam.training.checkpoint import LAST
from memorysam.training.loop import train
from memorysam.training.progress import ProgressBar
from memorysam.training.tensorboard import Curves, make_way

from ..tiny import settings, write_dataset

QUICK = {"model": {"image_size": [32, 32]}, "train": {"batch_size": 2, "epochs": 3, "validate_every": 1}}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny"), train=4)


@pytest.fixture
def clock(monkeypatch):
    """The wall clock; its `ahead` is how many seconds it was set forward."""

    class Clock:
        ahead = 0.0

    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + Clock.ahead)
    return Clock


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_run_goes_on_as_if_nothing_had_happened(dataset, tmp_path, monkeypatch, fault, clock, hours):
    train(settings(dataset, **QUICK), tmp_path / "whole")
    real, saves = loop.Training.step, []

    def step(self, feed):
        if self.progress.step == 3:
            clock.ahead += 3600 * hours
        return real(self, feed)

    monkeypatch.setattr(loop.Training, "step", step)
    save = loop.Training.save
    monkeypatch.setattr(loop.Training, "save", lambda self: saves.append(self.progress.step) or save(self))
    with fault("clock set"):
        train(settings(dataset, **QUICK), tmp_path / "run")
        assert saves == [2, 2, 4, 4, 6, 6], "at the ends of epochs, not because ten minutes seemed to have passed"
        lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 6]
        assert all(0 <= line["waiting"] <= 1 for line in lines if "waiting" in line)
        ours, theirs = (read_tensors(tmp_path / name / LAST)[0] for name in ("run", "whole"))
        assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


def test_curves_continue_in_their_order_after_the_clock_was_set_back(tmp_path, fault, clock):
    """TensorBoard reads files by the times in their names."""
    with fault("clock set"):
        for steps, value, ahead in ((range(1, 6), 1.0, 0), (range(4, 8), 2.0, -7200), (range(8, 9), 3.0, -9000)):
            clock.ahead = ahead
            curve = Curves(tmp_path, wanted=True)
            for step in steps:
                curve.add(step, {"loss": value})
            curve.close()
        events = [(event.step, event.value) for event in EventAccumulator(str(tmp_path)).Reload().Scalars("loss")]
        assert events == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0), (6, 2.0), (7, 2.0), (8, 3.0)]


def test_files_keep_their_order_and_are_all_of_before(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1000.5)
    for second, name in ((900, "a"), (999, "b"), (1000, "c"), (1000, "d"), (4000, "e")):
        (tmp_path / f"events.out.tfevents.{second:010d}.{name}").touch()
    (tmp_path / "notes.txt").touch()
    make_way(tmp_path)
    names = sorted(path.name for path in tmp_path.glob("events*"))
    assert [name[-1] for name in names] == list("abcde")
    seconds = [int(name.split(".")[3]) for name in names]
    assert seconds == [900, 996, 997, 998, 999]
    make_way(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("events*")) == names


@pytest.mark.parametrize("hours", [-5, 5])
def test_the_bar_goes_on_at_its_rate(monkeypatch, fault, clock, hours):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    drawn = []
    monkeypatch.setattr(tqdm, "refresh", lambda self, *args, **kwargs: drawn.append(self.format_dict))
    with fault("clock set"), ProgressBar(100, label="training") as bar:
        for step in range(1, 11):
            now[0] += 2.0
            if step == 5:
                clock.ahead += 3600 * hours
            bar.advance(step)
        after = drawn[-1]
        assert after["n"] == 10, "it is drawn after the clock was set as well"
        assert after["elapsed"] == pytest.approx(20.0)
        assert after["rate"] is None or after["rate"] == pytest.approx(0.5)


def test_lines_in_a_log_file_have_the_true_rate(monkeypatch, capsys, clock):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with ProgressBar(40, label="training") as bar:
        for step in range(1, 41):
            now[0] += 2.0
            clock.ahead -= 3600
            bar.advance(step)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "training 16/40 steps, 0.50/s, 0.8 min left"
    assert lines[-1] == "training 40/40 steps, 0.50/s, 0.0 min left"
