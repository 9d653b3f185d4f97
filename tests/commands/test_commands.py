import contextlib
import csv
import io
import json
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import yaml

import memorysam
from memorysam.cli import main
from memorysam.config import RunSettings
from memorysam.models import weights
from memorysam.strict import build, read_yaml
from memorysam.training.checkpoint import LAST

from ..tiny import write_dataset

SIZE = (72, 100)
"""Of the images; the network sees another."""
NETWORK = [64, 96]
CLASSES = {"ground", "wall", "box"}
ORDER = ["rgb", "depth"]
"""Of the modalities, in which the settings name them."""
SETTINGS = {
    "model": {"backbone": "micro", "image_size": NETWORK, "lora_rank": 4},
    "data": {"dataset": "data/dataset.yaml", "modalities": ORDER, "workers": 0},
    "train": {"epochs": 9, "batch_size": 2, "lr": 2e-3, "warmup_epochs": 0},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A data set, a settings file that names it by a relative path, and a run of a few steps."""
    folder = tmp_path_factory.mktemp("home")
    write_dataset(folder / "data", train=6, val=3, size=SIZE)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(SETTINGS))
    said = io.StringIO()
    options = ["--train.epochs", "4", "--train.weight-decay", "0.05", "--augment.scale", "0.9", "1.1", "--json"]
    with contextlib.redirect_stdout(said):
        assert main(["train", str(folder / "tiny.yaml"), "--out", str(folder / "run"), *options]) == 0
    return SimpleNamespace(data=folder / "data", run=folder / "run", said=said.getvalue())


@pytest.fixture
def say(capsys):
    """Run a command that must succeed and return what it prints to standard output."""

    def call(*words):
        assert main([str(word) for word in words]) == 0
        return capsys.readouterr().out

    return call


@pytest.fixture
def evaluate(home, say):
    return lambda *words: say("evaluate", home.run, "--workers", 0, *words)


def as_options(home, name, *modalities):
    return [word for kind in modalities for word in (f"--{kind}", home.data / kind / f"{name}.png")]


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_the_command_line_wins_over_the_settings_file(home):
    settings = build(RunSettings, read_yaml(home.run / "settings.yaml"), "settings.yaml")
    assert (settings.train.epochs, settings.train.weight_decay, settings.augment.scale) == (4, 0.05, (0.9, 1.1))
    assert (settings.train.batch_size, settings.train.lr, settings.model.lora_rank) == (2, 2e-3, 4)


def test_train_tells_the_result_as_json(home):
    said = json.loads(home.said)
    assert said["folder"] == str(home.run)
    assert (said["finished"], said["step"]) == (True, 12)
    assert said["best"] == weights.read_about(home.run / "best.safetensors")["scores"]["miou"]


def test_evaluate_shows_a_table_and_what_it_holds_for(evaluate):
    out = evaluate()
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    assert rows["class"] == ["IoU", "F1", "accuracy", "of", "pixels"]
    ious = [float(rows[name][0]) for name in CLASSES]
    assert float(rows["mean"][0]) == pytest.approx(sum(ious) / 3, abs=0.01)
    for fact in (" + ".join(ORDER), "val (3 images)", "64x96", "protocol paper"):
        assert fact in out


def test_evaluate_prints_json_and_nothing_else(home, evaluate):
    said = json.loads(evaluate("--json"))
    assert said["checkpoint"] == str(home.run / "best.safetensors")
    assert (said["split"], said["images"], said["protocol"], said["size"]) == ("val", 3, "paper", NETWORK)
    assert said["classes"].keys() == CLASSES
    assert sum(part["pixels"] for part in said["classes"].values()) < 3 * NETWORK[0] * NETWORK[1]


def test_evaluate_gives_the_score_that_training_gave(home, evaluate):
    trained = weights.read_about(home.run / "best.safetensors")["scores"]["miou"]
    assert json.loads(evaluate("--json"))["miou"] == pytest.approx(trained, abs=0.01)


def test_evaluate_takes_any_checkpoint_and_any_split(home, say):
    said = json.loads(say("evaluate", home.run / LAST, "--workers", 0, "--split", "train", "--json"))
    assert said["checkpoint"] == str(home.run / LAST)
    assert (said["split"], said["images"]) == ("train", 6)


def test_evaluate_finds_data_that_has_moved(home, evaluate, tmp_path):
    before = json.loads(evaluate("--json"))
    moved = (home.data / "dataset.yaml").read_text().replace("root: .", "root: somewhere/else")
    (tmp_path / "dataset.yaml").write_text(moved)
    after = json.loads(evaluate("--json", "--dataset", tmp_path, "--root", home.data))
    assert after == before


def test_every_row_that_evaluate_writes_says_what_it_holds_for(evaluate, tmp_path):
    said = json.loads(evaluate("--json", "--out", tmp_path / "new" / "folder"))
    assert json.loads((tmp_path / "new" / "folder" / "evaluation.json").read_text()) == said
    with (tmp_path / "new" / "folder" / "evaluation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == [*said["classes"], "mean"]
    for row in rows:
        facts = (row["split"], row["images"], row["protocol"], row["size"], row["modalities"], row["checkpoint"])
        assert facts == ("val", "3", "paper", "64 96", " ".join(ORDER), said["checkpoint"])
    assert float(rows[-1]["iou"]) == said["miou"]


def test_evaluate_shows_the_model_a_subset_of_the_modalities(evaluate):
    everything, depth = json.loads(evaluate("--json")), json.loads(evaluate("--json", "--modalities", "depth"))
    assert (everything["modalities"], depth["modalities"]) == (ORDER, ["depth"])
    assert depth["classes"] != everything["classes"]


def test_the_strict_protocol_counts_every_labelled_pixel_of_the_files(evaluate):
    said = json.loads(evaluate("--json", "--protocol", "strict"))
    assert said["protocol"] == "strict"
    labelled = 3 * (SIZE[0] - 2) * SIZE[1]  # the upper two rows are not labelled
    assert sum(part["pixels"] for part in said["classes"].values()) == labelled


@pytest.mark.parametrize(
    ("options", "fact", "value"),
    [
        (["--method", "windows", "--overlap", "0.5"], "method", "windows"),
        (["--method", "native"], "method", "native"),
        (["--flip", "True"], "flip", True),
        (["--scales", "0.5", "1.0", "--batch-size", "2"], "scales", [0.5, 1.0]),
    ],
    ids=["windows", "native", "flip", "scales"],
)
def test_every_way_to_predict_is_recorded_and_changes_the_result(evaluate, options, fact, value):
    plain, said = json.loads(evaluate("--json")), json.loads(evaluate("--json", *options))
    assert said[fact] == value != plain[fact]
    assert said["classes"] != plain["classes"]


def test_predict_writes_class_ids_and_a_picture_of_the_size_of_the_image(home, say, tmp_path):
    out = say("predict", home.run, *as_options(home, "v00", "rgb", "depth"), "--out", tmp_path)
    labels, overlay = read(tmp_path / "v00_labels.png"), read(tmp_path / "v00_overlay.png")
    assert labels.shape == SIZE
    assert labels.dtype == np.uint8
    assert overlay.shape == (*SIZE, 3)
    found = np.unique(labels)
    assert 1 < len(found) <= 3
    assert found.max() < 3
    assert {path.name for path in tmp_path.iterdir()} == {"v00_labels.png", "v00_overlay.png", "legend.png"}
    for number in found:
        share = (labels == number).mean()
        assert f"{weights.carried_task(home.run / LAST).classes.names[number]} {share:.1%}" in out
    assert f"1 image written to {tmp_path}" in out


def test_predict_does_not_mind_the_order_of_options(home, say, tmp_path):
    say("predict", home.run, *as_options(home, "v00", "rgb", "depth"), "--out", tmp_path / "a")
    say("predict", home.run, "--out", tmp_path / "b", *as_options(home, "v00", "depth", "rgb"))
    name = "v00_labels.png"
    assert np.array_equal(read(tmp_path / "a" / name), read(tmp_path / "b" / name))


def test_predict_takes_one_modality_alone(home, say, tmp_path):
    say("predict", home.run, *as_options(home, "v00", "rgb", "depth"), "--out", tmp_path / "both")
    say("predict", home.run, *as_options(home, "v00", "rgb"), "--out", tmp_path / "one")
    both, one = (read(tmp_path / folder / "v00_labels.png") for folder in ("both", "one"))
    assert one.shape == SIZE
    assert not np.array_equal(one, both)


def test_predict_matches_the_files_of_folders_by_name(home, say, tmp_path):
    for kind in ("rgb", "depth"):
        (tmp_path / kind).mkdir()
        for name in ("v00", "v01"):
            cv2.imwrite(str(tmp_path / kind / f"{name}.png"), read(home.data / kind / f"{name}.png"))
    (tmp_path / "rgb" / "notes.txt").write_text("no image, no matter")
    folders = ["--rgb", tmp_path / "rgb", "--depth", tmp_path / "depth"]
    said = json.loads(say("predict", home.run, *folders, "--out", tmp_path / "all", "--json"))
    assert [result["name"] for result in said["results"]] == ["v00", "v01"]
    say("predict", home.run, *as_options(home, "v01", "rgb", "depth"), "--out", tmp_path / "one")
    assert np.array_equal(read(tmp_path / "all" / "v01_labels.png"), read(tmp_path / "one" / "v01_labels.png"))


def test_predict_prints_json_and_nothing_else(home, say, tmp_path):
    said = json.loads(say("predict", home.run, *as_options(home, "v02", "depth"), "--out", tmp_path, "--json"))
    assert (said["checkpoint"], said["modalities"]) == (str(home.run), ["depth"])
    (result,) = said["results"]
    assert (result["name"], result["size"]) == ("v02", list(SIZE))
    assert result["files"] == {kind: str(tmp_path / f"v02_{kind}.png") for kind in ("labels", "overlay")}
    assert result["shares"].keys() <= CLASSES
    assert sum(result["shares"].values()) == pytest.approx(1)


def test_predict_writes_probabilities_on_request(home, say, tmp_path):
    say("predict", home.run, *as_options(home, "v00", "rgb", "depth"), "--out", tmp_path, "--probabilities")
    probabilities = np.load(tmp_path / "v00_probabilities.npy")
    assert probabilities.dtype == np.float16
    assert probabilities.shape == (3, *SIZE)
    assert np.allclose(probabilities.astype(np.float32).sum(axis=0), 1, atol=2e-3)
    labels = read(tmp_path / "v00_labels.png")
    chosen = np.take_along_axis(probabilities, labels[None].astype(np.intp), axis=0)[0]
    assert np.array_equal(chosen, probabilities.max(axis=0))


def test_python_and_the_command_line_predict_the_same(home, say, tmp_path):
    say("predict", home.run, *as_options(home, "v00", "rgb", "depth"), "--out", tmp_path)
    files = {kind: home.data / kind / "v00.png" for kind in ("rgb", "depth")}
    model = memorysam.load(home.run)
    result = model.predict(files)
    # The command merges LoRA into the weights, which rounds differently.
    assert (result.labels == read(tmp_path / "v00_labels.png")).mean() >= 0.999
    arrays = {"rgb": read(files["rgb"])[:, :, ::-1], "depth": read(files["depth"])}
    assert np.array_equal(model.predict(arrays).labels, result.labels)


def test_info_tells_what_a_run_holds(home, say):
    said = json.loads(say("info", home.run, "--json"))
    assert said["file"] == str(home.run / "best.safetensors")
    assert (said["model"]["backbone"], said["image_size"]) == ("micro", NETWORK)
    assert [modality["name"] for modality in said["modalities"]] == ORDER
    assert set(said["classes"]) == CLASSES
    assert said["scores"]["split"] == "val"
    model = memorysam.load(home.run, verbose=False).model
    assert said["parameters"]["total"] == sum(p.numel() for p in model.parameters())
    assert said["parameters"]["trainable"] == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_info_is_readable_too(home, say):
    out, said = say("info", home.run), json.loads(say("info", home.run, "--json"))
    for words in ("backbone micro", "64x96", "depth: 1 channels, 0 to 65535", f"mIoU {said['scores']['miou']:.2f}"):
        assert words in out
    parameters = said["parameters"]
    assert out.splitlines()[-1].split() == ["all", f"{parameters['total']:,}", f"{parameters['trainable']:,}"]


def test_info_counts_a_model_that_exists_by_name_only(say):
    words = ["info", "--model", "memorysam-micro", "--modalities", "3", "--json"]
    seven, eight = (json.loads(say(*words, "--classes", count)) for count in (7, 8))
    assert len(seven["modalities"]) == 3
    assert len(seven["classes"]) == 7
    # Trained from scratch, all of it trains but the heads that no loss reaches and what stands for an empty prompt.
    fixed = sum(seven["parameters"]["parts"][part]["total"] for part in ("heads", "prompt"))
    assert seven["parameters"]["trainable"] == seven["parameters"]["total"] - fixed > 1e6
    assert eight["parameters"]["total"] > seven["parameters"]["total"]


@pytest.mark.slow
def test_info_counts_the_papers_lora_parameters(say):
    words = ["--model", "memorysam-sam2-base-plus", "--modalities", 4, "--classes", 25]
    parameters = json.loads(say("info", *words, "--json"))["parameters"]
    sys.stdout.write(f"{json.dumps(parameters, indent=2)}\n")  # shown by pytest -rP
    # Rank 4 on q and v of 24 blocks; the three at stage transitions have inputs of half the width.
    assert parameters["parts"]["lora"] == {"total": 165_760, "trainable": 165_760}
    assert parameters["parts"]["encoder"]["trainable"] == 0


def test_check_data_finds_nothing_wrong_with_clean_data(home, say):
    assert "nothing wrong" in say("check-data", home.data / "dataset.yaml")
    said = json.loads(say("check-data", home.data, "--json"))
    assert (said["clean"], said["problems"]) == (True, {})
    assert {split: part["samples"] for split, part in said["splits"].items()} == {"train": 6, "val": 3}


def test_check_data_names_what_is_damaged_and_exits_with_1(tmp_path, capsys):
    dataset = write_dataset(tmp_path, train=2, val=1)
    damaged = tmp_path / "depth" / "t01.png"
    damaged.write_bytes(damaged.read_bytes()[:300])
    assert main(["check-data", str(dataset)]) == 1
    assert "depth/t01.png" in capsys.readouterr().out
    assert main(["check-data", str(dataset), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert not said["clean"]
    (line,) = said["problems"]["files that cannot be used"]
    assert line.startswith("depth/t01.png: ")


def test_check_data_looks_where_it_is_told(home, say, tmp_path):
    (tmp_path / "mine.yaml").write_text((home.data / "dataset.yaml").read_text().replace("root: .", "root: nowhere"))
    assert "nothing wrong" in say("check-data", tmp_path / "mine.yaml", "--root", home.data)


def test_scenes_that_were_written_are_clean_data(say, tmp_path):
    counts = ["--train", 1, "--val", 1, "--test", 0]
    said = json.loads(say("make-scenes", tmp_path / "world", *counts, "--size", 64, "--json"))
    assert said == {
        "folder": str(tmp_path / "world"),
        "counts": {"train": 1, "val": 1, "test": 0},
        "size": [64, 64],
    }
    assert "nothing wrong" in say("check-data", tmp_path / "world")


def test_make_scenes_says_what_to_do_next(say, tmp_path):
    out = say("make-scenes", tmp_path / "world", "--train", 1, "--val", 0, "--test", 0, "--size", 64, 96)
    assert out == f"1 scenes in {tmp_path / 'world'}\nnext: memorysam check-data {tmp_path / 'world'}\n"


def test_evaluate_draws_on_request(home, tmp_path, capsys):
    words = ["evaluate", str(home.run), "--workers", "0", "--figures"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    for name in ("confusion.png", "classes.png"):
        assert cv2.imread(str(tmp_path / name)).std() > 5
    assert main(words) == 2
    assert "add --out" in capsys.readouterr().err
