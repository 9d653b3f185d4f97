"""CMNeXt and CMX compute what the original code computes, MiT what `transformers` computes, from files as published."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import SegformerConfig, SegformerForImageClassification, SegformerForSemanticSegmentation

from memorysam.config import ModelSettings
from memorysam.errors import WeightsError
from memorysam.models import hub, weights
from memorysam.models.base import count
from memorysam.models.factory import create
from memorysam.models.formats import translate

from .conftest import make_task
from .test_parity import close, reference, task_of

NAMES = ("rgb", "depth", "event", "lidar")
PARAMETERS = {"cmnext_b2_m1": 25.79, "cmnext_b2_m2": 58.69, "cmnext_b2_m4": 58.73, "cmx_b2_m2": 66.57}
"""In millions, as published; CMX's from running its code."""


@pytest.mark.parametrize("case", ["cmnext_b0_m4", *PARAMETERS])
def test_released_models(shared, fill, tmp_path, case):
    theirs, metadata = reference(shared, case)
    m, size, salt = (int(metadata[key]) for key in ("modalities", "image_size", "salt"))
    path = tmp_path / f"{case}.pth"
    torch.save(fill.state_dict(metadata["keys"], salt), path)
    model, report = weights.load(path, task_of(NAMES[:m], 25, size))
    assert report.new == report.unused == ()
    system, backbone, _ = case.split("_")
    assert model.settings()["name"] == system
    assert model.settings()["backbone"] == f"mit-{backbone}"
    parameters = count(list(model.parameters()))
    assert parameters == int(metadata["parameters"])
    assert case not in PARAMETERS or round(parameters / 1e6, 2) == PARAMETERS[case]
    model.eval()
    images = {name: 10 * fill.tensor(f"input.{i}", [1, 3, size, size], salt) for i, name in enumerate(NAMES[:m])}
    with torch.no_grad():
        levels = model.levels(images)
        output = model(images)
    for i, level in enumerate(levels):
        close(level, theirs[f"stage{i + 1}"])
    close(output.at((size, size))[..., ::4, ::4], theirs["logits_every_4th_pixel"])


def test_released_models_are_checked_to_the_last_tensor(fill, tmp_path):
    state = fill.state_dict("cmnext_b0_m4")
    path = tmp_path / "model.pth"
    for name, words in [
        ("backbone.extra_block2.1.layer_scale_1", "1 missing: parallel.1.blocks.1.gate_scale"),
        ("backbone.extra_score_predictor.3.score_nets.2.1.bias", "1 missing: parallel.3.scores.lidar.1.bias"),
        ("backbone.FFMs.0.cross.cross_attn.kv2.weight", "1 missing: fuse.0.key_value.1.weight"),
    ]:
        torch.save({key: tensor for key, tensor in state.items() if key != name}, path)
        with pytest.raises(WeightsError, match=words):
            weights.load(path, task_of(NAMES, 25))
    torch.save({**state, "backbone.surprise": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"1 unexpected: encoder\.surprise"):
        weights.load(path, task_of(NAMES, 25))


def test_a_released_model_of_other_sensors_is_refused(fill, tmp_path):
    path = tmp_path / "model.pth"
    torch.save(fill.state_dict("cmnext_b0_m4"), path)
    with pytest.raises(WeightsError, match=r"unexpected: parallel\.0\.norms\.1"):
        weights.load(path, task_of(NAMES[:2], 25))
    with pytest.raises(WeightsError, match="another system: cmnext"):
        weights.load(path, task_of(NAMES, 25), ModelSettings(name="mean-fusion"))


@pytest.fixture(scope="module")
def hub_model():
    """MiT-B0 below a SegFormer, with random weights, as `transformers` has it."""
    torch.manual_seed(0)
    model = SegformerForSemanticSegmentation(SegformerConfig(num_labels=7)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1) / 2, std=0.1)
    return model


MEAN = ModelSettings(name="mean-fusion")


@pytest.mark.parametrize("older_names", [True, False])
def test_encoder_from_a_transformers_folder_computes_what_transformers_computes(hub_model, tmp_path, older_names):
    hub_model.save_pretrained(tmp_path, save_original_format=older_names)
    names = load_file(tmp_path / "model.safetensors").keys()
    assert ("segformer.encoder.block.0.0.layer_norm_1.weight" in names) == older_names
    model, report = weights.load(tmp_path, make_task(1, 7), MEAN)
    assert model.encoder.name == "mit-b0"
    assert len(report.unused) == sum(name.startswith("decode_head.") for name in names) > 0
    assert all(name.startswith("head.") for name in report.new)
    pixels = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        theirs = hub_model.segformer(pixels, output_hidden_states=True).hidden_states
        ours = model.eval().levels({"m0": pixels})
    for mine, other in zip(ours, theirs, strict=True):
        close(mine, other, 1e-5)


