import json

import pytest

from memorysam.benchmark import memory_table
from memorysam.benchmark.counted import training_step
from memorysam.cli import main

WORDS = ["benchmark", "--memory-table", "--classes", "3", "--precision", "bf16"]


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(memory_table, "BACKBONES", ("micro",))
    monkeypatch.setattr(memory_table, "SIZES", (64,))
    monkeypatch.setattr(memory_table, "MODALITIES", (1, 2))


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_every_case_is_counted_in_order(plan, parts, processes):
    told = []
    own = plan(precisions=("bf16",))
    found = memory_table.memory_table(own, {}, processes, lambda *step: told.append(step))
    assert told == [(1, 2), (2, 2)]
    cases = [(row["modalities"], row["checkpointing"]) for row in found["rows"]]
    assert cases == [(1, False), (1, True), (2, False), (2, True)]
    first = found["rows"][0]
    assert (first["backbone"], first["size"], first["precision"]) == ("micro", 64, "bf16")
    sizes = first["counted_bytes"]
    assert list(sizes) == ["1", "2", "4"]
    assert sizes["4"] - sizes["2"] == 2 * (sizes["2"] - sizes["1"]) > 0
    model, _, _ = parts(modalities=1)
    assert sizes["2"] == pytest.approx(training_step(model, 2, "bf16").total, rel=1e-3)
    assert found["rows"][2]["counted_bytes"]["1"] > sizes["1"], "a further sensor needs more"
    assert found["rows"][1]["counted_bytes"]["4"] < sizes["4"], "checkpointing needs less"


@pytest.mark.usefixtures("few")
def test_the_table_says_what_it_is(capsys, monkeypatch):
    monkeypatch.setattr(memory_table, "MODALITIES", (1,))
    assert main([*WORDS, "--threads", "1"]) == 0
    out = capsys.readouterr().out
    for words in ("micro", "bf16, checkpointing", "Counted, not measured", "1, 2, 4 samples", "3 classes"):
        assert words in out
    assert "fp32" not in out
    assert main([*WORDS, "--threads", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counted_only"]
