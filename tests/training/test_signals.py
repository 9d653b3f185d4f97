"""Ctrl-C and SIGTERM at any moment: the run saves, stops, and can be continued to the same end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from memorysam import tensors
from memorysam.cli import main
from memorysam.evaluation import evaluate
from memorysam.models import weights
from memorysam.tensors import read_tensors
from memorysam.training import feed, interrupt, loop
from memorysam.training.checkpoint import BEST, LAST
from memorysam.training.interrupt import Interrupt

from ..tiny import settings, write_dataset

QUICK = {
    "model": {"image_size": [32, 32], "lora_rank": 2, "train": {"encoder": False, "memory": False}},
    "train": {"epochs": 2, "batch_size": 2, "validate_every": 1, "tensorboard": False},
    "evaluate": {"batch_size": 1},
}
"""Four steps, validated twice on four images."""
TERM, INT = signal.SIGTERM, signal.SIGINT


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny"), train=4)


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert loop.train(settings(dataset, **QUICK), folder).finished
    return folder


MOMENTS = {
    "before the first step": (loop.Training, "begin", 1, 0),
    "while the first batch is awaited": (feed.Feed, "read", 1, 1),
    "in the first step": (loop, "training_loss", 1, 1),
    "while the first epoch is saved": (tensors, "save_file", 1, 2),
    "in validation": (evaluate, "predict_labelled", 1, 2),
    "while the best is saved": (weights, "save", 1, 2),
    "in the last step": (loop, "training_loss", 4, 4),
    "in the last validation": (evaluate, "predict_labelled", 6, 4),
    "while the end is saved": (tensors, "save_file", 6, 4),
}
"""Where it is, at which of the calls the signal comes, and the step at which the run stops."""


REPEATED = [
    (moment, signals)
    for moment in ("in the first step", "while the first epoch is saved")
    for signals in ((TERM, TERM, TERM), (INT, INT), (INT, TERM))
]


@pytest.mark.parametrize(("moment", "signals"), [*((moment, (TERM,)) for moment in MOMENTS), *REPEATED], ids=str)
def test_a_signal_at_any_moment_saves_and_stops(dataset, whole, tmp_path, monkeypatch, fault, moment, signals):
    """Also when it is repeated, as batch systems and launchers do."""
    place, name, when, step = MOMENTS[moment]
    real, calls = getattr(place, name), []

    def struck(*args, **kwargs):
        calls.append(1)
        for number in signals if len(calls) == when else ():
            signal.raise_signal(number)
        return real(*args, **kwargs)

    with fault("signal"):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, struck)
            outcome = loop.train(settings(dataset, **QUICK), tmp_path)
        assert outcome.signal == signals[0]
        assert outcome.finished is (moment == "while the end is saved")
        assert outcome.progress.step == step
        assert read_tensors(tmp_path / LAST)[1]["training"]["progress"]["step"] == step
        if name == "predict_labelled":
            assert len(calls) == when, "it does not wait for the end of the validation"
        if not outcome.finished:
            assert loop.train(settings(dataset, **QUICK), tmp_path, resume=True).finished
        for checkpoint in (LAST, BEST):
            ours, theirs = read_tensors(tmp_path / checkpoint)[0], read_tensors(whole / checkpoint)[0]
            assert all(torch.equal(ours[key], tensor) for key, tensor in theirs.items())


def test_a_second_ctrl_c_of_somebody_who_means_it_ends_at_once(monkeypatch):
    now, raised = [100.0], []
    monkeypatch.setattr(interrupt.time, "monotonic", lambda: now[0])
    before = signal.getsignal(INT)
    with Interrupt() as noted:
        signal.raise_signal(INT)
        now[0] += 0.5
        signal.raise_signal(INT)  # of the launcher, which passes on what the terminal has sent to all
        assert noted.signal == INT
        now[0] += 60
        signal.raise_signal(TERM)
        monkeypatch.setattr(interrupt.signal, "raise_signal", lambda number: raised.append(number))
        os.kill(os.getpid(), INT)
        assert raised == [INT]
        assert signal.getsignal(INT) is signal.SIG_DFL
    assert signal.getsignal(INT) is before


def test_a_signal_that_is_ignored_from_the_start_stays_ignored():
    """As for a job in the background of a script."""
    before = signal.signal(INT, signal.SIG_IGN)
    try:
        with Interrupt() as noted:
            signal.raise_signal(INT)
            assert noted.signal is None
            signal.raise_signal(TERM)
            assert noted.signal == TERM
        assert signal.getsignal(INT) is signal.SIG_IGN
    finally:
        signal.signal(INT, before)


def test_what_is_stopped_outside_of_a_run_says_so_without_a_traceback(monkeypatch, capsys):
    def stopped(_arguments):
        raise KeyboardInterrupt(TERM)

    monkeypatch.setattr("memorysam.commands.train.main", stopped)
    assert main(["train"]) == 143
    assert capsys.readouterr().err == "stopped\n"


# The whole command, with all its processes

STRIKE = """
import os, signal, sys
name, number, who = os.environ.get("STRIKE", "::").split(":")

class Strike:
    def find_spec(self, wanted, path=None, target=None):
        if wanted == name:
            sys.meta_path.remove(self)
            os.killpg(0, int(number))

if name and ("forkserver" in " ".join(sys.orig_argv)) == (who == "server"):
    sys.meta_path.insert(0, Strike())
"""


def session(leader):
    """Processes of a session that are alive."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = path.read_text().rsplit(")", 1)[1].split()[:4]
        except OSError:  # it has just ended
            continue
        if int(of) == leader and state != "Z":
            found.append(int(path.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("moment", "number", "said"),
    [
        ("memorysam.commands.train:main", INT, "stopped"),
        ("numpy:main", TERM, "stopped"),
        ("torch.nn:main", INT, "stopped"),
        ("accelerate:main", TERM, "stopped"),
        ("multiprocessing.forkserver:server", TERM, "--resume continues"),
        ("multiprocessing.forkserver:server", INT, "--resume continues"),
        ("memorysam.data.loading:server", TERM, "--resume continues"),
    ],
)
def test_a_signal_to_all_processes_while_they_start(dataset, tmp_path, fault, moment, number, said):
    """It comes when one of them imports a module: a clear line, the exit code of the signal, and nobody is left."""
    (tmp_path / "sitecustomize.py").write_text(STRIKE)
    (tmp_path / "settings.yaml").write_text(
        "model: {backbone: micro, image_size: [32, 32], lora_rank: 0}\n"
        f"data: {{dataset: {dataset}, workers: 1}}\n"
        "train: {device: cpu, epochs: 400, batch_size: 2, log_every: 1, tensorboard: false}\n"
    )
    name, who = moment.split(":")
    with fault("signal"):
        process = subprocess.Popen(
            [sys.executable, "-m", "memorysam", "train", "settings.yaml", "--out", "run"],
            env={**os.environ, "PYTHONPATH": str(tmp_path), "STRIKE": f"{name}:{int(number)}:{who}"},
            cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            _, errors = process.communicate(timeout=300)
        finally:
            process.kill()
        assert process.returncode == 128 + number, errors
        assert "Traceback" not in errors
        assert said in errors
        until = time.monotonic() + 60
        while session(process.pid) and time.monotonic() < until:
            time.sleep(0.05)
        assert session(process.pid) == []
