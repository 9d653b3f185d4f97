import json

import cv2
import pytest

from memorysam.cli import main
from memorysam.experiments import figures, panels
from memorysam.experiments.draw import FIGURES

WORDS = ["--scale", "toy", "--toy-size", "32", "--toy-scenes", "16", "--toy-epochs", "1", "--seeds", "1"]


@pytest.fixture(scope="module")
def out(small_worlds, tmp_path_factory):
    return tmp_path_factory.mktemp("figures")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FIGURES))
def test_every_figure_comes_from_one_command(out, capsys, name):
    assert main(["reproduce", name, "--out", str(out), *WORDS, "--json"]) == 0
    file = json.loads(capsys.readouterr().out)["file"]
    picture = cv2.imread(file)
    assert min(picture.shape[:2]) > 300
    assert picture.std() > 5


@pytest.mark.slow
def test_predictions_are_of_scenes_that_chose_nothing_and_of_every_condition(out, monkeypatch):
    seen = {}

    def look(predictor, source, indices, subsets, path):
        seen.update(ids=[source.ids[i] for i in indices], split=source._keys[0].split, subsets=subsets)
        return path

    monkeypatch.setattr(figures, "predictions", look)
    assert main(["reproduce", "figure5", "--out", str(out), *WORDS]) == 0
    assert seen["split"] == "test"
    assert seen["subsets"] == [
        ("rgb",), ("rgb", "depth"), ("rgb", "depth", "event"), ("rgb", "depth", "event", "lidar"),
    ]  # fmt: skip
    conditions = [name.split("/")[0] for name in seen["ids"]]
    assert len(set(conditions)) == len(conditions) > 1


@pytest.mark.slow
def test_a_curve_at_toy_scale_holds_nothing_that_was_published(out, monkeypatch):
    seen = {}
    monkeypatch.setattr(figures, "modalities_curve", lambda series, path, published: seen.update(series) or path)
    assert main(["reproduce", "figure8", "--out", str(out), *WORDS]) == 0
    ((name, points),) = seen.items()
    assert "ours" in name
    assert [count for count, _, _ in points] == [1, 2, 3, 4]


def test_a_missing_library_is_said_before_anything_is_trained(tmp_path, monkeypatch, capsys):
    real = panels.library

    def missing(name):
        from memorysam.errors import SettingsError

        raise SettingsError("matplotlib is missing", fix="pip install 'memorysam[figures]'") if name else real(name)

    monkeypatch.setattr(panels, "library", missing)
    assert main(["reproduce", "figure8", "--out", str(tmp_path), *WORDS]) == 2
    assert "memorysam[figures]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
