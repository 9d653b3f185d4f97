import json

import pytest
import torch

from memorysam.benchmark import report, scaling, suite
from memorysam.cli import main
from memorysam.models import weights

SMALL = ["benchmark", "--backbone", "micro", "--size", "64", "--classes", "3", "--repeats", "1"]
RATIOS = {"inference_fp32", "inference_bf16", "train_fp32", "train_bf16"}


@pytest.fixture
def say(capsys):
    def call(*words):
        assert main([*SMALL, *map(str, words)]) == 0
        return capsys.readouterr().out

    return call


@pytest.fixture
def refused(capsys):
    def call(*words):
        assert main([*SMALL, *map(str, words)]) == 2
        return capsys.readouterr().err

    return call


def test_json_has_what_is_promised(say, tmp_path):
    found = json.loads(say("--json", "--out", tmp_path / "result.json"))
    assert found == json.loads((tmp_path / "result.json").read_text())
    assert found["machine"]["cpu"]
    assert found["limits"].keys() == {"fp32", "bf16", "copy_bytes_per_s"}
    assert found["ratios"].keys() == RATIOS
    assert all(value > 0 for value in found["ratios"].values())
    assert found["agreement"]["fp32_largest_difference"] < 1e-4
    assert 0 <= found["agreement"]["bf16_same_class"] <= 1
    shares = found["share_of_limit"]
    assert {"encoder_fp32", "encoder_bf16"} <= shares.keys()
    assert all(value > 0 for value in shares.values())
    variants = {"baseline", "fp32", "fp32 checkpointing", "bf16", "bf16 checkpointing"}
    assert found["parts"]["train"].keys() == variants == found["memory"]["peak_bytes"].keys()
    assert all(value > 0 for value in found["memory"]["peak_bytes"].values())
    assert found["memory"]["peak_to_baseline"]["fp32 checkpointing"] < 1
    assert found["memory"]["checkpointing_time"].keys() == {"fp32", "bf16"}
    assert found["parts"]["inference"].keys() == {"baseline", "fp32", "bf16"}
    assert found["parts"]["inference"]["fp32"]["encoder"]["median"] > 0
    assert found["plan"]["modalities"] == 2
    assert found["flops"]["train"] > found["flops"]["inference"] > 0


def test_tables_without_training_and_with_one_precision(say):
    out = say("--no-train", "--precision", "fp32", "--set", "lora_rank=2")
    assert "memorysam-micro, 64x64" in out
    for words in ("forward pass", "memory attention", "matrix product, fp32", "times the limit", "logits within"):
        assert words in out
    assert "training step" not in out
    assert "bf16" not in out


def test_what_was_left_out_has_no_ratio(say):
    found = json.loads(say("--no-train", "--precision", "fp32", "--json"))
    assert found["ratios"].keys() == RATIOS
    assert {name for name, value in found["ratios"].items() if value is not None} == {"inference_fp32"}
    assert found["memory"] is None


def test_time_and_memory_against_the_number_of_modalities(say, monkeypatch):
    monkeypatch.setattr(scaling, "COUNTS", (1, 3))
    found = json.loads(say("--scaling", "--precision", "fp32", "--json"))
    first, last = found["scaling"]
    assert (first["modalities"], last["modalities"]) == (1, 3)
    assert last["flops"] > 3 * first["flops"]
    assert all(last["fp32"][kind]["median"] > 0 for kind in ("inference", "train"))
    assert "s per modality" in say("--scaling", "--precision", "fp32", "--no-train")


@pytest.mark.usefixtures("already_counted")
def test_settings_that_fit_a_gpu(say):
    out = say("--fit", "24GB")
    assert "Counted, not measured: there is no GPU here." in out
    assert "train:\n  batch_size: 4\n  accumulate: 1\n  precision: bf16\n  checkpointing: false" in out
    assert json.loads(say("--fit", "24GB", "--json"))["proposal"]["batch_size"] == 4


def test_weights_can_be_given(say, parts, tmp_path):
    model, _, _ = parts(modalities=2, classes=3)
    weights.save(tmp_path / "mine.safetensors", model)
    words = ["--weights", tmp_path / "mine.safetensors", "--no-train", "--precision", "fp32"]
    assert json.loads(say(*words, "--json"))["plan"]["weights"] == str(words[1])
    assert main([*SMALL, *map(str, words), "--backbone", "sam2-tiny"]) == 2


def test_threads_hold_for_the_measurement_only(say, monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(suite, "measure", lambda plan: {"threads": torch.get_num_threads()})
    monkeypatch.setattr(report, "text", str)
    assert json.loads(say("--threads", before + 1, "--json")) == {"threads": before + 1}
    assert torch.get_num_threads() == before


@pytest.mark.usefixtures("already_counted")
@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--backbone", "sam2-huge"], "sam2-huge"),
        (["--size", "50"], "--size"),
        (["--modalities", "0"], "--modalities"),
        (["--modalities", "17"], "at most 16"),
        (["--classes", "1"], "--classes"),
        (["--batch", "0"], "--batch"),
        (["--repeats", "0"], "--repeats"),
        (["--threads", "0"], "--threads"),
        (["--set", "lora_rank"], "--set"),
        (["--set", "lora_rank=-1"], "lora_rank"),
        (["--set", "name=cmx"], "--set"),
        (["--set", "object_gate=true"], "object_gate"),
        (["--set", "fusion=quality"], "model.fusion"),
        (["--set", "filters=5"], "filters"),
        (["--fit", "much"], "--fit"),
        (["--fit", "1GB"], "counted"),
        (["--fit", "8GB", "--scaling"], "--fit"),
        (["--start-up", "--data"], "one thing at a time"),
        (["--memory-table", "--fit", "8GB"], "--memory-table"),
        (["--weights", "nowhere.pt"], "nowhere.pt"),
    ],
    ids=" ".join,
)
def test_a_wrong_value_is_named(words, named, refused):
    assert named in refused(*words)
