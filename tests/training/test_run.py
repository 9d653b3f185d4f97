"""The folder of a run: logs, curves, what a result depends on, and what may not change."""

import json
import platform

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import memorysam
from memorysam.config import RunSettings
from memorysam.errors import SettingsError, TrainingError
from memorysam.strict import build
from memorysam.training import tensorboard
from memorysam.training.checkpoint import LAST, PREVIOUS
from memorysam.training.loop import train
from memorysam.training.run import RunFolder, refuse_changes
from memorysam.training.tensorboard import Curves

from ..tiny import settings, write_dataset


def open_folder(path, resume=False, allow_changes=False, main=True, **groups):
    chosen = build(RunSettings, {"train": {"tensorboard": False}, **groups}, "tests")
    return RunFolder(path, chosen, resume=resume, allow_changes=allow_changes, main=main)


@pytest.fixture
def folder(tmp_path):
    return open_folder(tmp_path / "runs" / "new")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny"))


def log(path):
    return [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]


def curves(path):
    """Every curve of a folder of event files: name -> [(step, value)]."""
    events = EventAccumulator(str(path)).Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_each_log_line_is_json_with_its_step_and_time(folder):
    folder.log(1, loss=0.5, lr=1e-3)
    folder.log(step=2, validation={"miou": 40.0, "split": "val", "classes": {"wall": {"iou": None}}})
    first, second = log(folder.path)
    assert first == {"time": first["time"], "step": 1, "loss": 0.5, "lr": 1e-3}
    assert second["validation"] == {"miou": 40.0, "split": "val", "classes": {"wall": {"iou": None}}}
    assert second["time"] >= first["time"] > 1.7e9


def test_rewinding_the_log_drops_later_lines(folder):
    for step in (1, 2, 3, 4, 5):
        folder.log(step, loss=step / 10)
    folder.log(3, validation={"miou": 1.0})
    folder.rewind_log(3)
    assert [line["step"] for line in log(folder.path)] == [1, 2, 3, 3]
    folder.log(4, loss=7.0)
    assert log(folder.path)[-1]["loss"] == 7.0


@pytest.mark.parametrize("cut", range(1, 30, 4))
def test_rewinding_survives_a_last_line_that_was_cut_off(folder, cut):
    folder.log(1, loss=0.1)
    folder.log(2, loss=0.2)
    path = folder.path / "log.jsonl"
    whole = path.read_text()
    path.write_text(whole + whole.splitlines()[0][:cut])
    folder.rewind_log(2)
    assert path.read_text() == whole
    folder.log(3, loss=0.3)
    assert [line["step"] for line in log(folder.path)] == [1, 2, 3]


def test_a_run_that_died_before_its_first_save_leaves_no_lines_to_the_next(tmp_path):
    open_folder(tmp_path).log(1, loss=0.1)
    open_folder(tmp_path).log(1, loss=0.2)
    assert [line["loss"] for line in log(tmp_path)] == [0.2]


def test_rewinding_to_the_beginning_or_without_a_log(folder):
    folder.rewind_log(5)
    assert not (folder.path / "log.jsonl").exists()
    folder.log(1, loss=0.1)
    folder.rewind_log(0)
    assert log(folder.path) == []


def test_a_new_folder_holds_settings_and_environment(folder):
    written = yaml.safe_load((folder.path / "settings.yaml").read_text())
    assert build(RunSettings, written, "settings.yaml").train.tensorboard is False
    environment = json.loads((folder.path / "environment.json").read_text())
    assert environment["python"] == platform.python_version()
    assert environment["packages"]["memorysam"] == memorysam.__version__
    assert environment["packages"]["torch"] == torch.__version__
    assert environment["threads"] == torch.get_num_threads()
    assert {"command", "platform", "cuda", "device", "commit"} <= environment.keys()


def test_a_process_that_does_not_write_leaves_no_trace(tmp_path):
    open_folder(tmp_path / "run", main=False)
    assert not (tmp_path / "run").exists()


def test_what_an_interrupted_write_left_is_cleared_away(tmp_path):
    (tmp_path / ".last.safetensors.123.tmp").write_text("half")
    (tmp_path / "notes.tmp").write_text("the user's own")
    open_folder(tmp_path)
    assert not (tmp_path / ".last.safetensors.123.tmp").exists()
    assert (tmp_path / "notes.tmp").exists()


@pytest.mark.parametrize("state", [LAST, PREVIOUS])
def test_a_run_is_neither_overwritten_nor_invented(tmp_path, state):
    with pytest.raises(TrainingError, match="no run to resume"):
        open_folder(tmp_path, resume=True)
    open_folder(tmp_path)
    (tmp_path / state).touch()
    with pytest.raises(TrainingError, match=r"already holds a run(.|\n)*--resume"):
        open_folder(tmp_path)
    open_folder(tmp_path, resume=True)


def test_changed_settings_are_listed_all_with_both_values(tmp_path):
    then = build(RunSettings, {"train": {"lr": 0.1}}, "tests")
    now = build(
        RunSettings,
        {"train": {"lr": 0.2, "clip": 1.0}, "model": {"image_size": [64, 96], "train": {"lora": False}}},
        "",
    )
    with pytest.raises(SettingsError) as error:
        refuse_changes(then, now, tmp_path)
    for words in (
        "train.lr: 0.1, now 0.2",
        "train.clip: None, now 1.0",
        "model.image_size: [1024, 1024], now [64, 96]",
        "model.train.lora: True, now False",
        str(tmp_path / "settings.yaml"),
        "--allow-changes",
    ):
        assert words in str(error.value)
    assert str(error.value).count(", now ") == 4


