import base64
import contextlib
import io
import json
import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import memorysam
from memorysam.cli import main

pytestmark = pytest.mark.slow

SENSORS = ("rgb", "depth", "event", "lidar")
SETS = ["all", *(f"{name} alone" for name in SENSORS)]
OPTIONS = [
    *("--data.scenes", "8", "3", "5"),
    *("--data.workers", "0"),
    *("--model.image-size", "64", "64"),
    *("--train.batch-size", "4"),
    *("--evaluate.batch-size", "2"),
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The whole tour, on five scenes for the test."""
    out = tmp_path_factory.mktemp("demo") / "out"
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(["demo", "--out", str(out), *OPTIONS]) == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    scores = json.loads((out / "scores.json").read_text())
    return SimpleNamespace(out=out, said=said.getvalue(), page=page, scores=scores)


@pytest.fixture(scope="module")
def pictures(demo):
    found = re.findall(r'<img [^>]*src="data:image/png;base64,([^"]+)"', demo.page)
    return [
        cv2.imdecode(np.frombuffer(base64.b64decode(data, validate=True), np.uint8), cv2.IMREAD_UNCHANGED)
        for data in found
    ]


def test_the_demo_ends_with_the_score_of_all_sensors_and_of_each_alone(demo):
    rows = re.findall(r"^(all|\w+ alone) +(\d+\.\d)$", demo.said, re.MULTILINE)
    assert rows == [(name, f"{demo.scores[name]['miou']:.1f}") for name in SETS]


def test_the_demo_says_where_everything_is(demo):
    for path in (demo.out / "report.html", demo.out / "run", demo.out / "scores.json"):
        assert str(path) in demo.said
        assert path.exists()


def test_scores_say_what_they_hold_for(demo):
    assert list(demo.scores) == SETS
    shown = {"all": list(SENSORS), **{f"{name} alone": [name] for name in SENSORS}}
    for name, score in demo.scores.items():
        facts = (score["modalities"], score["split"], score["images"], score["protocol"], score["size"])
        assert facts == (shown[name], "test", 5, "strict", [64, 64])
        for tag in ("condition", "failure"):
            assert sum(part["images"] for part in score["by"][tag].values()) == 5
        saved = json.loads((demo.out / "scores" / f"{name.replace(' ', '_')}.json").read_text())
        assert saved == score


def test_it_matters_which_sensors_are_shown(demo):
    assert len({str(score["classes"]) for score in demo.scores.values()}) > 1


def test_the_report_needs_nothing_but_itself(demo):
    without_pictures = re.sub(r"data:image/png;base64,[^\"]+", "data:", demo.page)
    assert len(without_pictures) < len(demo.page)
    for word in ("http", "<script", "<link", "url(", "@import"):
        assert word not in without_pictures
    assert set(re.findall(r"(?:src|href)=\"([^\"]*)\"", without_pictures)) == {"data:"}


def test_the_report_shows_every_scene_with_sensors_truth_and_predictions(demo, pictures):
    colours = set(memorysam.load(demo.out / "run", verbose=False).task.classes.colors)
    assert len(pictures) == 5
    for picture in pictures:
        assert picture.shape == (144, 7 * 144 + 6 * 4, 3)
        parts = [picture[:, i * 148 : i * 148 + 144, ::-1] for i in range(7)]
        assert len({part.tobytes() for part in parts[:5]}) == 5
        truth, *predictions = [{tuple(c) for c in part.reshape(-1, 3).tolist()} for part in parts[4:]]
        assert len(truth - {(0, 0, 0)}) > 1
        assert truth <= colours | {(0, 0, 0)}
        assert all(found <= colours for found in predictions)


def test_the_report_has_the_numbers_of_the_scores(demo):
    for name, score in demo.scores.items():
        assert f'<td>{name}</td><td class="number">{score["miou"]:.1f}</td>' in demo.page
    for name in demo.scores["all"]["classes"]:
        assert f"<td>{name}</td>" in demo.page
    for condition in demo.scores["all"]["by"]["condition"]:
        assert f"<td>{condition}</td>" in demo.page


def test_the_commands_that_the_report_proposes_work(demo, capsys):
    proposed = re.findall(r"<pre>memorysam ([^<]+)</pre>", demo.page)
    assert [line.split()[0] for line in proposed] == ["evaluate", "make-scenes"]
    assert main([*proposed[0].split(), "--workers", "0", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["modalities"], said["split"], said["images"]) == (["rgb", "lidar"], "test", 5)
    assert said["by"].keys() == {"condition"}
    assert main([*proposed[1].split(), "--train", "1", "--val", "0", "--test", "0", "--size", "32"]) == 0
    assert (demo.out / "scenes" / "dataset.yaml").exists()


def test_evaluate_gives_the_score_of_the_demo(demo, capsys):
    words = ["--split", "test", "--protocol", "strict", "--workers", "0", "--json"]
    assert main(["evaluate", str(demo.out / "run"), *words]) == 0
    assert json.loads(capsys.readouterr().out)["miou"] == pytest.approx(demo.scores["all"]["miou"], abs=0.01)


def test_the_model_of_the_demo_can_be_used_from_python(demo):
    model = memorysam.load(demo.out / "run", verbose=False)
    assert model.task.names == SENSORS
    result = model.predict({"lidar": np.zeros((50, 70), np.uint8)})
    assert result.labels.shape == (50, 70)


def test_a_second_call_trains_no_further_and_gives_the_same_numbers(demo, capsys):
    trained = {path: path.read_bytes() for path in (demo.out / "run").glob("*.safetensors")}
    log = (demo.out / "run" / "log.jsonl").read_text()
    assert trained
    assert main(["demo", "--out", str(demo.out), *OPTIONS, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {
        "finished": True,
        "miou": {name: demo.scores[name]["miou"] for name in SETS},
        "report": str(demo.out / "report.html"),
        "run": str(demo.out / "run"),
        "scores": str(demo.out / "scores.json"),
    }
    assert {path: path.read_bytes() for path in trained} == trained
    assert (demo.out / "run" / "log.jsonl").read_text() == log
    assert json.loads((demo.out / "scores.json").read_text()) == demo.scores


def test_a_second_call_with_other_settings_is_refused(demo, capsys):
    assert main(["demo", "--out", str(demo.out), *OPTIONS, "--train.lr", "0.1"]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "train.lr: 0.002, now 0.1" in error
