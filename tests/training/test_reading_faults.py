"""Training when reading fails: processes that die or hang, little shared memory, samples that cannot be read."""

import json
import shutil
import signal
import subprocess
import sys

import cv2
import numpy as np
import psutil
import pytest
import yaml

from memorysam.errors import DataError
from memorysam.tensors import read_tensors
from memorysam.training.loop import train

from ..tiny import SIZE, settings, write_dataset
from .test_kill import wait_for_steps


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A settings file of a run that reads in two processes and saves after every step."""
    folder = tmp_path_factory.mktemp("tiny")
    write_dataset(folder)
    (folder / "settings.yaml").write_text(
        "model: {backbone: micro, image_size: [64, 96], lora_rank: 0}\n"
        "data: {dataset: dataset.yaml, workers: 2}\n"
        "train: {epochs: 400, batch_size: 4, lr: 1.0e-3, log_every: 1, validate_every: 100, save_every: 0.0001}\n"
    )
    return folder


def run(home, out, *more):
    command = [sys.executable, "-m", "memorysam", "train", str(home / "settings.yaml"), "--out", str(out), *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def family(process):
    """The processes that a run has started, and those of them that read."""
    children = psutil.Process(process.pid).children(recursive=True)
    pids = {child.pid for child in children}
    return children, [child for child in children if child.ppid() in pids]


def none_left(processes):
    _, alive = psutil.wait_procs(processes, timeout=120)
    for process in alive:
        process.kill()
    return not alive


def step_of(out):
    return read_tensors(out / "last.safetensors")[1]["training"]["progress"]["step"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="signals to the processes of another one")
@pytest.mark.parametrize(
    ("number", "patience", "words"),
    [(signal.SIGKILL, "0", "was killed (SIGKILL), as systems do"), (signal.SIGSTOP, "2", "has not answered for 2 sec")],
    ids=["killed", "hangs"],
)
def test_a_reading_process_that_dies_or_hangs_ends_the_run_which_can_be_resumed(
    home, tmp_path, fault, number, patience, words
):
    kind = "worker killed" if number == signal.SIGKILL else "worker hung"
    out = tmp_path / "run"
    with fault(kind):
        process = run(home, out, "--data.patience", patience)
        wait_for_steps(out, 3, process)
        children, readers = family(process)
        assert len(readers) == 2
        readers[0].send_signal(number)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 2, errors
        assert words in errors
        assert "asked for t0" in errors
        assert "Traceback" not in errors
        assert none_left(children)
        step = step_of(out)
        assert step >= 2
        if number != signal.SIGKILL:
            return
        process = run(home, out, "--resume")
        wait_for_steps(out, step + 2, process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=300)
        assert process.returncode == 143
        assert step_of(out) > step


SMALL = 'mount -t tmpfs -o size=8m tmpfs /dev/shm && exec "$@"'


def may_mount():
    unshare = shutil.which("unshare")
    if unshare is None:
        return False
    command = [unshare, "-rm", "sh", "-c", "mount -t tmpfs -o size=8m tmpfs /dev/shm"]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.slow
def test_eight_megabytes_of_shared_memory_are_enough(tmp_path, fault):
    """A batch of two samples with four sensors at 512 pixels alone takes 29 MB."""
    if not may_mount():
        pytest.skip("needs to mount a small /dev/shm, with unshare -rm")
    rng, size = np.random.default_rng(0), (512, 512)
    sensors = "abcd"
    for kind in (*sensors, "labels"):
        (tmp_path / kind).mkdir()
    for i in range(2):
        for kind in sensors:
            cv2.imwrite(str(tmp_path / kind / f"{i}.png"), rng.integers(0, 256, (*size, 3), np.uint8))
        cv2.imwrite(str(tmp_path / "labels" / f"{i}.png"), rng.integers(0, 2, size).astype(np.uint8))
    (tmp_path / "train.txt").write_text("0\n1\n")
    dataset = {
        "name": "wide", "root": ".", "modalities": {kind: {"path": f"{kind}/{{id}}.png"} for kind in sensors},
        "label": {"path": "labels/{id}.png"}, "splits": {"train": "train.txt"}, "classes": ["one", "two"],
    }  # fmt: skip
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(dataset))
    script = (
        "from memorysam.config import DataSettings\n"
        "from memorysam.data.catalog import open_dataset\n"
        "from memorysam.data.dataset import SegmentationDataset, collate\n"
        "from memorysam.data.loading import Loader\n"
        "if __name__ == '__main__':\n"
        "    source = open_dataset(DataSettings(dataset='dataset.yaml'), (512, 512)).source('train')\n"
        "    dataset = SegmentationDataset(source, source.modalities)\n"
        "    batches = list(Loader(dataset, [[0, 1]] * 6, collate, workers=2))  # 175 MB at once\n"
        "    assert all((b.label == batches[0].label).all() for b in batches)\n"
        "    assert all((b.images['d'] == batches[0].images['d']).all() for b in batches)\n"
        "    print(len(batches), sum(i.nbytes for i in batches[0].images.values()))\n"
    )
    (tmp_path / "read.py").write_text(script)
    command = ["unshare", "-rm", "sh", "-c", SMALL, "sh", sys.executable, "read.py"]
    with fault("small shared memory"):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["6", str(2 * 4 * 3 * 512 * 512 * 4)]
        assert "Traceback" not in done.stderr


@pytest.fixture
def spoilt(tmp_path):
    """A tiny data set in which a training and a validation sample are damaged and another has no file."""
    path = write_dataset(tmp_path / "data")
    damaged = tmp_path / "data/rgb/t03.png"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    (tmp_path / "data/depth/t07.png").unlink()
    cv2.imwrite(str(tmp_path / "data/labels/v02.png"), np.full(SIZE, 9, np.uint8))
    return path


def skipping(path, **data):
    return settings(path, train={"epochs": 4, "validate_every": 2}, data={"on_bad": "skip", "skip_share": 0.25, **data})


def skipped(out):
    return [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]


def same_state(one, other):
    first, second = (read_tensors(out / "last.safetensors")[0] for out in (one, other))
    return first.keys() == second.keys() and all((first[name] == second[name]).all() for name in first)


def test_a_run_leaves_out_what_cannot_be_read_lists_it_once_and_resumes_bit_for_bit(spoilt, tmp_path, fault):
    with fault("bad file"):
        assert train(skipping(spoilt), tmp_path / "whole").finished
        lines = skipped(tmp_path / "whole")
        assert sorted((line["split"], line["id"]) for line in lines) == [
            ("train", "t03"),
            ("train", "t07"),
            ("val", "v02"),
        ]
        assert "cut off" in next(line["what"] for line in lines if line["id"] == "t03")
        assert "9 (6144 pixels)" in next(line["what"] for line in lines if line["id"] == "v02")
        log = [json.loads(line) for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()]
        scores = [line["validation"] for line in log if "validation" in line]
        assert [(one["images"], [bad["id"] for bad in one["skipped"]]) for one in scores] == [(3, ["v02"])] * 2
    with fault("bad file"):
        assert not train(skipping(spoilt, workers=1), tmp_path / "parts", stop_after=3).finished
        assert train(skipping(spoilt), tmp_path / "parts", resume=True).finished
        assert same_state(tmp_path / "whole", tmp_path / "parts")
        assert len(skipped(tmp_path / "parts")) == 3


def test_a_run_that_a_bad_sample_has_ended_goes_on_when_it_is_told_to_skip(tmp_path, fault):
    path = write_dataset(tmp_path / "data")
    options = {"train": {"epochs": 4, "validate_every": 2}}
    train(settings(path, **options), tmp_path / "run", stop_after=2)
    (tmp_path / "data/rgb/t03.png").write_bytes(b"")
    (tmp_path / "data/rgb/t04.png").write_bytes(b"")
    with fault("bad file"), pytest.raises(DataError, match=r"t0[34]\.png"):
        train(settings(path, **options), tmp_path / "run", resume=True)
    with fault("bad file"), pytest.raises(DataError, match=r"2 of 10 samples cannot be read, and 1 may be left out"):
        train(settings(path, data={"on_bad": "skip"}, **options), tmp_path / "run", resume=True)
    with fault("bad file"):
        generous = {"on_bad": "skip", "skip_share": 0.2, "patience": 60}
        assert train(settings(path, data=generous, **options), tmp_path / "run", resume=True).finished


def test_images_without_a_single_labelled_pixel_train_and_score_without_nan(tmp_path, fault):
    path = write_dataset(tmp_path / "data", train=4, val=2)
    for name in (tmp_path / "data/labels").iterdir():
        cv2.imwrite(str(name), np.full(SIZE, 255, np.uint8))
    with fault("bad file"):
        outcome = train(settings(path, train={"epochs": 2, "validate_every": 1}), tmp_path / "run")
        assert outcome.finished
        log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
        assert [line["loss"] for line in log if "loss" in line] == [0.0, 0.0]
        assert [line["validation"]["miou"] for line in log if "validation" in line] == [0.0, 0.0]
        state, _ = read_tensors(tmp_path / "run/last.safetensors")
        assert all(bool(tensor.isfinite().all()) for tensor in state.values())
