import base64
import contextlib
import html.parser
import io
import json
import shutil

import pytest
import yaml

from memorysam.cli import main
from memorysam.experiments import score_page

from ..tiny import write_dataset

BAD = "<script>alert(1)</script>"
SETTINGS = {
    "model": {"backbone": "micro", "image_size": [64, 96], "lora_rank": 0},
    "data": {"dataset": "data/dataset.yaml", "workers": 0},
    "train": {"epochs": 2, "batch_size": 2, "lr": 2e-3, "warmup_epochs": 0, "log_every": 1},
}


class Seen(html.parser.HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.tags, self.images, self.words = [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(self.words)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.images += [dict(attrs)] if tag == "img" else []

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A run on data whose class has a name that a browser could take for a script, in a folder with such a name too."""
    folder = tmp_path_factory.mktemp("home")
    sheet = write_dataset(folder / "data", train=4, val=3)
    content = yaml.safe_load(sheet.read_text())
    content["classes"] = {BAD: [90, 90, 90], "wall": [200, 60, 60], "box": [60, 60, 200]}
    sheet.write_text(yaml.safe_dump(content, sort_keys=False))
    (folder / "tiny.yaml").write_text(yaml.safe_dump(SETTINGS))
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["train", str(folder / "tiny.yaml"), "--out", str(folder / "run<b>")]) == 0
    return folder


@pytest.fixture
def run(home, tmp_path):
    return shutil.copytree(home / "run<b>", tmp_path / "run<b>")


def report(run, *words):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(["report", str(run), "--workers", "0", "--json", *words]) == 0
    return json.loads(said.getvalue()), Seen(run / "report.html")


def test_a_page_shows_curves_scores_and_images_of_a_run(run):
    facts, page = report(run, "--images", "1")
    assert (facts["state"], facts["step"], facts["steps"]) == ("finished", 4, 4)
    assert facts["scored"] == pytest.approx(facts["best_miou"], abs=1e-3)
    for heading in ("Training", "Class by class", "What is taken for what", "The worst images", "The best images"):
        assert heading in page.words
    kinds = [image["src"].partition(";")[0] for image in page.images]
    assert kinds == ["data:image/svg+xml"] * 2 + ["data:image/png"] * 2
    assert all(base64.b64decode(image["src"].partition(",")[2]) for image in page.images)
    assert "train.epochs: 2" in page.text
    assert "python" in page.text


def test_names_are_shown_and_not_run(run):
    _, page = report(run)
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert sum(BAD in word for word in page.words) >= 2  # in the table and in the legend


def test_a_run_that_is_under_way_has_a_page_too(run):
    (run / "best.safetensors").unlink()
    (run / "last.safetensors").unlink()
    log = run / "log.jsonl"
    log.write_text(log.read_text().splitlines()[0] + '\n{"step": 2, "lo')
    facts, page = report(run)
    assert (facts["state"], facts["step"], facts["best_miou"]) == ("under way, or stopped", 1, None)
    assert "Class by class" not in page.words
    assert len(page.images) == 1


def test_data_that_have_moved_cost_the_scores_only(run):
    settings = run / "settings.yaml"
    settings.write_text(settings.read_text().replace("dataset.yaml", "gone.yaml"))
    facts, page = report(run)
    assert facts["scored"] is None
    assert "gone.yaml" in page.text
    assert "All settings" in page.words


def test_without_matplotlib_a_page_says_how_to_have_figures(run, monkeypatch):
    monkeypatch.setattr(score_page, "find_spec", lambda name: None)
    _, page = report(run, "--images", "1")
    assert page.text.count("pip install 'memorysam[figures]'") == 2
    assert len(page.images) == 2


def test_evaluate_writes_a_page_of_its_own(run, tmp_path, capsys):
    out = tmp_path / "scores"
    assert main(["evaluate", str(run), "--workers", "0", "--report", "--out", str(out)]) == 0
    page = Seen(out / "report.html")
    assert "The worst images" in page.words
    assert "script" not in page.tags
    assert main(["evaluate", str(run), "--report"]) == 2
    assert "--out" in capsys.readouterr().err


def test_what_is_no_run_is_told(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "no folder of a run" in capsys.readouterr().err
    assert main(["report", str(tmp_path), "--images", "-1"]) == 2
    assert "--images" in capsys.readouterr().err
