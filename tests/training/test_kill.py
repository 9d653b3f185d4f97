"""A run that is killed at any moment can be continued."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memorysam.files import read_tensors

from ..tiny import write_dataset

SAVER = """
import os, sys, torch
from pathlib import Path
from memorysam.config import ModelSettings, TrainSettings
from memorysam.models.factory import create
from memorysam.spec import Modality, Task, as_classes
from memorysam.training.checkpoint import LAST, Progress, load_state, save_state
from memorysam.training.optimizer import optimizer_of

folder = Path(sys.argv[1])

def save_for_ever():
    sensors = (Modality(name="a"), Modality(name="b"))
    task = Task(modalities=sensors, classes=as_classes(["x", "y"]), image_size=(32, 32))
    model = create(ModelSettings(backbone="micro"), task)
    optimizer = optimizer_of(model, TrainSettings(lr=1e-3))
    step = load_state(folder, model, optimizer)[0].step if (folder / LAST).exists() else 0
    print("resumed", step, flush=True)
    model({"a": torch.randn(1, 3, 32, 32), "b": torch.randn(1, 3, 32, 32)}).logits.mean().backward()
    optimizer.step()
    while True:
        step += 1
        save_state(folder, model, optimizer, Progress(step))
        print("saved", step, flush=True)

for line in sys.stdin:  # one child per line: the imports are paid once
    child = os.fork()
    if child == 0:
        save_for_ever()
    print("child", child, flush=True)
    os.waitpid(child, 0)
    print("dead", 0, flush=True)
"""


def told(process):
    word, number = process.stdout.readline().split()
    return word, int(number)


@pytest.mark.slow
@pytest.mark.parametrize("elsewhere", [False, True], ids=["", "TMPDIR-elsewhere"])
def test_kill_during_a_save_leaves_a_whole_state(tmp_path, elsewhere):
    """Twenty kills at random moments of continuous saving: the state resumes and is at most one step ahead of what
    was reported."""
    environment = dict(os.environ)
    if elsewhere:
        memory = Path("/dev/shm")
        if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("no second file system here")
        environment["TMPDIR"] = "/dev/shm"
    rng = random.Random(3)
    saved = 0
    with subprocess.Popen(
        [sys.executable, "-c", SAVER, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    ) as process:  # fmt: skip
        for _ in range(20):
            process.stdin.write("go\n")
            process.stdin.flush()
            facts = {}
            while "saved" not in facts or "child" not in facts:
                word, number = told(process)
                facts[word] = number
            assert facts["resumed"] in (saved, saved + 1)
            time.sleep(rng.uniform(0.0, 0.4))
            os.kill(facts["child"], signal.SIGKILL)
            while "dead" not in facts:
                word, number = told(process)
                facts[word] = number
            saved = facts["saved"]
            _, header = read_tensors(tmp_path / "last.safetensors")
            assert header["training"]["progress"]["step"] in (saved, saved + 1)
            leftovers = [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]
            assert len(leftovers) <= 2, "one per kill, of the state or its second name"
            for path in leftovers:
                path.unlink()
        process.stdin.close()
    assert saved > 20


def command(dataset, out, *more):
    return [
        sys.executable, "-m", "memorysam", "train", str(dataset.parent / "settings.yaml"), "--out", str(out), *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    path = write_dataset(folder)
    (folder / "settings.yaml").write_text(
        "model: {backbone: micro, image_size: [64, 96], lora_rank: 0}\n"
        "data: {dataset: dataset.yaml, workers: 1}\n"
        "train: {epochs: 400, batch_size: 4, lr: 1.0e-3, log_every: 1, validate_every: 100}\n"
    )
    return path


def wait_for_steps(out, count, process, seconds=120):
    until = time.monotonic() + seconds
    log = out / "log.jsonl"
    while time.monotonic() < until:
        if log.exists() and len(log.read_text().splitlines()) >= count:
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    raise AssertionError("no steps were logged in time")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_save_and_end_cleanly(dataset, tmp_path, number, code):
    process = subprocess.Popen(command(dataset, tmp_path), stderr=subprocess.PIPE, text=True)
    wait_for_steps(tmp_path, 3, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert "--resume continues from here" in errors
    step = read_tensors(tmp_path / "last.safetensors")[1]["training"]["progress"]["step"]
    assert step >= 3
    process = subprocess.Popen(command(dataset, tmp_path, "--resume"), stderr=subprocess.PIPE, text=True)
    wait_for_steps(tmp_path, step + 3, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)
    assert read_tensors(tmp_path / "last.safetensors")[1]["training"]["progress"]["step"] > step


@pytest.mark.slow
def test_kill_nine_and_resume(dataset, tmp_path):
    """Killed without warning in mid-run, it continues from its last save."""
    process = subprocess.Popen(command(dataset, tmp_path, "--train.save-every", "0.001"), stderr=subprocess.PIPE)
    wait_for_steps(tmp_path, 6, process)
    process.kill()
    process.communicate(timeout=20)  # its pipe is closed: no worker has outlived it
    step = read_tensors(tmp_path / "last.safetensors")[1]["training"]["progress"]["step"]
    assert step >= 4
    process = subprocess.Popen(
        command(dataset, tmp_path, "--resume", "--train.save-every", "0.001"), stderr=subprocess.PIPE, text=True
    )
    wait_for_steps(tmp_path, step + 2, process)
    process.kill()
    process.communicate()
