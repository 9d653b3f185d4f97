"""Each mistake: one message without a traceback, with the place and the way out, and exit code 2."""

import contextlib
import copy
import os
import pickle
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import yaml

import memorysam
from memorysam.cli import main
from memorysam.tensors import read_tensors
from memorysam.training import loop
from memorysam.training.checkpoint import BEST, LAST

from ..tiny import settings, write_dataset


def one_message(code, said):
    """Return a message, its spaces made single, after checking that it is one and bearable."""
    assert code == 2
    assert "Traceback" not in said
    assert said.count("error:") + said.count("For full helptext") == 1
    assert len(said.strip().splitlines()) <= 15
    assert len(said) < 3000
    return " ".join(said.split())


@pytest.fixture
def refused(capsys):
    """Run a command that must fail and return what it says."""
    return lambda *words: one_message(main([str(word) for word in words]), capsys.readouterr().err)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A data set, the content of a settings file, the file, and a run."""
    folder = tmp_path_factory.mktemp("home")
    dataset = write_dataset(folder / "data", train=4, val=2)
    chosen = settings(
        dataset,
        model={"lora_rank": 4},
        train={"epochs": 1, "batch_size": 1, "warmup_epochs": 0, "tensorboard": False},
    )
    content = chosen.model_dump(mode="json")
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(content))
    assert main(["train", str(file), "--out", str(folder / "run")]) == 0
    return SimpleNamespace(data=folder / "data", content=content, settings=file, run=folder / "run")


@pytest.fixture
def train(refused, home, tmp_path):
    """Train with options that must be refused, before anything is saved."""

    def call(*options, file=None):
        message = refused("train", file or home.settings, "--out", tmp_path / "out", *options)
        assert not list((tmp_path / "out").glob("*.safetensors"))
        return message

    return call


@pytest.fixture
def damaged(home, tmp_path):
    """A copy of the data set that may be spoilt, and a settings file for it."""
    shutil.copytree(home.data, tmp_path / "data")
    content = copy.deepcopy(home.content)
    content["data"]["dataset"] = "data"
    (tmp_path / "damaged.yaml").write_text(yaml.safe_dump(content))
    return SimpleNamespace(data=tmp_path / "data", settings=tmp_path / "damaged.yaml")


def cut(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


# Settings


@pytest.mark.parametrize(
    ("group", "values", "words"),
    [
        ("train", {"epoch": 3}, ["unknown setting 'train.epoch'", "did you mean 'epochs'?"]),
        ("modell", {}, ["unknown setting 'modell'", "did you mean 'model'?"]),
        ("train", {"epochs": "three"}, ["wrong value 'three'", "key 'train.epochs'", "valid integer"]),
        ("train", {"lr": -0.1}, ["wrong value -0.1", "key 'train.lr'", "greater than 0"]),
        ("model", {"lora_rank": -1}, ["wrong value -1", "key 'model.lora_rank'", "greater than or equal to 0"]),
        ("model", {"image_size": [60, 90]}, ["key 'model.image_size'", "32", "nearest legal size is [64, 96]"]),
        ("augment", {"scale": [2, 1]}, ["key 'augment.scale'", "the smallest scale 2.0 is above the largest 1.0"]),
        ("data", {"dataset": "nowhere.yaml"}, ["there is no data set 'nowhere.yaml'", "a dataset.yaml"]),
        ("evaluate", {"scales": []}, ["key 'evaluate.scales'", "at least 1"]),
        ("train", {"warmup_epochs": float("inf")}, ["key 'train.warmup_epochs'", "finite"]),
    ],
    ids=["key", "group", "type", "lr", "rank", "size", "order", "dataset", "no-scale", "infinity"],
)  # fmt: skip
def test_a_wrong_setting_in_the_file(home, train, tmp_path, group, values, words):
    content = copy.deepcopy(home.content)
    content[group] = {**content.get(group, {}), **values}
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump(content))
    message = train(file=file)
    for word in words:
        assert word in message
    assert str(tmp_path) in message


@pytest.mark.parametrize(("wrong", "right"), [("sam2-tinny", "sam2-tiny"), ("mikro", "micro")])
def test_an_unknown_backbone(train, wrong, right):
    message = train("--model.backbone", wrong)
    assert f"'{wrong}'" in message
    assert f"did you mean '{right}'?" in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--train.epoch", "3"], ["Unrecognized options: --train.epoch", "Perhaps you meant: --train.epochs INT"]),
        (["--train.epochs", "three"], ["--train.epochs", "'three'"]),
        (["--train.precision", "fp16"], ["'fp16'", "--train.precision", "'fp32', 'bf16'"]),
        (["--model.image-size", "60", "90"], ["multiples of 32", "nearest legal size is [64, 96]"]),
        (["--model.lora-rank", "-1"], ["--model.lora-rank", "greater than or equal to 0"]),
        (["--data.modalities", "rgb", "dept"], ["no modality 'dept'", "did you mean 'depth'?"]),
        (["--data.modalities", "rgb", "lidar"], ["no modality 'lidar'", "rgb, depth"]),
        (["--data.train-split", "trian"], ["no split 'trian' in tiny", "did you mean 'train'?"]),
        (["--data.root", "nowhere"], ["there is no folder here", "nowhere", "correct the root"]),
        (["--train.batch-size", "4", "--train.accumulate", "3"], ["batch of 4", "a multiple of 3"]),
        (["--model.lora-rank", "-2"], ["--model.lora-rank", "-2"]),
    ],
    ids=["unknown", "type", "choice", "size", "rank", "near", "far", "split", "root", "together", "told-as-typed"],
)  # fmt: skip
def test_a_wrong_option(train, options, words):
    message = train(*options)
    for word in words:
        assert word in message


def test_a_wrong_option_is_not_explained_by_a_link(train):
    assert "http" not in train("--model.image-size", "60", "90")


def test_no_settings_file(refused, tmp_path):
    message = refused("train", tmp_path / "nope.yaml", "--out", tmp_path / "out")
    assert "there is no such settings file" in message
    assert str(tmp_path / "nope.yaml") in message
    assert "one of: demo, " in message
    assert "potholes, " in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train:\n  epochs: 2\n  epochs: 3\n", ["key 'epochs' is given twice", "line 3"]),
        ("train:\n\tepochs: 2\n", ["not valid YAML", "line 2"]),
        ("- train\n", ["does not hold settings", "key: value"]),
        ("train: 2\n", ["wrong value 2", "key 'train'"]),
        ("train: {epochs: 2024-99-99}\n", ["not valid YAML"]),
        ("train: " + 2000 * "[" + 2000 * "]" + "\n", ["not valid YAML"]),
        (
            "a: &a [1, 1, 1, 1, 1, 1, 1, 1]\nb: &b [*a, *a, *a, *a, *a, *a]\ntrain: [" + 200 * "*b, " + "]\n",
            ["wrong value"],
        ),
    ],
    ids=["twice", "tab", "list", "number", "date", "deep", "aliases"],
)  # fmt: skip
def test_a_settings_file_that_makes_no_sense(train, tmp_path, text, words):
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    message = train(file=file)
    assert str(file) in message
    for word in words:
        assert word in message


def test_a_settings_file_that_would_run_code(train, tmp_path):
    text = f"train: !!python/object/apply:os.system ['touch {tmp_path}/canary']\n"
    (tmp_path / "evil.yaml").write_text(text)
    message = train(file=tmp_path / "evil.yaml")
    assert "not valid YAML" in message
    assert "os.system" in message
    assert not (tmp_path / "canary").exists()
    yaml.unsafe_load(text)
    assert (tmp_path / "canary").exists(), "a dud proves nothing"


# Data


def test_a_truncated_image_in_training(damaged, train):
    path = cut(damaged.data / "rgb" / "t02.png")
    message = train(file=damaged.settings)
    assert "cut off or damaged" in message
    assert str(path) in message
    assert "take its sample out of the data" in message


@pytest.mark.slow
def test_a_truncated_image_in_a_worker_process(damaged, tmp_path, capfd):
    path = cut(damaged.data / "rgb" / "t02.png")
    words = ["train", damaged.settings, "--out", tmp_path / "out", "--data.workers", 1]
    message = one_message(main([str(word) for word in words]), capfd.readouterr().err)
    assert "cut off or damaged" in message
    assert str(path) in message


def test_after_a_failed_start_the_log_begins_anew(damaged, train, tmp_path):
    cut(damaged.data / "rgb" / "t02.png")
    train(file=damaged.settings)
    before = (tmp_path / "out" / "log.jsonl").read_text().splitlines()
    train(file=damaged.settings)
    assert len((tmp_path / "out" / "log.jsonl").read_text().splitlines()) == len(before) > 0


def test_a_label_value_outside_the_map(damaged, train):
    path = damaged.data / "labels" / "t01.png"
    label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    label[5, :7] = 9
    cv2.imwrite(str(path), label)
    message = train(file=damaged.settings)
    assert "9 (7 pixels)" in message
    assert str(path) in message
    assert "9: ignore" in message


def test_modalities_of_different_sizes(damaged, train):
    path = damaged.data / "depth" / "t01.png"
    cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:32])
    message = train(file=damaged.settings)
    assert "depth is 32 x 96" in message
    assert str(path) in message
    assert "64 x 96" in message
    assert "resize: true" in message


def test_a_file_that_is_listed_but_not_there(damaged, train):
    (damaged.data / "depth" / "t03.png").unlink()
    message = train(file=damaged.settings)
    assert "lacks files" in message
    assert str(damaged.data / "depth" / "t03.png") in message


def test_a_checkpoint_for_other_classes(home, damaged, refused, train):
    content = yaml.safe_load((damaged.data / "dataset.yaml").read_text())
    content["classes"] = ["road", "car", "tree"]
    (damaged.data / "dataset.yaml").write_text(yaml.safe_dump(content))
    message = refused("evaluate", home.run, "--dataset", damaged.data, "--workers", 0)
    assert "different classes" in message
    assert "road, car, tree" in message
    message = train("--model.weights", home.run, file=damaged.settings)
    assert "this checkpoint is for other classes" in message
    assert str(home.run / BEST) in message
    assert "model.rehead" in message


# Predictions and scores


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], ["no image was given", "--rgb", "--depth"]),
        (["--rbg", "{rgb}"], ["unknown option '--rbg'", "did you mean '--rgb'?"]),
        (["--rgb", "{data}/rgb/missing.png"], ["no such file or folder", "{data}/rgb/missing.png"]),
        (["--rgb"], ["--rgb needs a file or a folder"]),
        (["--rgb", "{rgb}", "--rgb", "{rgb}"], ["--rgb is given twice"]),
        (["--rgb", "{data}/dataset.yaml"], ["not a PNG, JPEG, TIFF or NPY file", "{data}/dataset.yaml"]),
        (["--rgb", "{rgb}", "--depth", "{data}/depth"], ["files and folders are mixed", "{data}/depth"]),
        (["--rgb", "{data}"], ["no images here", "{data}", ".png"]),
        (["--rgb", "{rgb}", "--method", "window"], ["'window'", "--method", "'windows'"]),
        (["--rgb", "{rgb}", "--out", "{data}/dataset.yaml"], ["cannot be written", "{data}/dataset.yaml"]),
        (["--rgb", "{rgb}", "--methd", "windows"], ["'--methd'", "did you mean '--method'?"]),
        (["--rgb", "{rgb}", "--overlap", "1"], ["overlap", "less than 1"]),
        (["--rgb", "{rgb}", "--device", "gpu"], ["gpu", "cuda"]),
    ],
    ids=[
        "nothing", "unknown", "missing", "no-value", "twice", "no-image", "mixed", "no-images", "choice", "out",
        "own-option", "range", "device",
    ],
)  # fmt: skip
def test_predict_refuses(home, refused, tmp_path, words, told):
    places = {"data": home.data, "rgb": home.data / "rgb" / "v00.png"}
    message = refused("predict", home.run, "--out", tmp_path / "out", *(word.format(**places) for word in words))
    for word in told:
        assert word.format(**places) in message
    assert not (tmp_path / "out").exists()


def test_predict_refuses_a_truncated_image(home, refused, tmp_path):
    path = cut(Path(shutil.copy(home.data / "rgb" / "v00.png", tmp_path)))
    message = refused("predict", home.run, "--rgb", path, "--out", tmp_path / "out")
    assert "cut off or damaged" in message
    assert str(path) in message


def test_predict_refuses_images_of_different_sizes(home, refused, tmp_path):
    small = np.zeros((20, 30), np.uint16)
    cv2.imwrite(str(tmp_path / "small.png"), small)
    files = ["--rgb", home.data / "rgb" / "v00.png", "--depth", tmp_path / "small.png"]
    message = refused("predict", home.run, *files, "--out", tmp_path / "out")
    assert "rgb 64x96" in message
    assert "depth 20x30" in message
    assert str(tmp_path / "small.png") in message


def test_predict_refuses_a_file_without_its_partner(home, refused, tmp_path):
    shutil.copytree(home.data / "depth", tmp_path / "depth")
    (tmp_path / "depth" / "v01.png").unlink()
    folders = ["--rgb", home.data / "rgb", "--depth", tmp_path / "depth"]
    message = refused("predict", home.run, *folders, "--out", tmp_path / "out")
    assert "1 files have no partner of the same name" in message
    assert str(tmp_path / "depth" / "v01.*") in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_predict_refuses_a_gpu_that_is_not_there(home, refused, tmp_path):
    words = ["--rgb", home.data / "rgb" / "v00.png", "--device", "cuda", "--out", tmp_path / "out"]
    assert "cuda" in refused("predict", home.run, *words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--split", "vla"], ["no split 'vla' in tiny", "did you mean 'val'?"]),
        (["--modalities", "dpth"], ["no modality 'dpth'", "did you mean 'depth'?"]),
        (["--root", "nowhere"], ["there is no folder here", "nowhere"]),
        (["--dataset", "scenes"], ["different classes", "Building"]),
        (["--by", "weather"], ["no tag weather"]),
        (["--batch-size", "0"], ["batch", "greater than or equal to 1"]),
        (["--workers", "-1"], ["--workers", "a number from 0"]),
    ],
    ids=["split", "modality", "root", "classes", "tag", "batch-size", "workers"],
)  # fmt: skip
def test_evaluate_refuses(home, refused, words, told):
    message = refused("evaluate", home.run, "--workers", 0, *words)
    for word in told:
        assert word in message


# Weights


def random_tensors(path):
    torch.save({"first": torch.randn(3), "second": torch.randn(2, 2)}, path)


WRONG = {
    "random.pt": (random_tensors, ["not of a known kind", "SAM2", "2 tensors: first, second"]),
    "text.pt": (lambda path: path.write_text("no weights\n"), ["not a readable file of tensors", "named tensors"]),
    "empty.pt": (lambda path: path.write_bytes(b""), ["not a readable file of tensors"]),
    "list.pt": (lambda path: torch.save([torch.zeros(2)], path), ["something else than weights", "named tensors"]),
    "weights.doc": (lambda path: path.write_bytes(b"?"), ["no file of weights", ".safetensors, .pt"]),
    "empty.safetensors": (lambda path: path.write_bytes(b""), ["not a whole safetensors file", "another copy"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_holds_no_weights(home, refused, train, tmp_path, name):
    write, words = WRONG[name]
    path = tmp_path / name
    write(path)
    image = home.data / "rgb" / "v00.png"
    for message in (
        train("--model.weights", path),
        refused("info", path),
        refused("evaluate", path, "--workers", 0),
        refused("predict", path, "--rgb", image, "--out", tmp_path / "predictions"),
    ):
        assert str(path) in message
        for word in words:
            assert word in message


@pytest.mark.parametrize("part", [0.001, 0.5, 0.999])
def test_a_checkpoint_that_was_cut_off(home, refused, tmp_path, part):
    data = (home.run / BEST).read_bytes()
    path = tmp_path / BEST
    path.write_bytes(data[: int(len(data) * part)])
    message = refused("info", tmp_path)
    assert "not a whole safetensors file" in message
    assert str(path) in message


def test_a_checkpoint_in_which_one_bit_has_changed(home, refused, tmp_path):
    data = bytearray((home.run / BEST).read_bytes())
    data[-1000] ^= 1
    (tmp_path / BEST).write_bytes(data)
    message = refused("info", tmp_path)
    assert "its digest does not match" in message
    assert str(tmp_path / BEST) in message


def save_as_pickle(content, path):
    path.write_bytes(pickle.dumps(content))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("write", [torch.save, save_as_pickle], ids=["torch", "pickle"])
def test_weights_that_would_run_code(refused, train, tmp_path, write):
    path, canary = tmp_path / "bomb.pt", tmp_path / "canary"
    write({"model": Bomb(canary)}, path)
    for message in (train("--model.weights", path), refused("info", path)):
        assert "anything that would have to run code is refused" in message
        assert str(path) in message
    assert not canary.exists()
    pickle.loads(pickle.dumps(Bomb(canary)))
    assert canary.exists(), "a dud proves nothing"


def test_a_plain_pickle_is_refused_without_warnings(refused, tmp_path, recwarn):
    save_as_pickle(Bomb(tmp_path / "canary"), tmp_path / "bomb.pt")
    refused("info", tmp_path / "bomb.pt")
    assert recwarn.list == []


def test_nobody_is_told_to_run_the_code_in_weights(refused, tmp_path):
    torch.save({"model": Bomb(tmp_path / "canary")}, tmp_path / "bomb.pt")
    assert "weights_only" not in refused("info", tmp_path / "bomb.pt")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["{empty}"], ["this folder holds no weights", "{empty}", BEST]),
        (["{empty}/missing"], ["there are no weights here", "{empty}/missing"]),
        ([], ["give either a checkpoint or --model"]),
        (["{run}", "--model", "memorysam-micro"], ["give either a checkpoint or --model"]),
        (["--model", "memorysam-mikro"], ["no backbone 'mikro'", "did you mean 'micro'?"]),
        (["--model", "memorysam-sam2-tinny"], ["no backbone 'sam2-tinny'", "did you mean 'sam2-tiny'?"]),
        (["--model", "resnet"], ["no model 'resnet'", "such as memorysam-sam2-tiny", "mcubesnet"]),
        (["--model", "cmnxt-b2"], ["no model 'cmnxt-b2'", "did you mean 'cmnext'?"]),
        (["--model", "cmnext-b9"], ["cmnext has no backbone 'b9'", "mit-b2"]),
        (["--model", "memorysam-micro", "--image-size", "60", "64"], ["--image-size", "[64, 64]"]),
        (["--model", "memorysam-micro", "--classes", "1"], ["2 to 255 classes"]),
        (["--model", "memorysam-micro", "--modalities", "0"], ["one modality"]),
        (["--model", "memorysam-micro", "--classes", "256"], ["255"]),
        (["runs/my--run"], ["runs/my--run"]),
    ],
    ids=["empty", "missing", "nothing", "both", "micro", "tiny",
         "resnet", "typo", "b9", "size", "one", "none", "too-many", "no-hub-id"],
)  # fmt: skip
def test_info_refuses(home, refused, tmp_path, words, told):
    places = {"run": home.run, "empty": tmp_path}
    message = refused("info", *(word.format(**places) for word in words))
    for word in told:
        assert word.format(**places) in message


# Run folders


def test_resuming_without_a_run(train, tmp_path):
    message = train("--resume")
    assert "there is no run to resume here" in message
    assert str(tmp_path / "out") in message
    assert LAST in message


def test_training_into_a_folder_that_holds_a_run(home, refused):
    before = (home.run / LAST).read_bytes()
    message = refused("train", home.settings, "--out", home.run)
    assert "already holds a run" in message
    assert str(home.run) in message
    assert "--resume" in message
    assert "--out" in message
    assert (home.run / LAST).read_bytes() == before


def test_resuming_with_other_settings(home, refused):
    message = refused("train", home.settings, "--out", home.run, "--resume", "--train.lr", "0.1")
    assert "train.lr: 0.002, now 0.1" in message
    assert "--allow-changes" in message


def test_training_into_a_file(home, refused, tmp_path):
    (tmp_path / "file").write_text("")
    message = refused("train", home.settings, "--out", tmp_path / "file")
    assert str(tmp_path / "file") in message


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--size", "0"], ["wrong size [0]", "32 or more"]),
        (["--size", "1", "2", "3"], ["wrong size [1, 2, 3]", "one or two numbers"]),
        (["--train", "-1"], ["'train': -1", "no negative number"]),
        (["--sise", "64"], ["--sise", "--size"]),
    ],
    ids=["small", "three", "negative", "unknown"],
)
def test_make_scenes_refuses(refused, tmp_path, options, told):
    message = refused("make-scenes", tmp_path / "world", *options)
    for word in told:
        assert word in message
    assert not (tmp_path / "world").exists()


def test_scenes_are_not_written_over_other_files(refused, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    message = refused("make-scenes", tmp_path, "--train", 1, "--val", 0, "--test", 0, "--size", 64)
    assert "this folder holds something else" in message
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_check_data_without_data(refused, tmp_path):
    message = refused("check-data", tmp_path / "nowhere")
    assert "there is no data set" in message
    assert str(tmp_path / "nowhere") in message


# A full disk


@pytest.fixture
def disk(tmp_path):
    """Mount a small disk; its size can be changed."""
    if os.name == "nt" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root may mount a small disk")
    mounted = tmp_path / "disk"
    mounted.mkdir()

    def mount(size, *more):
        command = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *more]), "tmpfs", str(mounted)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()}")
        return mounted

    try:
        yield mount
    finally:
        if os.path.ismount(mounted):
            subprocess.run(["umount", "--lazy", str(mounted)], check=True)


def leftovers(folder):
    return [path.name for path in folder.rglob("*") if path.name.endswith(".tmp")]


def test_no_space_for_the_first_checkpoint(home, refused, disk):
    out = disk(2**20) / "run"
    message = refused("train", home.settings, "--out", out)
    assert "no space left on the disk" in message
    assert str(out / LAST) in message
    assert "free some space" in message
    assert not list(out.glob("*.safetensors"))
    assert leftovers(out) == []


def test_no_space_for_the_next_checkpoint_leaves_the_one_before_whole(home, refused, disk):
    """Room for a state and the best model, not for the next state beside them; with more room the run goes on."""
    state = (home.run / LAST).stat().st_size
    out = disk(int(1.6 * state)) / "run"
    message = refused("train", home.settings, "--out", out)
    assert "no space left on the disk" in message
    assert str(out / LAST) in message
    assert leftovers(out) == []
    _, head = read_tensors(out / LAST)  # compares the digest
    assert head["step"] == 4
    assert memorysam.load(out, verbose=False).task.names
    disk(4 * state, "remount")
    assert main(["train", str(home.settings), "--out", str(out), "--resume"]) == 0


def test_no_space_for_the_log(home, refused, disk, monkeypatch):
    folder = disk(2**20)

    def fill(training, batches, step=loop.Training.step):
        with contextlib.suppress(OSError), (folder / "filler").open("ab", buffering=0) as file:
            while True:
                file.write(bytes(1024))
        return step(training, batches)

    monkeypatch.setattr(loop.Training, "step", fill)
    assert "no space left on the disk" in refused("train", home.settings, "--out", folder / "run")
