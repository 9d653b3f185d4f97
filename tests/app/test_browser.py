"""The pages in a real browser."""

from contextlib import ExitStack

import cv2
import numpy as np
import pytest

from memorysam.app import serve
from memorysam.app.browse import Browser
from memorysam.app.examples import Examples
from memorysam.app.page import Page
from memorysam.config import DataSettings
from memorysam.data.catalog import open_dataset

from . import browser
from .conftest import images

pytestmark = [pytest.mark.slow, pytest.mark.skipif(browser.missing() is not None, reason=str(browser.missing()))]


class Stored:
    """Two samples for the model of three sensors."""

    ids = ("one", "two")

    def read(self, index, names):
        from memorysam.data.raw import Raw

        return Raw({name: images(seed=index)[name] for name in names}, None, self.ids[index])


@pytest.fixture
def opened(session, tmp_path):
    """The page of the model in a browser."""
    from memorysam.app.layout import Layout

    downloads = tmp_path / "downloads"
    downloads.mkdir()
    with ExitStack() as stack:
        folder = stack.enter_context(serve.folder())
        examples = Examples("stored", Stored(), session.task.names, (0, 1))
        layout = Layout(Page(session, examples, folder), "a model", [])
        url = stack.enter_context(serve.served(layout.blocks, serve.Address(browser=False)))
        yield stack.enter_context(browser.tab(url, downloads))


def test_sensors_clicks_downloads_and_uploads(opened, session, tmp_path):
    page = opened
    first = page.image("#segmentation")
    assert "3 of 3" in page.text("#summary")
    difference = page.image("#difference")

    page.tick("range")
    without = page.changed("#segmentation", first)
    page.changed("#difference", difference)
    page.until(lambda: "2 of 3" in page.text("#summary"))
    assert len(page.all("#inputs .ms-off")) == 1

    assert "Click on" in page.text("#attention")
    page.click_at("#segmentation", 0.25, 0.75)
    page.until(lambda: len(page.all("#attention img")) == 1)  # bands at colour: range is off
    row, column = (0.25 * 50, 0.75 * 81)
    said = page.text("#attention")
    found = [int(word.strip(",:")) for word in said.split("Row ")[1].replace("column", "").split()[:2]]
    assert np.allclose(found, (row, column), atol=2)
    page.changed("#segmentation", without)  # a ring is drawn

    page.press("#save")
    labels = cv2.imread(str(page.download(0)), cv2.IMREAD_UNCHANGED)
    given = {name: images()[name] for name in ("colour", "bands")}
    assert np.array_equal(labels, session.predictor.predict(given).labels)

    before = page.image("#segmentation")
    np.save(tmp_path / "deep16.npy", images(seed=5)["range"])
    (tmp_path / "broken.png").write_bytes(b"no picture")
    page.open("Own images")
    page.upload("range", tmp_path / "deep16.npy")
    page.press("#segment")
    page.changed("#segmentation", before)
    page.until(lambda: "1 of 1" in page.text("#summary"))
    page.upload("colour", tmp_path / "broken.png")
    page.press("#segment")
    page.until(lambda: "broken.png" in page.text(".toast-wrap, [data-testid=toast-body]"))
    assert "Traceback" not in page.text("body")
    assert "1 of 1" in page.text("#summary")


def test_a_data_set_is_browsed(tmp_path):
    from memorysam.app.view_page import ViewPage

    data = open_dataset(DataSettings(scenes=(1, 6, 1)), (64, 64))
    shown = Browser(data.source("val"), ("rgb", "depth"))
    with (
        serve.folder(),
        serve.served(ViewPage({"val": shown}, "val", "scenes").blocks, serve.Address(browser=False)) as url,
        browser.tab(url, tmp_path) as page,
    ):
        first = page.image("#sample")
        assert len(page.all("#sample img")) == 4
        page.press("#next")
        page.until(lambda: "2 of 6" in page.text("#histogram"))
        page.changed("#sample", first)
