import csv
import json

import pytest
from PIL import Image

from memorysam.cli import main
from memorysam.evaluation.robustness import subsets
from memorysam.experiments import runner
from memorysam.experiments.compare import LABELS, SCORES, SENSORS, Budget, compare, known, settings_of
from memorysam.models.systems import SYSTEMS
from memorysam.models.weights import read_about

SMALL = Budget(size=32, scenes=16, epochs=1, lrs=(1e-3, 1e-9), val_scenes=5, test_scenes=5)
CHOSEN = ["mean-fusion", "cmx"]
WORDS = ["compare", "--systems", *CHOSEN, "--size", "32", "--scenes", "16", "--epochs", "1",
         "--val-scenes", "5", "--test-scenes", "5",
         "--lrs", "1e-3", "1e-9"]  # fmt: skip


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    out = tmp_path_factory.mktemp("compare")
    return out, compare(CHOSEN, (1, 2), out, SMALL)


def test_every_system_has_a_name_and_the_same_budget():
    assert set(LABELS) == set(SYSTEMS)
    budgets = {settings_of(name, 1, 1e-3, Budget()).train.model_dump_json() for name in SYSTEMS}
    assert len(budgets) == 1
    assert known(None) == list(SYSTEMS)


@pytest.mark.slow
def test_each_system_is_scored_with_every_subset_of_its_sensors(compared):
    out, (mean_fusion, cmx) = compared
    for result, sensors in ((mean_fusion, SENSORS), (cmx, SENSORS[:2])):
        assert sorted(result.runs) == [1, 2]
        for seed, run in result.runs.items():
            assert set(run["miou"]) == {"+".join(subset) for subset in subsets(sensors)}
            assert all(0 <= score <= 100 for score in run["miou"].values())
            assert run["cost"]["flops"] > 0
            kept = json.loads((out / result.system / f"lr{result.lr:g}" / f"seed{seed}" / SCORES).read_text())
            assert kept == run["miou"]
    assert mean_fusion.cost("parameters") < cmx.cost("parameters")


@pytest.mark.slow
def test_the_learning_rate_is_chosen_on_the_validation_split_by_the_first_seed_alone(compared):
    out, results = compared
    for result in results:
        tried = {lr: read_about(out / result.system / f"lr{lr:g}" / "seed1" / "best.safetensors") for lr in SMALL.lrs}
        assert {about["scores"]["split"] for about in tried.values()} == {"val"}
        assert result.lr == max(tried, key=lambda lr: tried[lr]["scores"]["miou"])
        others = {path.parent.name for path in (out / result.system).glob("lr*/seed2")}
        assert others == {f"lr{result.lr:g}"}


@pytest.mark.slow
def test_the_command_takes_finished_runs_and_writes_table_and_picture(compared, monkeypatch, capsys):
    out, results = compared
    monkeypatch.setattr(runner, "train", lambda *a, **k: pytest.fail("nothing is left to be trained"))
    assert main([*WORDS, "--seeds", "1", "2", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    for words in ("mean fusion", "CMX (RGB + depth)", "RGB + depth + event + LiDAR", "none is taken from a paper"):
        assert words in said
    assert "mean fusion" in (out / "compare.md").read_text()
    assert "<table" in (out / "compare.html").read_text()
    with Image.open(out / "compare.png") as picture:
        assert picture.width > 500
    rows = list(csv.DictReader((out / "compare.csv").open()))
    assert len(rows) == 2 * 15 + 2 * 3
    first = results[0]
    assert float(rows[0]["miou"]) == first.runs[1]["miou"]["rgb"]
    assert {row["subset"] for row in rows if row["system"] == "cmx"} == {"rgb", "depth", "rgb+depth"}
    assert main([*WORDS, "--seeds", "1", "2", "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [row["system"] for row in said["systems"]] == CHOSEN


@pytest.mark.slow
def test_a_system_that_fails_leaves_the_others_alone(tmp_path, monkeypatch, capsys):
    real = runner.train

    def failing(settings, folder, **options):
        if settings.model.name == "cmx":
            folder.mkdir(parents=True, exist_ok=True)
            raise RuntimeError("a GPU fell off")
        return real(settings, folder, **options)

    monkeypatch.setattr(runner, "train", failing)
    assert main([*WORDS[:-1], "--seeds", "1", "--out", str(tmp_path)]) == 1
    rows = list(csv.DictReader((tmp_path / "compare.csv").open()))
    assert {row["system"] for row in rows} == {"mean-fusion"}
    assert "a GPU fell off" in (tmp_path / "cmx/lr0.001/seed1/failed.txt").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--systems", "cmnxt"], ["no system 'cmnxt'", "did you mean 'cmnext'?"]),
        (["--systems"], ["--systems"]),
        (["--size", "50"], ["multiple"]),
    ],
)
def test_it_refuses(words, told, tmp_path, capsys):
    assert main(["compare", *words, "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    for word in told:
        assert word in said
