"""What happens on the pages, and that they can be built; no page is opened."""

import sys
from pathlib import Path

import numpy as np
import pytest

from memorysam.app import parts, serve
from memorysam.app.browse import Browser
from memorysam.app.noise import Level
from memorysam.app.page import Page
from memorysam.cli import main
from memorysam.config import DataSettings
from memorysam.data.catalog import open_dataset
from memorysam.errors import MemorySAMError, SettingsError

from ..tiny import write_dataset
from .conftest import SENSORS, images

NONE = Level()


@pytest.fixture
def page(session, tmp_path):
    return Page(session, None, tmp_path)


@pytest.fixture
def shown(page, tmp_path):
    """The scene of three uploads."""
    paths = []
    for name, values in images().items():
        np.save(tmp_path / f"{name}.npy", values)
        paths.append(str(tmp_path / f"{name}.npy"))
    return page.uploaded(paths, NONE)


def test_a_click_in_the_large_picture_is_a_pixel_of_the_scene(page, shown):
    assert page.segmentation(shown, 0.5, None).shape == (395, 640, 3)
    assert page.clicked(shown, 0, 0).point == (0, 0)
    assert page.clicked(shown, 639, 394).point == (49, 80)
    assert page.clicked(shown, 320, 200).point == (25, 40)
    assert page.clicked(None, 3, 3) is None


def test_everything_that_is_drawn_follows_the_sensors(page, shown):
    other = page.changed(shown, ["range", "nonsense"], NONE)
    assert other.view.choice.sensors == ("range",)
    assert not np.array_equal(page.segmentation(shown, 0.5, None), page.segmentation(other, 0.5, None))
    assert page.inputs(shown).count("ms-off") == 0
    assert page.inputs(other).count("ms-off") == 2
    assert "0.0 %</b>pixels changed" in page.summary(shown)
    assert "0.0 %</b>pixels changed" not in page.summary(other)
    assert "1 of 3" in page.summary(other)


def test_attention_is_shown_for_a_clicked_pixel(page, shown):
    assert "Click on" in page.attention(shown)
    clicked = page.clicked(shown, 5, 5)
    assert page.attention(clicked).count("<img") == 3  # range at colour; bands at colour and at range
    alone = page.changed(clicked, ["bands"], NONE)
    assert "one sensor alone" in page.attention(alone)


def test_words_of_others_are_escaped(page, shown):
    assert "&lt;b&gt;sky" in page.summary(shown) + parts.legend([("<b>sky</b>", (1, 2, 3), 1.0, 1.0)])
    assert "<b>sky" not in page.summary(shown)
    assert "<i>" not in parts.message(MemorySAMError("<i>", where="<i>"))
    assert "<i>" not in parts.card(np.zeros((2, 2, 3), np.uint8), "<i>", "<i>")
    assert "<i>" not in parts.tags({"<i>": "<i>"}) + parts.bars([("<i>", (0, 0, 0), 1.0)]) + parts.title("<i>", ["<i>"])


def test_files_are_written_into_a_folder_of_their_own(page, shown, tmp_path):
    first, second = page.files(shown), page.files(shown)
    assert [Path(path).name for path in first] == [
        "colour_labels.png", "colour_overlay.png", "colour_probabilities.npy",
    ]  # fmt: skip
    assert Path(first[0]).parent != Path(second[0]).parent
    assert all(Path(path).is_relative_to(tmp_path) for path in first + second)


def test_what_is_wrong_is_told_before_there_is_a_scene(page):
    for call in (lambda: page.changed(None, ["range"], NONE), lambda: page.files(None)):
        with pytest.raises(MemorySAMError, match="yet"):
            call()
    with pytest.raises(MemorySAMError, match="no example 'x'"):
        page.example("x", [], NONE, None)


def test_without_gradio_the_message_names_the_extra(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(SettingsError, match=r"pip install 'memorysam\[app\]'"):
        serve.library()
    assert main(["app", str(checkpoint)]) == 2
    assert main(["view", str(write_dataset(tmp_path))]) == 2
    assert capsys.readouterr().err.count("memorysam[app]") == 2


def test_options_about_examples_need_examples(checkpoint, capsys):
    assert main(["app", str(checkpoint), "--split", "val"]) == 2
    assert "add --examples" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "others"), [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), ("rig", True)]
)
def test_who_can_reach_the_page_is_known(host, others):
    assert serve.Address(host).open_to_others is others
    assert serve.Address().host == "127.0.0.1"


def test_the_folder_of_uploads_is_the_one_that_gradio_uses_and_gone_afterwards(monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "/before")
    import os

    with serve.folder() as folder:
        assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
        assert folder.is_dir()
    assert os.environ["GRADIO_TEMP_DIR"] == "/before"
    assert not folder.exists()


def gradio():
    return pytest.importorskip("gradio", reason="needs gradio: pip install 'memorysam[app]'")


@pytest.mark.slow
def test_the_page_of_a_model_can_be_built(page):
    gradio()
    from memorysam.app.layout import Layout

    layout = Layout(page, "a model", ["of three sensors"])
    assert [file.label for file in layout.files] == [
        "colour: 3 channels, 0 to 255", "range: 1 channel, 0 to 65535", "bands: 5 channels, -10 to 40",
    ]  # fmt: skip
    assert layout.sensors.value == list(SENSORS)
    with pytest.raises(gradio().Error) as caught:
        layout._uploaded(0, 0, 0, "/etc/passwd", None, None)
    assert "no file that was uploaded" in str(caught.value)
    assert caught.value.print_exception is False


@pytest.mark.slow
def test_the_page_of_a_data_set_can_be_built_and_moved_through(tmp_path):
    gradio()
    from memorysam.app.view_page import ViewPage

    data = open_dataset(DataSettings(dataset=str(write_dataset(tmp_path))), (32, 32))
    names = ("rgb", "depth")
    browsers = {split: Browser(data.source(split, names), names) for split in data.splits}
    view = ViewPage(browsers, "val", "tiny")
    assert view.move(1, "val", 0, "any", []) == 1
    assert view.move(-1, "val", 3, "wall", []) == 2
    assert view.move(0, "train", 0, "any", []) == 0
    assert view.jump("train", " t05 ") == 5
    name, pictures, facts = view.draw("train", 5, 0.5, "depth")
    assert name == "t05"
    assert pictures.count("<img") == 4
    assert "uint16" in pictures
    assert "6 of 10" in facts
    with pytest.raises(gradio().Error, match="in this direction"):
        view.move(1, "val", 3, "any", [])
