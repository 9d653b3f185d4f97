import ast
import os
import re

import cv2
import huggingface_hub
import numpy as np
import pytest
import torch

from memorysam.models.known_bases import known_base
from memorysam.models.origin import Origin
from memorysam.tensors import read_header

from .sharing import HOME, TASK, about, load, logits


def card_of(model, folder, **options):
    model.save_pretrained(folder, **options)
    return huggingface_hub.ModelCard.load(folder / "README.md")


def test_the_card_says_what_the_run_says(shared_model, tmp_path):
    card = card_of(shared_model, tmp_path / "shared")
    data = card.data
    assert (data.library_name, data.pipeline_tag, data.license) == ("memorysam", "image-segmentation", "unknown")
    result = data.eval_results[0]
    assert (result.metric_type, result.metric_value, result.dataset_split) == ("mean_iou", 61.23, "val")
    assert (result.dataset_name, result.dataset_type) == ("potholes", "potholes")
    for line in (
        "| 0 | road\\|lane | #804080 | 61.25 | 50.00 | 40.00 |",
        "| 2 | sky | #010203 | - | 50.00 | 40.00 |",
        "|  | mean |  | 61.23 | 70.00 | 71.00 |",
        "| depth | sensor | 1 | 0 to 65535 | the lower end | 0 | 1 | none | repeat |",
        "Network size (height x width): 64x96.",
        "| seed | 3407 |",
        "| epochs | 200 |",
        "| lr | 0.0006 |",
        "| batch_size | 4 |",
        f"| all | {sum(p.numel() for p in shared_model.model.parameters()):,} |",
    ):
        assert line in card.content.splitlines(), line
    for words in ("split `val` of potholes, 4 images", "Protocol strict: scored at the label's own size", "start.pt"):
        assert words in card.content
    assert "fewer sensors than all (it was not trained for that)" in card.content


@pytest.mark.parametrize("form", ["whole", "light"])
def test_the_code_on_the_card_runs(shared_model, base_files, tmp_path, monkeypatch, capsys, form):
    card = card_of(shared_model, tmp_path / "shared", light=form == "light")
    monkeypatch.chdir(tmp_path / "shared")
    os.link(base_files / "start.pt", "start.pt")
    cv2.imwrite("rgb.png", np.full((50, 70, 3), 90, np.uint8))
    cv2.imwrite("depth.png", np.full((50, 70), 900, np.uint16))
    code = re.search(r"```python\n(.*?)```", card.content, re.DOTALL)[1]
    exec(compile(code, "README.md", "exec"), {})
    shares = ast.literal_eval(capsys.readouterr().out.splitlines()[-1])
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "on_hub", "license"),
    [
        ("sam2.1_hiera_base_plus.pt", "facebook/sam2.1-hiera-base-plus", "apache-2.0"),
        ("facebook/sam2-hiera-large", "facebook/sam2-hiera-large", "apache-2.0"),
        ("sam_vit_b_01ec64.pth", "facebook/sam-vit-base", "apache-2.0"),
        ("mit_b2.pth", "nvidia/mit-b2", "other"),
        ("resnet101-63fe2227.pth", None, "unknown"),
    ],
)
def test_the_card_names_base_and_licence_of_known_weights(shared_model, tmp_path, name, on_hub, license):
    known = known_base(name)
    assert (known.hub, known.license) == (on_hub, license)
    shared_model.model.origin = Origin.of(
        shared_model.model, about(f"{HOME}/{name}" if "/" not in name else name), TASK
    )
    card = card_of(shared_model, tmp_path / "shared")
    assert (card.data.base_model, card.data.license) == (on_hub, license)
    assert (card.data.license_link is not None) == (license == "other")
    assert f"started from, {name}, which by their name are {known.title}" in card.content


def test_the_licence_may_be_said(shared_model, tmp_path):
    card = card_of(shared_model, tmp_path / "shared", license="cc-by-4.0")
    assert card.data.license == "cc-by-4.0"
    assert "This model: cc-by-4.0." in card.content


def test_a_model_without_a_run_claims_nothing(micro, tmp_path):
    card = card_of(micro(2), tmp_path / "shared")
    assert card.data.eval_results is None
    for words in ("carries no scores", "How it was trained is not recorded", "everything: how well it does", "unknown"):
        assert words in card.content


def test_a_model_that_changed_since_it_was_loaded_claims_no_scores(shared_model, trained_run, base_files, tmp_path):
    with torch.no_grad():
        next(p for p in shared_model.model.parameters() if p.requires_grad)[0] += 1e-6
    card = card_of(shared_model, tmp_path / "changed", light=True)
    assert "61.23" not in card.content
    assert card.data.eval_results is None
    assert "scores" not in read_header(tmp_path / "changed" / "model.safetensors")
    assert torch.equal(logits(load(tmp_path / "changed", base=base_files / "start.pt")), logits(shared_model))
    card = card_of(load(trained_run, modalities=["depth"]), tmp_path / "alone")
    assert "61.23" not in card.content
