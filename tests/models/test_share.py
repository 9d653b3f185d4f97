import json
import os
import re
import subprocess
import sys

import pytest
import torch

from memorysam.config import ModelSettings, RunSettings
from memorysam.errors import InputError, MemorySAMError
from memorysam.models import share, weights
from memorysam.models.lora import merge_lora, unmerge_lora
from memorysam.tensors import read_tensors

from .conftest import make_images
from .sharing import TASK, contents, load, logits, sam2_weights


def test_a_folder_holds_the_same_model(shared_model, tmp_path):
    sizes = shared_model.save_pretrained(tmp_path / "shared")
    assert sizes == {path.name: path.stat().st_size for path in (tmp_path / "shared").iterdir()}
    assert sizes.keys() == {"model.safetensors", "README.md", "config.json"}
    again = load(tmp_path / "shared")
    assert torch.equal(logits(again), logits(shared_model))
    assert again.task == shared_model.task
    assert torch.equal(again.prototypes.prototypes, shared_model.prototypes.prototypes)
    said = json.loads((tmp_path / "shared" / "config.json").read_text())
    assert said["library_name"] == "memorysam"
    assert said["classes"]["names"] == list(TASK.classes.names)


@pytest.mark.slow
def test_a_fresh_process_computes_the_same_from_the_whole_and_from_the_light_form(shared_model, base_files, tmp_path):
    shared_model.save_pretrained(tmp_path / "whole")
    shared_model.save_pretrained(tmp_path / "light", light=True)
    torch.manual_seed(3)
    images = make_images(TASK)
    torch.save({"images": images, "logits": logits(shared_model)}, tmp_path / "expected")
    code = (
        "import sys, torch, memorysam\n"
        "wanted = torch.load('expected')\n"
        "for path, base in (('whole', None), ('light', sys.argv[1])):\n"
        "    model = memorysam.load(path, device='cpu', base=base)\n"
        "    with torch.no_grad():\n"
        "        assert torch.equal(model(wanted['images']).logits, wanted['logits']), path\n"
        "print('equal')"
    )
    call = [sys.executable, "-c", code, str(base_files / "hub-format")]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    said = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert said.stdout.splitlines()[-1:] == ["equal"], said.stderr


def test_nothing_of_the_user_or_of_the_training_state_is_shared(shared_model, base_files, trained_run, tmp_path):
    shared_model.save_pretrained(tmp_path / "whole")
    shared_model.save_pretrained(tmp_path / "light", light=True)
    for folder in (tmp_path / "whole", tmp_path / "light"):
        everything = contents(folder)
        assert b"potholes" in everything
        for secret in map(str.encode, ("alice", "secret-lab", str(tmp_path), str(base_files), str(trained_run))):
            assert secret not in everything, (folder, secret)
        tensors, head = read_tensors(folder / "model.safetensors")
        words = json.dumps(head) + (folder / "README.md").read_text() + (folder / "config.json").read_text()
        assert not re.search(r'["` ](/|~|[A-Z]:[/\\])\w', words), "an absolute path"
        assert not [name for name in tensors if name.startswith("training/")]
        assert head.keys() - {"base"} == {"format", "task", "model", "settings", "scores", "samples", "step"}
        settings = head["settings"]
        assert (settings["data"]["dataset"], settings["data"]["root"]) == ("potholes", None)
        assert settings["model"]["weights"] == "start.pt"
        RunSettings.model_validate(settings)


def test_a_data_set_is_called_what_its_file_says(tmp_path):
    file = tmp_path / "alice" / "dataset.yaml"
    file.parent.mkdir()
    file.write_text("name: roads\n")
    gone = tmp_path / "gone"
    files = (file, file.parent, gone / "dataset.yaml", gone / "lanes.yaml", "deliver", "scenes")
    shown = [share.shareable({"settings": {"data": {"dataset": str(name)}}}) for name in files]
    names = [about["settings"]["data"]["dataset"] for about in shown]
    assert names == ["roads", "roads", "unnamed", "lanes", "deliver", "scenes"]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("facebook/sam2.1-hiera-tiny", "facebook/sam2.1-hiera-tiny"),
        ("alice/sam2.1_hiera_tiny.pt", "sam2.1_hiera_tiny.pt"),
        ("/home/alice/models/sam2.1-hiera-tiny/", "sam2.1-hiera-tiny"),
        (r"C:\Users\alice\start.pt", "start.pt"),
        ("runs/alice", "a folder that is not public"),
        ("/home/alice", "a folder that is not public"),
    ],
)
def test_weights_are_named_without_their_place(source, name):
    assert share.public_name(source) == name


def test_folders_in_the_format_of_transformers_are_still_those(base_files, tmp_path):
    sam2_weights(0).save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    assert weights.locate(tmp_path) == tmp_path
    again, _ = weights.load(tmp_path, TASK, ModelSettings(lora_rank=0))
    assert again.sam2.name == "micro"


def test_a_folder_in_use_is_left_alone(shared_model, trained_run, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    for folder in (tmp_path, trained_run):
        for overwrite in (False, True):
            with pytest.raises(MemorySAMError, match="something here already"):
                shared_model.save_pretrained(folder, overwrite=overwrite)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_model_that_was_shared_before_is_replaced_on_request(shared_model, scratch_model, tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    scratch_model.save_pretrained(folder)
    with pytest.raises(MemorySAMError, match="overwrite=True"):
        shared_model.save_pretrained(folder)
    shared_model.save_pretrained(folder, overwrite=True)
    assert torch.equal(logits(load(folder)), logits(shared_model))


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
def test_an_interrupted_write_leaves_nothing_half(shared_model, scratch_model, tmp_path, monkeypatch, stop):
    scratch_model.save_pretrained(tmp_path / "old")
    before = contents(tmp_path / "old")

    def interrupted(*_):
        raise stop

    monkeypatch.setattr(share, "write_text", interrupted)
    there = set(tmp_path.iterdir())
    for name, overwrite in (("new", False), ("old", True)):
        with pytest.raises(stop):
            shared_model.save_pretrained(tmp_path / name, overwrite=overwrite)
    assert set(tmp_path.iterdir()) == there
    assert contents(tmp_path / "old") == before


def test_merged_weights_are_not_shared(shared_model, tmp_path):
    merge_lora(shared_model.model)
    for light in (False, True):
        with pytest.raises(InputError, match="merged"):
            shared_model.save_pretrained(tmp_path / "shared", light=light)
    assert not (tmp_path / "shared").exists()
    unmerge_lora(shared_model.model)
    assert shared_model.save_pretrained(tmp_path / "shared", light=True)
