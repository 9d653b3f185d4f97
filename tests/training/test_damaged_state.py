"""A newest state that cannot be used: the one before is, loudly, and stays until there is another."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from memorysam.errors import MemorySAMError, WeightsError
from memorysam.tensors import read_tensors
from memorysam.training import checkpoint
from memorysam.training.checkpoint import LAST, PREVIOUS
from memorysam.training.loop import train

from ..tiny import settings, write_dataset

QUICK = {"model": {"image_size": [32, 32]}, "train": {"batch_size": 2, "tensorboard": False}}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny"), train=4)


@pytest.fixture
def run(dataset, tmp_path):
    """With states of step 1 and 2."""
    train(settings(dataset, **QUICK), tmp_path, stop_after=1)
    train(settings(dataset, **QUICK), tmp_path, resume=True, stop_after=2)
    return tmp_path


def step_of(path):
    return read_tensors(path)[1]["training"]["progress"]["step"]


def truncate(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def empty(path):
    path.write_bytes(b"")


def folder(path):
    path.unlink()
    (path / "inside").mkdir(parents=True)


def other_tensors(path):
    """The header and its digest intact, one weight changed."""
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    name = next(name for name in tensors if name.endswith("weight"))
    tensors[name] = tensors[name] + 1
    save_file(tensors, path, metadata=metadata)


def zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


DAMAGE = [truncate, empty, folder, other_tensors, zeros]


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_state_before_is_used_and_kept(dataset, run, fault, capfd, monkeypatch, damage):
    damage(run / LAST)
    with fault("state damaged"):
        # Had the damaged state taken the place of the whole one by now, a failure here would leave nothing.
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "write_tensors", lambda *_: (_ for _ in ()).throw(MemorySAMError("full")))
            with pytest.raises(MemorySAMError, match="full"):
                train(settings(dataset, **QUICK), run, resume=True, stop_after=2)
        assert step_of(run / PREVIOUS) == 1
        said = capfd.readouterr().err
        assert "last.safetensors cannot be used" in said
        assert "falling back to previous.safetensors, of step 1" in said
        train(settings(dataset, **QUICK), run, resume=True, stop_after=3)
        assert step_of(run / LAST) == 3
        assert (run / "damaged-1.safetensors").exists(), "put aside, not deleted"


@pytest.mark.parametrize("damage", DAMAGE)
def test_two_damaged_states_are_an_error_that_names_both(dataset, run, fault, damage):
    damage(run / LAST)
    damage(run / PREVIOUS)
    with fault("both states damaged"), pytest.raises(WeightsError, match="no state to resume from") as error:
        train(settings(dataset, **QUICK), run, resume=True)
    for words in ("last.safetensors cannot be used", "previous.safetensors cannot be used", "--model.weights"):
        assert words in str(error.value)
    assert {path.name for path in run.iterdir()} >= {LAST, PREVIOUS}


def test_a_state_that_was_cut_off_is_not_missed_by_the_run_that_repeats_it(dataset, run, tmp_path):
    """From the state before, the same weights come again."""
    expected = {name: tensor.clone() for name, tensor in read_tensors(run / LAST)[0].items()}  # else they are the file
    truncate(run / LAST)
    train(settings(dataset, **QUICK), run, resume=True, stop_after=2)
    for name, tensor in read_tensors(run / LAST)[0].items():
        assert torch.equal(tensor, expected[name]), name