def test_factors_that_were_added_or_left_out_are_changes(tmp_path):
    then = build(RunSettings, {"train": {"lr_factors": {"decoder": 10, "lora": 2}}}, "tests")
    now = build(RunSettings, {"train": {"lr_factors": {"decoder": 10, "memory": 3}}}, "tests")
    with pytest.raises(SettingsError) as error:
        refuse_changes(then, now, tmp_path)
    for words in ("train.lr_factors.lora: 2.0, now None", "train.lr_factors.memory: None, now 3.0"):
        assert words in str(error.value)
    assert str(error.value).count(", now ") == 2
    with pytest.raises(SettingsError, match=r"train\.lr_factors\.lora: 2\.0, now None"):
        refuse_changes(then, RunSettings(), tmp_path)


def test_what_does_not_touch_the_result_may_change(tmp_path):
    changes = {
        "data": {"root": "elsewhere", "workers": 7},
        "train": {"save_every": 1, "log_every": 3, "tensorboard": True, "device": "cpu"},
        "evaluate": {"batch_size": 5},
    }
    then, now = RunSettings(), build(RunSettings, changes, "tests")
    assert then != now
    refuse_changes(then, now, tmp_path)


def test_resuming_compares_with_the_settings_in_the_folder(tmp_path):
    open_folder(tmp_path, augment={"flip": 0.25})
    (tmp_path / LAST).touch()
    open_folder(tmp_path, resume=True, augment={"flip": 0.25})
    with pytest.raises(SettingsError, match=r"augment\.flip: 0\.25, now 0\.75"):
        open_folder(tmp_path, resume=True, augment={"flip": 0.75})
    open_folder(tmp_path, resume=True, allow_changes=True, augment={"flip": 0.75})
    assert yaml.safe_load((tmp_path / "settings.yaml").read_text())["augment"]["flip"] == 0.75


@pytest.mark.parametrize("wanted", [None, True])
def test_a_run_draws_what_it_logs(dataset, tmp_path, wanted):
    options = {"tensorboard": wanted, "epochs": 2, "validate_every": 1}
    train(settings(dataset, train=options), tmp_path)
    drawn, lines = curves(tmp_path / "tensorboard"), log(tmp_path)
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    for name in ("loss", "ohem", "prototype", "gradient", "lr"):
        assert drawn[name] == [(line["step"], pytest.approx(line[name])) for line in steps]
    scores = [line for line in lines if "validation" in line]
    assert drawn["validation/miou"] == [(line["step"], pytest.approx(line["validation"]["miou"])) for line in scores]
    assert [line["step"] for line in scores] == [2, 4]
    assert "validation/classes/wall/iou" in drawn


def test_a_resumed_run_draws_each_step_once(dataset, tmp_path):
    for stop in (3, 5):
        train(settings(dataset), tmp_path, resume=stop > 3, stop_after=stop)
    assert [step for step, _ in curves(tmp_path / "tensorboard")["loss"]] == [1, 2, 3, 4, 5]


def test_files_begun_in_one_second_are_read_in_their_order(tmp_path):
    """TensorBoard's counter goes on for the whole process, and is compared as a word."""
    for step in range(1, 4):
        curve = Curves(tmp_path, wanted=True)
        curve.add(step, {"loss": 1.0})
        curve.close()
    seconds = [path.name.split(".")[3] for path in tmp_path.glob("*.tfevents.*")]
    assert len(set(seconds)) == 3
    assert [step for step, _ in curves(tmp_path)["loss"]] == [1, 2, 3]


def test_what_was_drawn_beyond_the_last_save_is_drawn_again(tmp_path):
    """A run that is killed has drawn more than it has saved."""
    for steps, value in ((range(1, 6), 1.0), (range(4, 8), 2.0)):
        curve = Curves(tmp_path, wanted=True)
        for step in steps:
            curve.add(step, {"loss": value, "note": "words are not drawn", "better": True, "none": None})
        curve.close()
    drawn = curves(tmp_path)
    assert drawn == {"loss": [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0), (6, 2.0), (7, 2.0)]}


def test_without_tensorboard_nothing_is_drawn(dataset, tmp_path):
    train(settings(dataset, train={"tensorboard": False}), tmp_path, stop_after=1)
    assert len(log(tmp_path)) == 1
    assert not (tmp_path / "tensorboard").exists()


def test_where_tensorboard_is_not_installed_it_is_left_out_unless_wanted(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    train(settings(dataset), tmp_path / "run", stop_after=1)
    assert len(log(tmp_path / "run")) == 1
    assert not (tmp_path / "run" / "tensorboard").exists()
    with pytest.raises(SettingsError, match=r"TensorBoard is not installed(.|\n)*memorysam\[log\]"):
        train(settings(dataset, train={"tensorboard": True}), tmp_path / "wanted", stop_after=1)
    assert not (tmp_path / "wanted").exists()
