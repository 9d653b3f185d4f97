"""A disk that is full, a folder that cannot be written or is removed, at each file of a run: what was saved stays."""

import errno
import json
import os
import shutil

import pytest
import torch
import yaml

from memorysam import files
from memorysam.errors import MemorySAMError
from memorysam.tensors import read_tensors
from memorysam.training import loop, run, tensorboard
from memorysam.training.checkpoint import BEST, LAST, PREVIOUS
from memorysam.training.loop import train
from memorysam.training.run import DATA, LOG, SETTINGS
from memorysam.training.tensorboard import Curves

from ..tiny import settings, write_dataset

QUICK = {
    "model": {"image_size": [32, 32]},
    "train": {"batch_size": 2, "epochs": 3, "validate_every": 1, "tensorboard": False},
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny"), train=4, val=2)


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train(settings(dataset, **QUICK), folder)
    return folder


def refuse(monkeypatch, name, number, when=1):
    """Let the system refuse the `when`-th write of a file."""
    flush, append, calls = files._sync, run.append_line, []

    def refused(path):
        if path.name == name or path.name.startswith(f".{name}."):
            calls.append(path)
            if len(calls) == when:
                raise OSError(number, os.strerror(number))

    def sync(path):
        refused(path)
        flush(path)

    def line(path, text):
        with files.writing_to(path):
            refused(path)
        append(path, text)

    monkeypatch.setattr(files, "_sync", sync)
    monkeypatch.setattr(run, "append_line", line)


@pytest.mark.parametrize(
    ("name", "when", "saved", "number"),
    [
        (SETTINGS, 1, None, errno.ENOSPC),
        ("environment.json", 1, None, errno.ENOSPC),
        (DATA, 1, None, errno.ENOSPC),
        (LAST, 1, None, errno.ENOSPC),
        (LAST, 3, 2, errno.ENOSPC),
        (LAST, 3, 2, errno.EROFS),
        (LAST, 3, 2, errno.EIO),
        (LOG, 4, 2, errno.ENOSPC),
        (LOG, 4, 2, errno.EROFS),
        (BEST, 1, 2, errno.ENOSPC),
    ],
)
def test_a_file_that_cannot_be_written_ends_the_run_and_leaves_the_state(
    dataset, whole, tmp_path, monkeypatch, fault, number, name, when, saved
):
    """A message with the file's name; the state from before is whole, and from it the run comes to the same end."""
    with fault("disk full" if number == errno.ENOSPC else "disk refuses"):
        with monkeypatch.context() as patch:
            refuse(patch, name, number, when)
            with pytest.raises(MemorySAMError) as error:
                train(settings(dataset, **QUICK), tmp_path)
        assert str(tmp_path / name) in str(error.value)
        assert ("no space left" if number == errno.ENOSPC else os.strerror(number)) in str(error.value)
        assert not list(tmp_path.glob(".*")), "no temporary file is left"
        assert (tmp_path / LAST).exists() == (saved is not None)
        if saved is not None:
            assert read_tensors(tmp_path / LAST)[1]["training"]["progress"]["step"] == saved
        train(settings(dataset, **QUICK), tmp_path, resume=saved is not None)
        for checkpoint in (LAST, BEST):
            ours, theirs = read_tensors(tmp_path / checkpoint)[0], read_tensors(whole / checkpoint)[0]
            assert all(torch.equal(ours[key], tensor) for key, tensor in theirs.items())


def test_a_state_that_cannot_be_kept_is_an_error_too(dataset, tmp_path, monkeypatch, fault):
    """On a file system without hard links, where keeping the one before takes space."""
    train(settings(dataset, **QUICK), tmp_path, stop_after=1)

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with fault("disk full"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "link", full)
            patch.setattr(shutil, "copyfile", full)
            with pytest.raises(MemorySAMError, match=f"no space left(.|\n)*{PREVIOUS}"):
                train(settings(dataset, **QUICK), tmp_path, resume=True, stop_after=2)
        assert read_tensors(tmp_path / LAST)[1]["training"]["progress"]["step"] == 1
        assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("with_curves", [False, True])
def test_a_folder_that_is_removed_under_a_run_is_made_anew(dataset, tmp_path, monkeypatch, fault, capfd, with_curves):
    """Loudly; the state is saved, and the run that is in memory is not lost."""
    real = loop.Training.step

    def step(self, feed):
        if self.progress.step == 3:
            shutil.rmtree(tmp_path / "run")
        return real(self, feed)

    monkeypatch.setattr(loop.Training, "step", step)
    chosen = {**QUICK, "train": {**QUICK["train"], "tensorboard": with_curves}}
    with fault("folder removed"):
        assert train(settings(dataset, **chosen), tmp_path / "run").finished
        assert "was removed while the run was under way" in capfd.readouterr().err
        out = tmp_path / "run"
        assert read_tensors(out / LAST)[1]["training"]["progress"]["step"] == 6
        assert read_tensors(out / BEST)[1] is not None, "the best of those that are left"
        assert yaml.safe_load((out / SETTINGS).read_text())["train"]["epochs"] == 3
        assert json.loads((out / DATA).read_text())["samples"]["train"] == ["t00", "t01", "t02", "t03"]
        steps = [json.loads(line)["step"] for line in (out / LOG).read_text().splitlines()]
        assert steps == [4, 4, 5, 6, 6]


def test_curves_that_cannot_be_written_end_and_the_run_goes_on(tmp_path, monkeypatch, fault, capfd):
    curve = Curves(tmp_path / "tensorboard", wanted=True)
    curve.add(1, {"loss": 1.0})

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with fault("disk full"):
        monkeypatch.setattr(curve._writer, "add_scalar", full)
        for step in range(2, 5):
            curve.add(step, {"loss": 1.0})
        curve.close()
        said = capfd.readouterr().err
        assert said.count("no more curves") == 1
        assert "log.jsonl has all numbers" in said
    monkeypatch.setattr(tensorboard, "make_way", full)
    Curves(tmp_path / "other", wanted=True).add(1, {"loss": 1.0})
    assert "no more curves" in capfd.readouterr().err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes where it wants")
def test_a_folder_that_may_not_be_written_is_told_before_anything_is_done(dataset, tmp_path, fault):
    tmp_path.chmod(0o555)
    try:
        with fault("read-only"), pytest.raises(MemorySAMError, match="cannot be written"):
            train(settings(dataset, **QUICK), tmp_path / "run")
    finally:
        tmp_path.chmod(0o755)