def test_head_computes_what_transformers_computes(hub_model):
    model = create(MEAN.model_copy(update={"backbone": "mit-b0"}), make_task(1, 7)).eval()
    theirs = hub_model.decode_head.state_dict()
    renamed = {
        re.sub(r"^linear_projections\.(\d)\.proj", r"project.\1", name)
        .replace("linear_fuse", "fuse")
        .replace("batch_norm", "norm")
        .replace("classifier", "classify"): tensor
        for name, tensor in theirs.items()
    }
    renamed = {name: t[:, :, None, None] if t.ndim == 2 else t for name, t in renamed.items()}
    model.head.load_state_dict(renamed)
    levels = [torch.randn(2, width, 16 >> i, 24 >> i) for i, width in enumerate(model.encoder.sizes.widths)]
    with torch.no_grad():
        close(model.head(levels), hub_model.decode_head(levels), 1e-4)


@pytest.mark.parametrize("system", ["cmnext", "cmx", "magic", "mean-fusion"])
def test_encoder_from_the_authors_file(fill, tmp_path, system):
    """The layout of ImageNet's files is that of the encoder in released models, whose numbers are known."""
    release = fill.state_dict("cmnext_b2_m1")
    inner = {name.removeprefix("backbone."): t for name, t in release.items() if name.startswith("backbone.")}
    path = tmp_path / "mit_b2.pth"
    torch.save({**inner, "head.weight": torch.zeros(1000, 512), "head.bias": torch.zeros(1000)}, path)
    model, report = weights.load(path, make_task(2, 7), ModelSettings(name=system))
    assert report.unused == ("head.weight", "head.bias")
    assert not any(name.startswith("encoder") for name in report.new)
    expected = {
        name.removeprefix("encoder."): t
        for name, t in translate(release).tensors.items()
        if name.startswith("encoder.")
    }
    encoders = model.encoders.values() if system == "cmx" else [model.encoder]
    assert len(encoders) == (2 if system == "cmx" else 1)
    for encoder in encoders:
        assert encoder.name == "mit-b2"
        state = encoder.state_dict()
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())


def test_the_authors_names_are_those_of_transformers_in_another_layout(shared, fill, hub_model):
    """Our names are `transformers`' own: what its model takes without complaint."""
    shapes = json.loads((shared / "reference" / "keys.json").read_text())["cmnext_b0_m4"]
    plain = re.compile(r"^backbone\.(patch_embed|block|norm)\d\.")
    inner = {n.removeprefix("backbone."): fill.tensor(n, s) for n, s in shapes.items() if plain.match(n)}
    translated = translate(inner)
    assert (translated.family, translated.backbone, translated.system) == ("mit", "mit-b0", None)
    own = {name: tensor.clone() for name, tensor in hub_model.segformer.state_dict().items()}
    hub_model.segformer.load_state_dict(translated.tensors, strict=True)
    hub_model.segformer.load_state_dict(own)


def test_a_folder_with_nothing_but_pytorch_model_bin(tmp_path):
    """What nvidia/mit-b2 is: a classifier, saved before there were .safetensors."""
    SegformerForImageClassification(SegformerConfig()).save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"neither a \.safetensors file nor pytorch_model\.bin"):
        weights.load(tmp_path, make_task(2), MEAN)
    torch.save(state, tmp_path / "pytorch_model.bin")
    model, report = weights.load(tmp_path, make_task(2), MEAN)
    assert report.unused == ("classifier.bias", "classifier.weight")
    query = state["segformer.encoder.block.2.1.attention.self.query.weight"]
    assert torch.equal(model.encoder.stages[2].blocks[1].attention.q_proj.weight, query)


@pytest.mark.parametrize("files", [("config.json", "model.safetensors"), ("config.json", "pytorch_model.bin")])
def test_the_hub_is_asked_for_the_older_file_only_where_there_is_no_newer_one(tmp_path, monkeypatch, files):
    asked = []

    def snapshot_download(name, allow_patterns, revision=None):
        asked.append((name, allow_patterns))
        for file in files:
            if file in allow_patterns or (file.endswith(".safetensors") and "*.safetensors" in allow_patterns):
                (tmp_path / file).touch()
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert hub.fetch("nvidia/mit-b2") == tmp_path
    assert {path.name for path in tmp_path.iterdir()} == set(files)
    assert len(asked) == (1 if "model.safetensors" in files else 2)


def test_files_of_no_known_size_are_refused(tmp_path):
    shapes = {"stages.0.patch_embeddings.proj.weight": torch.zeros(48, 3, 7, 7)}
    save_file(shapes, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="not of a known kind"):
        weights.load(tmp_path / "model.safetensors", make_task(1), MEAN)
