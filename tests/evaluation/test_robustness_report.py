"""What is told of missing and noisy sensors is what was scored, and says what it holds for."""

import csv
import json
from dataclasses import replace

from memorysam.evaluation import robustness_report as report
from memorysam.evaluation.robustness import average, expectation, spelled
from memorysam.evaluation.robustness_run import Found

from .plain import TWO, Plain, Shuffled, score, task

FOUR = ("rgb", "depth", "event", "lidar")


def test_files_say_the_same_as_the_passes(found, tmp_path):
    whole = Found(found.plan, found.passes, found.identity, {"checkpoint": "a.safetensors", "dataset": "scenes"})
    paths = report.save(whole, tmp_path)
    assert [path.name for path in paths] == ["robustness.json", "robustness.csv", "robustness.md"]
    rows = list(csv.DictReader(paths[1].open()))
    conditions_scored = 3 + 3 * 3 + 4
    assert len(rows) == 2 * conditions_scored * (1 + 5)  # all images, and five values of the tag
    assert {(row["dataset"], row["split"], row["batch_size"], row["size"]) for row in rows} == {
        ("scenes", "test", "2", "32x32")
    }
    for row in rows:
        if row["tag"] == "" and row["part"] == "emm":
            expected = whole.scores("emm", row["variant"])[tuple(row["present"].split("+"))]
            assert float(row["miou"]) == expected
    content = json.loads(paths[0].read_text())
    assert content["passes"] == found.passes
    of = content["summary"]["emm"]["strict"]
    scores = found.scores("emm", "strict")
    assert of["average"] == average(scores)
    assert of["E(0.1)"] == expectation(scores, TWO, 0.1)
    assert of["by_subset"] == {spelled(subset): value for subset, value in scores.items()}
    assert content["summary"]["nm"]["paper"]["low"] == found.passes["paper/nm/low"]["miou"]
    text = paths[2].read_text()
    for words in ("rgb + event | 0 |", "## RMM", "| paper | 25% |", "## NM", "but event", "batch, here of 2", "fog"):
        assert words in text


def test_scores_by_tag_are_those_of_its_samples(plain, five, found):
    fog = [i for i in range(5) if five.tags(i)["condition"] == "fog"]
    alone = score(plain, Shuffled(five, fog), variants=("strict",))
    assert found.scores("emm", "strict", tag=("condition", "fog")) == alone.scores("emm", "strict")
    assert report.summary(found)["by"]["condition"]["strict"]["fog"]["average"] == average(
        alone.scores("emm", "strict")
    )


def test_published_figures_are_marked_unless_all_is_as_in_the_benchmark(found):
    told = report.text(found)
    assert "NOT COMPARABLE" in told
    assert "published (arXiv 2503.18445), EMM average on DELIVER" in told
    assert "44.97" in told
    right = {"split": "val", "protocol": "paper", "size": [1024, 1024]}
    comparable = Found(replace(found.plan, sensors=FOUR), {}, {**found.identity, **right}, {"dataset": "deliver"})
    assert report.not_comparable(comparable) == []
    for key, value in (("split", "test"), ("protocol", "strict"), ("size", [512, 512])):
        assert len(report.not_comparable(replace(comparable, identity={**comparable.identity, key: value}))) == 1
    assert len(report.not_comparable(replace(comparable, about={"dataset": "muses"}))) == 1
    assert len(report.not_comparable(replace(comparable, plan=found.plan))) == 1


def test_one_sensor_has_nothing_to_lose_but_noise(five):
    found = score(Plain(task(five, ("depth",))), five)
    assert sorted(found.passes) == ["paper/nm/high", "paper/nm/low", "paper/nm/middle",
                                    "strict/nm/high", "strict/nm/low", "strict/nm/middle", "whole"]  # fmt: skip
    told = report.text(found)
    assert "With one sensor there is nothing to lose" in told
    assert "NM: mIoU with noise" in told
