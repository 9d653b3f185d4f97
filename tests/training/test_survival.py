"""Runs that are killed without warning, at any moment, a hundred times over: nothing that was saved is lost."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from memorysam.tensors import read_tensors
from memorysam.training.checkpoint import BEST, LAST, PREVIOUS

from ..tiny import write_dataset

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]
REPOSITORY = Path(__file__).parents[2]
QUICK = {
    "model": {"image_size": [32, 32], "lora_rank": 2, "train": {"encoder": False, "memory": False}},
    "train": {"epochs": 3, "batch_size": 2, "validate_every": 2, "save_every": 1e-9, "tensorboard": False},
}
"""Each step is saved; validated after four steps and the last."""
STEPS = 6


class Survivor:
    """Speaks with the process that starts runs."""

    def __init__(self, folder, environment):
        self.out, self.dataset = folder / "run", write_dataset(folder / "data", train=4, val=2)
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.training.survivor"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=environment,
        )  # fmt: skip

    def run(self, out=None, calls=None, seconds=None, workers=0):
        """Begin or resume a run; return what it said, how long it took, and whether it was killed."""
        order = {"out": str(out or self.out), "dataset": str(self.dataset), "calls": calls, "seconds": seconds}
        order["settings"] = {**QUICK, "data": {"workers": workers}}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        said = [self._told()]
        began = time.monotonic()
        while said[-1][0] != "dead":
            said.append(self._told())
        status = said.pop()[1]
        problem = self._folder / "error.txt"
        assert status in (0, signal.SIGKILL), problem.read_text()
        return said, time.monotonic() - began, status == signal.SIGKILL

    def close(self):
        self._process.stdin.close()
        self._process.wait(60)

    def _told(self):
        word, number = self._process.stdout.readline().split()
        return word, int(number)


@pytest.fixture(params=["", "TMPDIR-elsewhere"])
def environment(request, tmp_path):
    chosen = {**os.environ, "OMP_NUM_THREADS": "1"}
    if request.param:
        memory = Path("/dev/shm")
        if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("no second file system here")
        chosen["TMPDIR"] = str(memory)
    return chosen


@pytest.fixture
def survivor(tmp_path, environment):
    started = Survivor(tmp_path, environment)
    yield started
    started.close()


def log_of(out):
    """All lines without their times."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in ("time", "waiting")} for line in lines]


def look(out, saved):
    """What a kill leaves behind: every file whole, and no step that was reported as saved missing."""
    files = [path for path in out.iterdir() if not path.name.startswith(".")] if out.exists() else []
    for path in files:
        if path.suffix == ".safetensors":
            assert read_tensors(path)[1] is not None, "whole, by its digest"
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".yaml":
            assert yaml.safe_load(path.read_text())["train"]["epochs"] == 3
    assert {path.name for path in files} <= {
        LAST, PREVIOUS, BEST, "settings.yaml", "environment.json", "data.json", "log.jsonl"
    }  # fmt: skip
    if saved is not None:
        assert read_tensors(out / LAST)[1]["training"]["progress"]["step"] >= saved


def same(ours, theirs):
    """The finished run is that of somebody who was never interrupted."""
    for name in (LAST, BEST):
        (one, about), (other, expected) = read_tensors(ours / name), read_tensors(theirs / name)
        assert one.keys() == other.keys()
        assert all(torch.equal(tensor, other[key]) for key, tensor in one.items()), name
        assert about.get("training") == expected.get("training")
    assert log_of(ours) == log_of(theirs)


def kill_again_and_again(survivor, fault, kills, when, workers=0):
    """Kill runs, resume them, compare those that come to their end, and begin anew; return how many came to it."""
    whole = survivor.out.with_name("whole")
    said, length, killed = survivor.run(whole, workers=workers)
    assert said[-1] == ("finished", STEPS)
    assert not killed
    saved, done, finished = None, 0, 0
    while done < kills or not finished:
        said, _, killed = survivor.run(workers=workers, **(when(length) if done < kills else {}))
        with fault("killed") if killed else contextlib.nullcontext():
            assert all(left == 0 for word, left in said if word == "opened"), "what a kill left is cleared away"
            saved = max([step for word, step in said if word == "saved"], default=saved)
            look(survivor.out, saved)
            done += killed
            if not killed:
                assert said[-1] == ("finished", STEPS)
                same(survivor.out, whole)
                finished += 1
                saved = None
                shutil.rmtree(survivor.out)
    return finished


@pytest.mark.timeout(1800)
def test_a_run_killed_a_hundred_times_loses_nothing(survivor, fault):
    """At random times over starting, training, saving, validating, resuming."""
    rng = random.Random(3)
    assert kill_again_and_again(survivor, fault, 100, lambda length: {"seconds": rng.uniform(0.0, length)}) > 3


@pytest.mark.parametrize("environment", [""], indirect=True)
def test_a_run_killed_at_changes_of_its_folder_loses_nothing(survivor, fault):
    """Between any two calls that open, rename, link or remove: where what is on the disk differs."""
    rng = random.Random(4)
    kill_again_and_again(survivor, fault, 40, lambda _length: {"calls": rng.randrange(90)})


@pytest.mark.parametrize("environment", [""], indirect=True)
def test_a_run_with_workers_killed_some_times_loses_nothing(survivor, fault):
    rng = random.Random(5)
    kill_again_and_again(survivor, fault, 4, lambda length: {"seconds": rng.uniform(0.0, length)}, workers=1)
