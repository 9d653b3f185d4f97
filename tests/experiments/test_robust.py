import csv
import json
from statistics import fmean, stdev

import pytest
from PIL import Image

from memorysam.cli import main
from memorysam.evaluation.robustness import expectation, subsets
from memorysam.experiments import robust, robust_report, runner
from memorysam.experiments.compare import SCORES, SENSORS
from memorysam.experiments.robust import MEASURES, VARIANTS, Budget, Trained, compared, gains, settings_of
from memorysam.models.weights import read_about

WORDS = ["reproduce", "robustness", "--scale", "toy", "--toy-size", "32", "--toy-scenes", "16", "--toy-epochs", "1"]


def made_up(variant, seeds=(1, 2, 3)):
    """A row whose scores are known: more with more sensors, another level for each row and seed."""
    level = 10 * VARIANTS.index(variant)
    return Trained(
        variant, {seed: {s: float(level + seed**2 + 5 * len(s)) for s in subsets(SENSORS)} for seed in seeds}
    )


@pytest.fixture
def results():
    return [made_up(variant) for variant in VARIANTS]


def test_all_rows_get_the_same_but_what_they_are_about():
    chosen = {variant: settings_of(variant, 3, Budget()) for variant in VARIANTS}
    for variant, settings in chosen.items():
        assert settings.train.modality_dropout == (Budget().modality_dropout if variant.dropout else 0)
        assert settings.train.modality_order == ("shuffle" if variant.shuffle else "fixed")
        assert settings.model.fusion == ("quality" if variant.quality else "mean")
    alike = {
        (
            settings.model.model_copy(update={"fusion": "mean"}).model_dump_json(),
            settings.data.model_dump_json(),
            settings.train.model_copy(update={"modality_dropout": 0, "modality_order": "fixed"}).model_dump_json(),
        )
        for settings in chosen.values()
    }
    assert len(alike) == 1
    assert len({settings.model_dump_json() for settings in chosen.values()}) == len(VARIANTS)


def test_the_end_of_training_is_scored_and_no_checkpoint_is_chosen():
    settings = settings_of(VARIANTS[0], 1, Budget(epochs=5))
    assert settings.train.validate_every == settings.train.epochs


def test_measures_are_made_of_the_scores_with_all_subsets():
    scores = {subset: float(i) for i, subset in enumerate(subsets(SENSORS))}
    found = {measure.key: measure.of(scores) for measure in MEASURES}
    assert found["all"] == 14
    assert found["average"] == pytest.approx(7)
    assert found["expectation"] == expectation(scores, SENSORS, 0.1)
    assert found["without_rgb"] == scores["depth", "event", "lidar"]
    assert found["single"] == pytest.approx(1.5)


def test_what_a_setting_adds_is_told_seed_by_seed_for_every_pair_that_differs_in_it_alone(results):
    pairs = compared(results)
    for without, having, name in pairs:
        before, after = without.variant, having.variant
        changed = {key for key in ("dropout", "shuffle", "quality") if getattr(before, key) != getattr(after, key)}
        assert changed == {{"shuffled order": "shuffle"}.get(name, name)}
        assert getattr(after, changed.pop())
    assert [(without.variant.name, having.variant.name) for without, having, _ in pairs] == [
        ("plain", "dropout"),
        ("dropout", "dropout-shuffle"),
        ("dropout-quality", "dropout-shuffle-quality"),
        ("dropout", "dropout-quality"),
        ("dropout-shuffle", "dropout-shuffle-quality"),
    ]
    values = gains(made_up(VARIANTS[0]), made_up(VARIANTS[3], seeds=(2, 3)), MEASURES[0])
    assert values == [30, 30], "seeds that both rows have"


def test_tables_hold_every_row_with_mean_and_spread(results):
    lines = {line[0]: line for line in robust_report.lines(results)}
    assert list(lines) == [variant.label for variant in VARIANTS]
    whole = [20 + seed**2 for seed in (1, 2, 3)]
    assert lines["plain"][1] == f"{fmean(whole):.1f} ± {stdev(whole):.1f}"
    gained = {tuple(line[:2]): line[2:] for line in robust_report.gain_lines(results)}
    assert gained["dropout", "plain"] == ["+10.0 ± 0.0"] * len(MEASURES)
    said = robust_report.text(results)
    for words in (
        "all sensors",
        "EMM average",
        "E(0.1)",
        "without RGB",
        "one alone",
        "dropout, shuffled order, quality",
    ):
        assert words in said


