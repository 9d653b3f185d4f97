import csv
import json
import subprocess
import sys

import pytest

from memorysam.cli import main
from memorysam.config import RunSettings, packaged
from memorysam.experiments import runner
from memorysam.experiments.plan import TABLES
from memorysam.experiments.reproduce import Scale, jobs_of, reproduce, table_of
from memorysam.experiments.toy import shrink
from memorysam.models.weights import read_about
from memorysam.strict import build, read_yaml

SMALL = Scale(toy=True, size=32, scenes=16, epochs=1, pretraining_epochs=1)
WORDS = ["--scale", "toy", "--toy-size", "32", "--toy-scenes", "16", "--toy-epochs", "1"]


@pytest.fixture(scope="module")
def table7(small_worlds, tmp_path_factory):
    out = tmp_path_factory.mktemp("toy")
    return out, reproduce(table_of("table7"), (1, 2), out, None, SMALL)


@pytest.mark.slow
def test_every_row_and_seed_is_run_and_scored_on_a_split_that_chose_nothing(table7):
    out, results = table7
    assert [result.row for result in results] == list(TABLES["table7"].rows)
    for result in results:
        assert list(result.scores) == [1, 2]
        assert all(0 <= score <= 100 for score in result.values)
        assert result.mean == pytest.approx(sum(result.values) / 2)
        assert result.spread == pytest.approx(abs(result.values[0] - result.values[1]) / 2**0.5)
        assert result.facts["scored_on"] == "test"
        assert result.facts["chosen_on"] == "val"
    kept = json.loads((out / "table1/rgb-d/seed1/test.json").read_text())
    assert kept["split"] == "test"
    assert kept["protocol"] == "strict"


@pytest.mark.slow
def test_all_rows_start_from_one_encoder_that_saw_colour_alone_and_keep_it_frozen(table7):
    import torch

    from memorysam.tensors import read_tensors

    out, _ = table7
    start, about = read_tensors(out / "pretrained/best.safetensors")
    assert [m["name"] for m in about["task"]["modalities"]] == ["rgb"]
    assert about["settings"]["data"]["scenes_seed"] != 0
    for name in ("table1/rgb-d", "table7/memory-frozen", "table7/encoder-memory-frozen"):
        tensors, _ = read_tensors(out / name / "seed1/last.safetensors")
        encoder = [key for key in start if key.startswith("sam2.vision_encoder")]
        assert encoder
        assert all(torch.equal(start[key], tensors[key]) for key in encoder)
        memory = [key for key in start if key.startswith("sam2.memory_attention")]
        assert all(torch.equal(start[key], tensors[key]) for key in memory) == (name != "table1/rgb-d")
        assert any(key.endswith("q_down") for key in tensors) == ("encoder" not in name)


@pytest.mark.slow
def test_finished_runs_are_skipped(table7, monkeypatch):
    out, results = table7
    monkeypatch.setattr(runner, "train", lambda *a, **k: pytest.fail("nothing is left to be trained"))
    again = reproduce(table_of("table7"), (1, 2), out, None, SMALL)
    assert [result.scores for result in again] == [result.scores for result in results]


