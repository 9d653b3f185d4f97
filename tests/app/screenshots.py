"""Pictures of the pages for docs/look.md, taken in a headless Chromium.

python -m tests.app.screenshots runs/micro --out docs/pictures
"""

import argparse
import io
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import memorysam
from memorysam.app import examples, serve
from memorysam.app.browse import Browser
from memorysam.app.layout import Layout
from memorysam.app.page import Page
from memorysam.app.session import Session
from memorysam.app.view_page import ViewPage
from memorysam.config import DataSettings
from memorysam.data.catalog import open_dataset

from . import browser

LARGEST = 200_000
"""Bytes of a picture."""


def save(png: bytes, path: Path) -> None:
    """Write a picture with as many colours as its size allows."""
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in (256, 128, 64, 32):
        data = io.BytesIO()
        picture.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
            data, "PNG", optimize=True
        )
        if data.tell() < LARGEST:
            break
    path.write_bytes(data.getvalue())
    print(f"{path}: {picture.width} x {picture.height}, {colours} colours, {data.tell()} bytes")


def app(checkpoint: Path, example: int, off: str, out: Path) -> None:
    session = Session(memorysam.load(checkpoint, device="cpu"))
    found, _ = examples.of_run(session.predictor.model)
    with TemporaryDirectory() as downloads, serve.folder() as folder:
        layout = Layout(Page(session, found, folder), "memorysam: micro", ["four sensors, one switched off"])
        with (
            serve.served(layout.blocks, serve.Address(browser=False)) as url,
            browser.tab(url, Path(downloads), 1400, 1128) as page,
        ):
            before = page.image("#segmentation")
            for _ in range(example):
                page.press("#next")
                before = page.changed("#segmentation", before)
            page.tick(off)
            before = page.changed("#segmentation", before)
            page.click_at("#segmentation", 0.62, 0.62)
            page.changed("#segmentation", before)
            page.until(lambda: page.all("#attention img"))
            time.sleep(1)  # until nothing moves any more
            save(page.picture(), out / "app.png")


def view(out: Path) -> None:
    data = open_dataset(DataSettings(), (256, 256))
    browsers = {split: Browser(data.source(split), data.usual) for split in data.splits}
    with (
        TemporaryDirectory() as downloads,
        serve.folder(),
        serve.served(ViewPage(browsers, "val", "memorysam: scenes").blocks, serve.Address(browser=False)) as url,
        browser.tab(url, Path(downloads), 1400, 770) as page,
    ):
        page.image("#sample")
        time.sleep(1)
        save(page.picture(), out / "view.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--example", type=int, default=0, help="which one, from 0")
    parser.add_argument("--off", default="depth", help="the sensor that is switched off")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    arguments = parser.parse_args()
    app(arguments.checkpoint, arguments.example, arguments.off, arguments.out)
    view(arguments.out)


if __name__ == "__main__":
    main()
