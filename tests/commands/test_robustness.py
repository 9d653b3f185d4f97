"""`memorysam evaluate --robustness` tells, writes, goes on where it was, and refuses what makes no sense."""

import csv
import json
from types import SimpleNamespace

import pytest
import yaml
from PIL import Image

from memorysam.cli import main
from memorysam.commands import robustness as command
from memorysam.evaluation import robustness_run

from ..tiny import write_dataset

SETTINGS = {
    "model": {"backbone": "micro", "image_size": [32, 64], "lora_rank": 0},
    "data": {"dataset": "data/dataset.yaml", "workers": 0},
    "train": {"epochs": 4, "batch_size": 4, "lr": 3e-3, "warmup_epochs": 0, "validate_every": 4, "tensorboard": False},
    "evaluate": {"batch_size": 2},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A run, and what the command wrote for it and said."""
    folder = tmp_path_factory.mktemp("home")
    write_dataset(folder / "data", train=8, val=3)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(SETTINGS))
    assert main(["train", str(folder / "tiny.yaml"), "--out", str(folder / "run")]) == 0
    words = ["evaluate", str(folder / "run"), "--robustness", "--out", str(folder / "out"), "--workers", "0"]
    assert main(words) == 0
    return SimpleNamespace(run=folder / "run", out=folder / "out", words=words)


def test_it_writes_tables_and_pictures(home):
    assert {path.name for path in home.out.iterdir()} == {
        "robustness.json", "robustness.csv", "robustness.md", "lattice.png", "degradation.png"
    }  # fmt: skip
    content = json.loads((home.out / "robustness.json").read_text())
    assert len(content["passes"]) == 1 + 2 * (2 + 3 * 2 + 3)
    assert all(0 <= one["miou"] <= 100 for one in content["passes"].values())
    assert len({one["miou"] for one in content["passes"].values()}) > 10
    assert content["about"]["dataset"] == "tiny"
    rows = list(csv.DictReader((home.out / "robustness.csv").open()))
    assert len(rows) == 2 * (3 + 9 + 4)
    assert {row["checkpoint"] for row in rows} == {str(home.run / "best.safetensors")}
    assert "| rgb + depth | 0 |" in (home.out / "robustness.md").read_text()
    for name, least in (("lattice", (900, 500)), ("degradation", (900, 300))):
        with Image.open(home.out / f"{name}.png") as picture:
            assert picture.width > least[0]
            assert picture.height > least[1]
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 100, "it shows something"


def test_the_same_command_scores_nothing_again_and_says_the_same(home, monkeypatch, capsys):
    before = json.loads((home.out / "robustness.json").read_text())
    monkeypatch.setattr(robustness_run, "evaluate", lambda *a, **k: pytest.fail("all passes are done"))
    assert main(home.words) == 0
    said = capsys.readouterr().out
    for words in ("EMM: mIoU with what is left", "E(0.05)", "RMM", "NM", "NOT COMPARABLE", "lattice.png"):
        assert words in said
    assert main([*home.words, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["passes"] == before["passes"]
    assert content["summary"] == before["summary"] == json.loads((home.out / "robustness.json").read_text())["summary"]


def test_a_part_of_it_in_one_variant_without_a_folder(home, capsys):
    words = ["evaluate", str(home.run), "--workers", "0", "--json"]
    assert main([*words, "--robustness", "strict", "--robustness-parts", "nm", "--modalities", "depth"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert list(content["passes"]) == ["whole", "strict/nm/low", "strict/nm/middle", "strict/nm/high"]
    assert content["sensors"] == ["depth"]
    assert main([*words, "--modalities", "depth"]) == 0
    assert json.loads(capsys.readouterr().out)["miou"] == content["passes"]["whole"]["miou"]


def test_files_are_read_in_each_pass_where_memory_is_short_and_numbers_stay(home, capsys):
    words = ["evaluate", str(home.run), "--robustness", "strict", "--robustness-parts", "emm", "--hold-gb", "0"]
    assert main([*words, "--workers", "0"]) == 0
    said = capsys.readouterr()
    assert "--hold-gb" in said.err
    kept = json.loads((home.out / "robustness.json").read_text())["summary"]["emm"]["strict"]
    assert f"{kept['average']:.2f}" in said.out


def test_without_matplotlib_it_says_so_and_writes_the_tables(home, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    words = ["evaluate", str(home.run), "--robustness", "strict", "--robustness-parts", "nm", "--workers", "0"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    assert "no pictures: matplotlib is missing" in capsys.readouterr().err
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".csv", ".md"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--robustness", "--seed", "1", "--out", "{out}"], ["other seed is kept here", "seed 1, not 0", "--out"]),
        (["--robustness", "--batch-size", "3", "--out", "{out}"], ["other batch_size is kept here"]),
        (["--robustness", "--without-gaussian", "evnt"], ["no modality 'evnt'", "rgb, depth"]),
        (["--robustness", "--hold-gb", "-1"], ["--hold-gb"]),
        (["--robustness", "--seed", "-1"], ["--seed"]),
        (["--robustness", "--robustness-parts"], ["--robustness-parts", "emm, rmm, nm"]),
        (["--robustness", "--on-bad", "skip"], ["--on-bad", "the same images"]),
        (["--robustness", "--by", "condition"], ["no tag condition"]),
        (["--seed", "1"], ["--seed", "with --robustness only"]),
        (["--robustness-parts", "nm"], ["--robustness-parts", "with --robustness only"]),
        (["--without-gaussian", "rgb"], ["--without-gaussian", "with --robustness only"]),
        (["--robustness", "papr"], ["papr", "paper"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") and len(value) < 5 else None,
)
def test_it_refuses(home, words, told, capsys):
    full = ["evaluate", str(home.run), "--workers", "0", *(word.format(out=home.out) for word in words)]
    assert main(full) == 2
    said = capsys.readouterr().err
    for word in told:
        assert word in said
    assert "Traceback" not in said