@pytest.mark.slow
def test_a_run_that_fails_leaves_the_others_alone_and_is_tried_again(small_worlds, tmp_path, monkeypatch, capsys):
    real, poisoned = runner.train, [True]

    def failing(settings, folder, **options):
        if "memory-frozen/" in f"{folder}/".replace("encoder-", "") and poisoned[0]:
            folder.mkdir(parents=True, exist_ok=True)
            raise RuntimeError("a GPU fell off")
        return real(settings, folder, **options)

    monkeypatch.setattr(runner, "train", failing)
    assert main(["reproduce", "table7", "--out", str(tmp_path), "--seeds", "1", *WORDS]) == 1
    text = (tmp_path / "table7.md").read_text()
    assert "none finished" in text
    assert "a GPU fell off" in (tmp_path / "table7/memory-frozen/seed1/failed.txt").read_text()
    assert (tmp_path / "table1/rgb-d/seed1/finished").exists()
    poisoned[0] = False
    capsys.readouterr()
    assert main(["reproduce", "table7", "--out", str(tmp_path), "--seeds", "1", *WORDS, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert all(row["miou"] is not None for row in content["rows"])
    assert not (tmp_path / "table7/memory-frozen/seed1/failed.txt").exists()
    rows = list(csv.DictReader((tmp_path / "table7.csv").open()))
    assert [(row["row"], row["seed"]) for row in rows] == [(row.label, "1") for row in TABLES["table7"].rows]
    assert {row["scale"] for row in rows} == {"toy"}
    assert rows[1]["published"] == "57.6"
    assert rows[1]["source"] == "remark"
    page = (tmp_path / "table7.html").read_text()
    assert "not comparable" in page
    assert "57.60" in page


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_stopped(small_worlds, tmp_path, monkeypatch):
    real, seen = runner.train, []

    def stopped(settings, folder, **options):
        seen.append((folder.name, options["resume"]))
        if len(seen) == 2:
            outcome = real(settings, folder, **options, stop_after=1)
            return type(outcome)(outcome.folder, outcome.progress, False, 15)
        return real(settings, folder, **options)

    monkeypatch.setattr(runner, "train", stopped)
    with pytest.raises(runner.StoppedError):
        reproduce(table_of("table7"), (1,), tmp_path, None, SMALL)
    assert len(seen) == 2
    results = reproduce(table_of("table7"), (1,), tmp_path, None, SMALL)
    assert seen[2] == ("seed1", True)
    assert all(result.values for result in results)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_toy_rows_keep_what_makes_them(name, tmp_path):
    for row in TABLES[name].rows:
        recipe = build(RunSettings, read_yaml(packaged()[row.recipe]), row.recipe)
        toy = shrink(recipe, tmp_path, 7, 32, 16, 1)
        assert toy.train.seed == 7
        assert toy.model.backbone == "micro"
        for key in ("lora_rank", "memory", "residual", "prototypes", "prototype_momentum", "train"):
            assert getattr(toy.model, key) == getattr(recipe.model, key)
        assert toy.train.prototype_weight == recipe.train.prototype_weight
        assert len(toy.data.modalities) == len(recipe.data.modalities)
        assert toy.evaluate.protocol == "strict"


def test_full_runs_are_the_recipes_on_the_given_data(tmp_path):
    table = table_of("table1")
    jobs = jobs_of(table, (1, 2), tmp_path, tmp_path / "DELIVER", Scale(toy=False))
    assert [job.name for job in jobs[table.rows[0]]] == ["table1/rgb/seed1", "table1/rgb/seed2"]
    for seed, job in [pair for row in table.rows for pair in zip((1, 2), jobs[row], strict=True)]:
        assert job.settings.data.root == tmp_path / "DELIVER"
        assert job.settings.model.backbone == "sam2-base-plus"
        assert job.settings.train.seed == seed


def test_rows_that_are_the_same_run_are_run_once(tmp_path):
    """The full method on two sensors is a row of five tables."""
    names = {
        (name, row.label): jobs[0].name
        for name, table in TABLES.items()
        for row, jobs in jobs_of(table, (1,), tmp_path, None, Scale(toy=False)).items()
    }
    shared = [key for key, job in names.items() if job == "table1/rgb-d/seed1"]
    assert [name for name, _ in shared] == ["table1", "table3", "table4", "table5", "table7"]
    assert len(set(names.values())) == len(names) - 4


def test_published_figures_and_rows_agree_with_the_recipes():
    for table in TABLES.values():
        for row in table.rows:
            text = packaged()[row.recipe].read_text()
            assert (row.published is None) == (row.source == "none")
            if row.published is not None:
                shown = f"{row.published:.2f}" if row.source != "remark" else f"{row.published}"
                assert shown in " ".join(text.split()), row


def test_an_unknown_table_and_missing_data_are_explained(capsys):
    assert main(["reproduce", "table9"]) == 2
    assert "did you mean 'table" in capsys.readouterr().err
    assert main(["reproduce", "table1"]) == 2
    message = capsys.readouterr().err
    assert "--data" in message
    assert "--scale toy" in message


@pytest.mark.slow
def test_table_6_prints_the_known_counts(capsys):
    assert main(["reproduce", "table6", "--json"]) == 0
    rows = {row["label"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    trained, frozen = rows["memory trained, released LoRA widths"], rows["memory frozen, released LoRA widths"]
    assert round(trained["trainable"] / 1e6, 2) == 14.50
    assert round(frozen["trainable"] / 1e6, 2) == 7.19
    assert trained["lora"] == 159488
    assert rows["memory trained, full LoRA widths"]["lora"] == 165760


def test_the_runs_header_says_how_it_was_chosen(table7):
    out, _ = table7
    scores = read_about(out / "table1/rgb-d/seed1/best.safetensors")["scores"]
    assert scores["split"] == "val"


@pytest.mark.slow
def test_two_processes_share_every_run_of_a_table(tmp_path):
    """As `accelerate launch -m memorysam reproduce` does on several GPUs."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1",
        "--nproc-per-node", "2",
        "-m", "memorysam", "reproduce", "table7", "--out", str(tmp_path), "--seeds", "1", *WORDS,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "table7.csv").open()))
    assert all(0 < float(row["miou"]) <= 100 for row in rows)
    header = read_about(tmp_path / "table7/memory-frozen/seed1/last.safetensors")
    assert header["training"]["ranks"] == 2
    log = [json.loads(line) for line in (tmp_path / "table1/rgb-d/seed1/log.jsonl").read_text().splitlines()]
    assert len([line for line in log if "validation" in line]) == 1, "one process writes"
