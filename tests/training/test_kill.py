"""A run that is killed at any moment can be continued."""

import signal
import subprocess
import sys
import time

import pytest

from memorysam.tensors import read_tensors

from ..tiny import write_dataset


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
