"""Browsing a data set, and a sheet of its pictures without a browser."""

import json

import cv2
import numpy as np
import pytest

from memorysam.app.browse import Browser, Filter
from memorysam.cli import main
from memorysam.config import DataSettings
from memorysam.data.catalog import open_dataset
from memorysam.errors import DataError

from ..tiny import write_dataset

NAMES = ("rgb", "depth")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture
def browser(tiny):
    return Browser(open_dataset(DataSettings(dataset=str(tiny)), (32, 32)).source("train"), NAMES)


@pytest.fixture(scope="module")
def scenes():
    """Ten rendered scenes, whose samples have tags."""
    source = open_dataset(DataSettings(scenes=(1, 10, 1)), (32, 32)).source("val")
    return Browser(source, ("rgb", "lidar"))


def test_pictures_are_the_modalities_the_label_and_the_label_over_the_first_sensor(browser):
    raw = browser.read(3)
    shown = browser.pictures_of(raw, strength=1.0)
    assert list(shown) == ["rgb", "depth", "label", "overlay"]
    assert all(picture.shape == (64, 96, 3) for picture in shown.values())
    known = raw.label != 255
    assert not known.all()
    assert np.array_equal(shown["overlay"][known], shown["label"][known])
    assert np.array_equal(shown["overlay"][~known], shown["rgb"][~known])
    assert np.array_equal(browser.pictures_of(raw, 0.0, "depth")["overlay"], shown["depth"])


def test_shares_are_of_all_pixels_those_without_a_class_last(browser):
    raw = browser.read(0)
    shares = browser.shares(raw)
    assert shares[-1][0] == "no class"
    assert shares[-1][2] == pytest.approx(2 / 64)
    assert sum(share for *_, share in shares) == pytest.approx(1)
    ids = {name: i for i, name in enumerate(browser.source.classes.names)}
    for name, _, share in shares[:-1]:
        assert share == pytest.approx(float((raw.label == ids[name]).mean()))


def test_a_sample_is_found_by_its_name_or_a_part_that_only_one_has(browser):
    assert browser.index_of("t04") == 4
    assert browser.index_of("7") == 7
    for wrong in ("t0", "x9", ""):
        with pytest.raises(DataError, match="no sample"):
            browser.index_of(wrong)


def test_a_filter_finds_what_a_look_at_every_sample_finds(scenes):
    labels = [scenes.source.read(i, ()).label for i in range(len(scenes))]
    names = scenes.source.classes.names
    for name in names:
        expected = [i for i, label in enumerate(labels) if (label == names.index(name)).any()]
        assert list(scenes.matching(Filter(class_name=name))) == expected
    for value in scenes.tag_values()["condition"]:
        expected = [i for i in range(len(scenes)) if scenes.source.tags(i)["condition"] == value]
        assert list(scenes.matching(Filter((("condition", value),)))) == expected
        assert scenes.following(len(scenes) - 1, Filter((("condition", value),)), -1) == expected[-1]
    with pytest.raises(DataError, match="no class 'Dragon'"):
        scenes.following(0, Filter(class_name="Dragon"))


def test_labels_are_not_read_where_tags_decide(scenes, monkeypatch):
    fresh = Browser(scenes.source, scenes.names)
    monkeypatch.setattr(type(scenes.source), "read", lambda *_: pytest.fail("read"))
    assert fresh.following(0, Filter((("condition", "none of these"),), "Road")) is None


def test_the_command_writes_a_sheet_without_gradio(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gradio", None)
    out = tmp_path / "sheet.png"
    assert (
        main(["view", str(tiny), "--split", "train", "--start", "t02", "--count", "3", "--out", str(out), "--json"])
        == 0
    )
    assert json.loads(capsys.readouterr().out)["ids"] == ["t02", "t03", "t04"]
    sheet = cv2.imread(str(out))
    # Three rows of pictures of 128 pixels and their names, one line of titles; four pictures of 192 pixels.
    assert sheet.shape[0] == 3 * (128 + 18 + 8) + 18 + 4
    assert sheet.shape[1] == 4 * 192 + 3 * 4 + 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--count", "3"], "--out only"),
        (["--out", "a.jpg"], "end its name in .png"),
        (["--out", "a.png", "--count", "0"], "a number from 1"),
        (["--out", "a.png", "--tag", "fog"], "NAME=VALUE"),
        (["--out", "a.png", "--tag", "light=low"], "no tag light"),
        (["--out", "a.png", "--class", "dragon"], "no class 'dragon'"),
        (["--out", "a.png", "--start", "zzz"], "no sample 'zzz'"),
        (["--split", "winter", "--out", "a.png"], "winter"),
    ],
)
def test_mistakes_are_told(tiny, tmp_path, capsys, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    assert main(["view", str(tiny), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()
