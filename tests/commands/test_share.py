import contextlib
import io
import json
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import constants
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel

from memorysam.cli import main
from memorysam.models import sam2_sizes, weights
from memorysam.tensors import read_header

from ..models.hub_server import TOKEN, live_at, serve
from ..tiny import write_dataset

MODEL = {"backbone": "micro", "image_size": [64, 96], "lora_rank": 2}
SETTINGS = {
    "data": {"dataset": "data/dataset.yaml", "workers": 0},
    "train": {"epochs": 2, "batch_size": 2, "lr": 2e-3, "warmup_epochs": 0},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A run from the weights of a file, as a user makes it."""
    folder = tmp_path_factory.mktemp("alice")
    write_dataset(folder / "data", train=4, val=2)
    torch.manual_seed(0)
    model = Sam2VideoModel(sam2_sizes.configuration(sam2_sizes.BACKBONES["micro"], 3, 0.1))
    torch.save(model.state_dict(), folder / "start.pt")
    settings = {**SETTINGS, "model": {**MODEL, "weights": str(folder / "start.pt")}}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings))
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["train", str(folder / "tiny.yaml"), "--out", str(folder / "run")]) == 0
    return SimpleNamespace(run=folder / "run", data=folder / "data", start=folder / "start.pt")


@pytest.fixture
def say(capsys):
    """Run a command that must succeed and return what it prints to standard output."""

    def call(*words):
        capsys.readouterr()
        assert main([str(word) for word in words]) == 0
        return capsys.readouterr().out

    return call


@pytest.fixture
def fail(capsys):
    """Run a command that must fail in our words and return them."""

    def call(*words):
        capsys.readouterr()
        assert main([str(word) for word in words]) == 2
        return capsys.readouterr().err

    return call


def test_every_command_takes_what_was_shared(home, say, tmp_path):
    said = json.loads(say("share", home.run, "--out", tmp_path / "shared", "--json"))
    assert said["files"] == {path.name: path.stat().st_size for path in (tmp_path / "shared").iterdir()}
    words = ("--dataset", home.data / "dataset.yaml", "--workers", 0, "--json")
    scores = [json.loads(say("evaluate", model, *words))["classes"] for model in (home.run, tmp_path / "shared")]
    assert scores[0] == scores[1]
    assert "ground, wall, box" in say("info", tmp_path / "shared")
    say("predict", tmp_path / "shared", "--rgb", home.data / "rgb" / "v00.png", "--out", tmp_path / "seen")
    assert (tmp_path / "seen" / "v00_labels.png").is_file()


def test_the_card_has_the_score_of_the_run_and_no_word_of_its_place(home, say, tmp_path):
    out = say("share", home.run, "--out", tmp_path / "shared", "--license", "mit")
    assert f"{(tmp_path / 'shared' / 'model.safetensors').stat().st_size:,} bytes" in out
    card = huggingface_hub.ModelCard.load(tmp_path / "shared" / "README.md")
    score = weights.read_about(home.run / "best.safetensors")["scores"]["miou"]
    assert card.data.eval_results[0].metric_value == pytest.approx(score, abs=0.005)
    assert (card.data.eval_results[0].dataset_name, card.data.license) == ("tiny", "mit")
    assert "| epochs | 2 |" in card.content
    for path in (tmp_path / "shared").iterdir():
        assert b"alice" not in path.read_bytes(), path


def test_the_light_form_is_smaller_and_commands_take_its_base(home, say, fail, tmp_path):
    whole = json.loads(say("share", home.run, "--out", tmp_path / "whole", "--json"))["files"]["model.safetensors"]
    light = json.loads(say("share", home.run, "--out", tmp_path / "light", "--light", "--json"))["files"]
    assert light["model.safetensors"] < whole / 2
    words = ("--dataset", home.data / "dataset.yaml", "--workers", 0, "--json")
    scores = [json.loads(say("evaluate", tmp_path / form, *words, *more))["miou"] for form, more in (
        ("whole", ()), ("light", ("--base", home.start))
    )]  # fmt: skip
    assert scores[0] == scores[1]
    rgb = ("--rgb", home.data / "rgb" / "v00.png", "--out", tmp_path)
    assert "needs the weights that its training started from, start.pt" in fail("predict", tmp_path / "light", *rgb)
    say("predict", tmp_path / "light", *rgb, "--base", home.start)
    say("info", tmp_path / "light", "--base", home.start)
    say("share", tmp_path / "light", "--base", home.start, "--out", tmp_path / "again")
    again = read_header(tmp_path / "again" / "model.safetensors")
    assert again["scores"] == read_header(tmp_path / "light" / "model.safetensors")["scores"]


def test_the_command_writes_to_the_hub_and_reads_from_it(home, say, fail, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serve() as (server, address):
        live_at(monkeypatch, address, tmp_path)
        out = say("share", home.run, "--to", "ann/tiny", "--private", "--message", "one", "--revision", "v1")
        assert 'memorysam.load("ann/tiny@v1")' in out
        assert (server.private, server.messages) == ({"ann/tiny": True}, ["one"])
        assert "ground, wall, box" in say("info", "ann/tiny@v1")
        assert "--update" in fail("share", home.run, "--to", "ann/tiny")
        say("share", home.run, "--to", "ann/tiny", "--update")
        assert "model.safetensors" in server.commits[server.at("ann/tiny", "main")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "either --to"),
        (("--out", "x", "--to", "a/b"), "either --to"),
        (("--out", "x", "--private"), "--private means nothing without --to"),
        (("--to", "a/b", "--overwrite"), "--overwrite means nothing without --out"),
        (("--to", "nobody"), "no name on the Hub"),
        (("--to", "a/b"), "no access token"),
    ],
)
def test_options_that_do_not_go_together_are_told(fail, words, said, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    assert said in fail("share", tmp_path / "run", *words)
