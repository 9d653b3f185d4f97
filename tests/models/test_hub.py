import pytest
import torch
from huggingface_hub import constants

from memorysam.errors import WeightsError
from memorysam.models import hub, share

from .hub_server import TOKEN
from .sharing import load, logits


def test_from_the_hub_comes_what_was_put_there(shared_model, online):
    address = shared_model.push_to_hub("ann/potholes", token=TOKEN, private=True, commit_message="the first")
    assert address.startswith(constants.ENDPOINT + "/ann/potholes/commit/")
    assert online.private == {"ann/potholes": True}
    assert online.messages == ["the first"]
    files = online.commits[online.at("ann/potholes", "main")]
    assert files.keys() == {".gitattributes", "README.md", "config.json", "model.safetensors"}
    assert b'memorysam.load("ann/potholes")' in files["README.md"]
    assert b"alice" not in b"".join(files.values())
    assert torch.equal(logits(load("ann/potholes")), logits(shared_model))


def test_what_was_fetched_once_is_there_without_a_network(shared_model, online, monkeypatch):
    shared_model.push_to_hub("ann/potholes", token=TOKEN)
    load("ann/potholes")
    online.seen.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert torch.equal(logits(load("ann/potholes")), logits(shared_model))
    assert online.seen == []
    with pytest.raises(WeightsError, match="not downloaded before"):
        load("ann/another")


def test_a_file_that_changed_on_the_way_is_refused(shared_model, online):
    shared_model.push_to_hub("ann/potholes", token=TOKEN)
    files = online.commits[online.at("ann/potholes", "main")]
    content = bytearray(files["model.safetensors"])
    content[-1] ^= 1
    files["model.safetensors"] = bytes(content)
    with pytest.raises(WeightsError, match="digest does not match"):
        load("ann/potholes")


def test_revisions_are_told_apart(shared_model, scratch_model, online):
    shared_model.push_to_hub("ann/potholes", token=TOKEN)
    first = online.at("ann/potholes", "main")
    scratch_model.push_to_hub("ann/potholes", token=TOKEN, revision="v2", exist_ok=True)
    for revision, wanted in (
        ("", shared_model),
        ("@v2", scratch_model),
        (f"@{first}", shared_model),
        ("@main", shared_model),
    ):
        assert torch.equal(logits(load(f"ann/potholes{revision}")), logits(wanted)), revision
    with pytest.raises(WeightsError, match="no such revision"):
        load("ann/potholes@v3")


def test_light_fetches_its_base_from_the_hub(shared_model, online, base_files):
    folder = base_files / "hub-format"
    online.private["ann/base"] = False
    online.commit("ann/base", "main", {path.name: path.read_bytes() for path in folder.iterdir()})
    shared_model.push_to_hub("ann/light", token=TOKEN, light=True, base="ann/base@main")
    head = online.commits[online.at("ann/light", "main")]["README.md"].decode()
    assert "base_model: ann/base\n" in head
    assert 'memorysam.load("ann/light")' in head
    assert torch.equal(logits(load("ann/light")), logits(shared_model))


def test_what_is_wrong_with_the_way_to_the_hub_is_said(shared_model, online, monkeypatch):
    def refused(words, name="ann/new", **options):
        with pytest.raises(WeightsError) as error:
            shared_model.push_to_hub(name, **options)
        assert words in str(error.value)

    refused("no access token")
    refused("no name on the Hub", name="new", token=TOKEN)
    assert online.seen == [], "nothing is asked before that is clear"
    refused("not valid", token="hf_wrong")
    shared_model.push_to_hub("ann/new", token=TOKEN)
    refused("already", token=TOKEN)
    refused("everybody can see it", token=TOKEN, exist_ok=True, private=True)
    with pytest.raises(WeightsError, match="no such model there"):
        load("ann/absent")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    refused("cannot be reached", token=TOKEN)
    with pytest.raises(WeightsError, match="cannot be reached"):
        load("ann/absent")


@pytest.mark.parametrize(
    ("source", "is_id"),
    [
        ("facebook/sam2.1-hiera-tiny", True),
        ("ann/potholes@v1.0", True),
        ("ann/potholes@refs/pr/1", True),
        ("models/sam2.1_hiera_tiny.pt", False),
        ("./potholes", False),
        ("../potholes", False),
        ("potholes", False),
        ("/a/b", False),
        ("a/b/c", False),
    ],
)
def test_hub_ids_are_told_from_paths(source, is_id):
    assert hub.is_id(source) == is_id


def test_a_folder_of_that_name_is_no_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ann" / "potholes").mkdir(parents=True)
    assert not hub.is_id("ann/potholes")


def test_a_missing_token_is_told_before_the_model_is_written(shared_model, online, monkeypatch):
    def too_late(*_, **__):
        raise AssertionError("the model is written first")

    monkeypatch.setattr(share, "save", too_late)
    with pytest.raises(WeightsError, match="no access token"):
        shared_model.push_to_hub("ann/new")