def test_a_row_without_runs_is_told_as_such():
    lines = robust_report.lines([Trained(VARIANTS[0], {}, ["robustness/plain/seed1"])])
    assert lines == [["plain", *["-"] * len(MEASURES), "none finished"]]


def test_files_hold_every_run_and_subset(results, tmp_path):
    paths = robust_report.save(results, tmp_path, Budget(), (1, 2, 3))
    assert {path.name for path in paths} == {f"robustness.{s}" for s in ("txt", "md", "csv", "json", "png")}
    rows = list(csv.DictReader((tmp_path / "robustness.csv").open()))
    assert len(rows) == len(VARIANTS) * 3 * 15
    assert float(rows[0]["miou"]) == results[0].scores[1]["rgb",]
    assert {row["modality_dropout"] for row in rows} == {"0.0", "0.5"}
    content = json.loads((tmp_path / "robustness.json").read_text())
    assert content["rows"][0]["average"]["seeds"].keys() == {"1", "2", "3"}
    assert content["rows"][-1]["miou"]["2"]["rgb+lidar"] == results[-1].scores[2]["rgb", "lidar"]
    assert content["protocol"] == "strict"
    assert "dropout, shuffled order, quality" in (tmp_path / "robustness.md").read_text()
    assert "what is missing is left out" in (tmp_path / "robustness.txt").read_text()
    with Image.open(tmp_path / "robustness.png") as picture:
        assert picture.width > 500


@pytest.fixture
def few_scenes(monkeypatch):
    real = robust.settings_of

    def shrunk(*args):
        settings = real(*args)
        data = settings.data.model_copy(update={"scenes": (16, 5, 5), "workers": 0})
        return settings.model_copy(update={"data": data})

    monkeypatch.setattr(robust, "settings_of", shrunk)


@pytest.mark.slow
def test_the_command_trains_every_row_scores_every_subset_and_takes_finished_runs(
    few_scenes, tmp_path, monkeypatch, capsys
):
    real, broken = runner.train, "dropout-quality/seed1"

    def failing(settings, folder, **options):
        if f"{folder}".endswith(f"/{broken}"):
            folder.mkdir(parents=True, exist_ok=True)
            raise RuntimeError("a GPU fell off")
        return real(settings, folder, **options)

    monkeypatch.setattr(runner, "train", failing)
    words = [*WORDS, "--seeds", "1", "--out", str(tmp_path)]
    assert main(words) == 1, "a run has failed"
    assert "none finished" in capsys.readouterr().out
    monkeypatch.setattr(runner, "train", real)
    assert main(words) == 0
    said = capsys.readouterr().out
    assert all(variant.label in said for variant in VARIANTS)
    for variant in VARIANTS:
        folder = tmp_path / "robustness" / variant.name / "seed1"
        kept = json.loads((folder / SCORES).read_text())
        assert set(kept) == {"+".join(subset) for subset in subsets(SENSORS)}
        assert all(0 <= score <= 100 for score in kept.values())
        about = read_about(folder / "best.safetensors")
        assert about["model"]["fusion"] == ("quality" if variant.quality else "mean")
        assert about["step"] == 2, "the end of training"
    monkeypatch.setattr(runner, "train", lambda *a, **k: pytest.fail("nothing is left to be trained"))
    assert main([*words, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [row["training"] for row in content["rows"]] == [variant.label for variant in VARIANTS]
    assert content["rows"][0]["miou"]["1"] == json.loads((tmp_path / "robustness/plain/seed1" / SCORES).read_text())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["robustness"], ["--scale", "expected: toy"]),
        (["robustnes", "--scale", "toy"], ["did you mean 'robustness'?"]),
        (["robustness", "--scale", "toy", "--toy-size", "50"], ["multiples of 32"]),
        (["robustness", "--scale", "toy", "--toy-epochs", "0"], ["greater than or equal to 1"]),
    ],
)
def test_it_refuses(words, told, tmp_path, capsys):
    assert main(["reproduce", *words, "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    for word in told:
        assert word in said
