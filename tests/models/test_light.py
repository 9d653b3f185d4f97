import os
import re

import pytest
import torch
from safetensors.torch import save_file

from memorysam.config import ModelSettings
from memorysam.errors import WeightsError
from memorysam.models import weights
from memorysam.models.origin import Origin
from memorysam.tensors import read_header, read_tensors

from .sharing import TASK, load, logits, sam2_weights, trained


@pytest.mark.parametrize("form", ["start.pt", "hub-format"])
def test_light_computes_the_same_with_the_base_in_any_format(shared_model, light_folder, base_files, form):
    assert torch.equal(logits(load(light_folder, base=base_files / form)), logits(shared_model))


def test_light_holds_what_is_not_the_bases(shared_model, light_folder, trained_run):
    tensors, head = read_tensors(light_folder / "model.safetensors")
    own = shared_model.model.state_dict()
    assert tensors.keys().isdisjoint(head["base"]["tensors"])
    assert tensors.keys() | head["base"]["tensors"].keys() == own.keys()
    trainable = {name for name, parameter in shared_model.model.named_parameters() if parameter.requires_grad}
    assert trainable <= tensors.keys()
    assert {"prototypes.prototypes"} <= tensors.keys()
    encoder = {name for name in own if name.startswith("sam2.vision_encoder.") and name not in trainable}
    assert len(encoder) > 50
    assert encoder <= head["base"]["tensors"].keys()
    assert head["base"]["id"] == "start.pt"


def test_light_finds_its_base_beside_it_or_in_the_working_folder(
    shared_model, light_folder, base_files, tmp_path, monkeypatch
):
    monkeypatch.chdir(light_folder)
    with pytest.raises(WeightsError) as error:
        load(light_folder)
    for words in ("needs the weights that its training started from, start.pt", "base=", "--base", "micro"):
        assert words in str(error.value)
    monkeypatch.chdir(base_files)
    assert torch.equal(logits(load(light_folder)), logits(shared_model))
    monkeypatch.chdir(light_folder)
    os.link(base_files / "start.pt", light_folder / "start.pt")
    monkeypatch.chdir("/")
    assert torch.equal(logits(load(light_folder)), logits(shared_model))


def test_another_base_is_refused_with_both_checksums(light_folder, base_files):
    wanted = read_header(light_folder / "model.safetensors")["base"]["sha256"]
    with pytest.raises(WeightsError, match="not the base") as error:
        load(light_folder, base=base_files / "other.pt")
    found = re.findall(r"checksum (?:is )?([0-9a-f]{12})\.\.\.", str(error.value))
    assert len(set(found)) == 2
    assert found[1] == wanted[:12]


def test_a_base_with_a_single_bit_changed_is_refused(light_folder, base_files, tmp_path):
    state = sam2_weights(0).state_dict()
    bits = state["vision_encoder.backbone.blocks.0.attn.qkv.weight"].view(torch.int32)
    bits[0, 0] ^= 1
    torch.save(state, tmp_path / "start.pt")
    with pytest.raises(WeightsError, match="not the base"):
        load(light_folder, base=tmp_path / "start.pt")


def test_a_base_of_another_size_is_refused(light_folder, tmp_path):
    torch.save(sam2_weights(0, "sam2.1-tiny").state_dict(), tmp_path / "tiny.pt")
    with pytest.raises(WeightsError, match="not the base") as error:
        load(light_folder, base=tmp_path / "tiny.pt")
    assert "start.pt" in str(error.value)


def test_a_whole_model_needs_no_base(shared_model, base_files, tmp_path):
    shared_model.save_pretrained(tmp_path / "whole")
    with pytest.raises(WeightsError, match="needs no base"):
        load(tmp_path / "whole", base=base_files / "start.pt")


def test_light_without_a_base_is_refused(scratch_model, micro, shared_model, base_files, tmp_path):
    with pytest.raises(WeightsError, match="trained from scratch"):
        scratch_model.save_pretrained(tmp_path / "a", light=True)
    with pytest.raises(WeightsError, match="not recorded"):
        micro(2).save_pretrained(tmp_path / "a", light=True)
    with pytest.raises(WeightsError, match="nothing of this model is equal"):
        micro(2).save_pretrained(tmp_path / "a", light=True, base=base_files / "start.pt")
    shared_model.model.origin = Origin({"settings": {"model": {"weights": "/gone/start.pt"}, "data": {}}}, TASK, 0)
    with pytest.raises(WeightsError, match="not where they were"):
        shared_model.save_pretrained(tmp_path / "a", light=True)
    assert not (tmp_path / "a").exists()


def test_light_may_be_shared_again_whole_and_light(shared_model, light_folder, base_files, tmp_path):
    again = load(light_folder, base=base_files / "start.pt")
    again.save_pretrained(tmp_path / "whole")
    again.save_pretrained(tmp_path / "again", light=True, base=base_files / "hub-format")
    assert torch.equal(logits(load(tmp_path / "whole")), logits(shared_model))
    assert torch.equal(logits(load(tmp_path / "again", base=base_files / "start.pt")), logits(shared_model))
    assert 'memorysam.load(".", base="hub-format")' in (tmp_path / "again" / "README.md").read_text()


def test_training_starts_from_a_light_checkpoint(shared_model, light_folder, base_files, monkeypatch):
    monkeypatch.chdir(base_files)
    again, report = weights.load(light_folder, TASK, ModelSettings(lora_rank=2))
    assert report.new == ()
    before = shared_model.model.state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in again.state_dict().items())


@pytest.mark.slow
def test_metas_file_and_that_of_transformers_are_one_base(fill, tmp_path):
    """With Meta's own names of tensors, at the size of SAM 2.1 tiny."""
    torch.save({"model": fill.state_dict("sam2.1_hiera_t", 0)}, tmp_path / "sam2.1_hiera_tiny.pt")
    found = weights.content(tmp_path / "sam2.1_hiera_tiny.pt")
    prompts = ("no_mask_embed", "not_a_point_embed")
    theirs = {("prompt_encoder." if n.startswith(prompts) else "") + n: t.clone() for n, t in found.tensors.items()}
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    save_file(theirs, folder / "model.safetensors")
    assert weights.content(folder).kind != found.kind
    model, _ = weights.load(tmp_path / "sam2.1_hiera_tiny.pt", TASK, ModelSettings(lora_rank=2))
    model.eval().save_pretrained(tmp_path / "light", light=True, base=tmp_path / "sam2.1_hiera_tiny.pt")
    again = load(tmp_path / "light", base=folder)
    assert torch.equal(logits(again), logits(model))


def test_another_system_has_a_light_form_too(base_files, tmp_path):
    """MLE-SAM, which has no use for SAM2's memory."""
    model, _ = weights.load(base_files / "start.pt", TASK, ModelSettings(name="mle-sam", lora_rank=2))
    trained(model.eval()).save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "light", light=True, base=base_files / "start.pt")
    again = load(tmp_path / "light", base=base_files / "hub-format")
    assert torch.equal(logits(again), logits(load(tmp_path / "whole")))
    assert (tmp_path / "light" / "model.safetensors").stat().st_size < (
        0.6 * (tmp_path / "whole" / "model.safetensors").stat().st_size
    )


def test_a_light_checkpoint_is_no_base_but_its_base_is(shared_model, light_folder, base_files, tmp_path, monkeypatch):
    monkeypatch.chdir(base_files)
    with pytest.raises(WeightsError, match="started from a light checkpoint"):
        shared_model.save_pretrained(tmp_path / "again", light=True, base=light_folder)
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.pt"])
def test_a_light_checkpoint_of_others_points_nowhere_else(light_folder, name):
    about = {**read_header(light_folder / "model.safetensors")["base"], "id": name}
    (light_folder.parent / "secret.pt").touch()
    with pytest.raises(WeightsError, match="this is a light checkpoint"):
        weights.find_base(about, light_folder / "model.safetensors")
