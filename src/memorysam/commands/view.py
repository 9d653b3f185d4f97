"""memorysam view."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from memorysam.commands.arguments import parse, print_json
from memorysam.errors import DataError, SettingsError, listing

if TYPE_CHECKING:
    from memorysam.app.browse import Browser

DESCRIPTION = """Look at a data set in the browser: modalities beside each other, the label over them, the classes
of each sample; one after the other, only those with a class or a tag, or one by its name.

  memorysam view configs/datasets/potholes.yaml --root ../shared/data/potholes
  memorysam view scenes --split train
  memorysam view deliver --root data/DELIVER --split val --tag condition=fog --out fog.png

With --out it writes a sheet of pictures instead, a row for each sample; that needs no browser, and no gradio."""


@dataclass
class Arguments:
    """Arguments of `memorysam view`."""

    dataset: Annotated[str, tyro.conf.Positional]
    """A dataset.yaml, a folder that holds one, or a name: deliver, mcubes, ..., scenes."""
    root: Path | None = None
    """Folder of the data; overrides the one in the file."""
    split: str | None = None
    """Which part, or which is shown first; by default val, if there is one."""
    modalities: tuple[str, ...] | None = None
    """Show these only; all that the data set usually has if left out."""
    out: Path | None = None
    """Write a sheet of pictures there (PNG), and serve no page."""
    count: int = 8
    """How many samples on the sheet."""
    start: str | None = None
    """Name of the first sample on the sheet."""
    class_name: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """Only samples with this class on the sheet."""
    tag: tuple[str, ...] = ()
    """Only samples with these tags on the sheet, such as condition=fog."""
    height: int = 128
    """Of each picture on the sheet."""
    size: tuple[int, int] = (256, 256)
    """Height and width of rendered scenes."""
    host: str = "127.0.0.1"
    """Address of this machine at which the page is served; 0.0.0.0 lets others in."""
    port: int | None = None
    """By default the first that is free from 7860 on."""
    no_browser: bool = False
    """Do not open a browser."""
    json: bool = False
    """With --out: print JSON instead of words."""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    own = parse(Arguments, "view", argv, DESCRIPTION)
    _check(own)
    from memorysam.app import serve
    from memorysam.app.browse import Browser
    from memorysam.config import DataSettings
    from memorysam.data.catalog import open_dataset
    from memorysam.training.progress import say

    if own.out is None:
        serve.library()  # before any work
    dataset = open_dataset(DataSettings(dataset=own.dataset, root=own.root), own.size)
    split = own.split or ("val" if "val" in dataset.splits else dataset.splits[0])
    names = tuple(own.modalities or dataset.usual)
    browser = Browser(dataset.source(split, names), names)
    if own.out is not None:
        return _sheet(own, browser, split)
    browsers = {}
    for other in dataset.splits:
        try:
            browsers[other] = browser if other == split else Browser(dataset.source(other, names), names)
        except DataError as error:
            say(f"split {other} is left out: {error.what}")
    with serve.folder():
        from memorysam.app.view_page import ViewPage

        page = ViewPage(browsers, split, f"memorysam: {dataset.name}")
        serve.until_stopped(page.blocks, serve.Address(own.host, own.port, not own.no_browser), say)
    return 0


def _check(own: Arguments) -> None:
    """Raise on what can be told before anything is read.

    Raises:
        SettingsError: names the option.
    """
    if own.out is None:
        for name in ("count", "start", "tag", "height", "json"):
            if getattr(own, name) != getattr(Arguments, name):
                raise SettingsError(
                    "it has an effect with --out only", where=f"--{name}", fix="add --out, or leave it out"
                )
        if own.class_name is not None:
            raise SettingsError("it has an effect with --out only", where="--class", fix="add --out, or leave it out")
        return
    if own.out.suffix.lower() != ".png":
        raise SettingsError("the sheet is a PNG", where=f"--out {own.out}", fix="end its name in .png")
    for name, least in (("count", 1), ("height", 16)):
        if getattr(own, name) < least:
            raise SettingsError(
                f"wrong value {getattr(own, name)}", where=f"--{name}", expected=f"a number from {least}"
            )
    for tag in own.tag:
        if not all(tag.partition("=")):
            raise SettingsError(f"{tag!r} is no tag", where="--tag", expected="NAME=VALUE, such as condition=fog")


def _sheet(own: Arguments, browser: "Browser", split: str) -> int:
    from memorysam.app.browse import Filter
    from memorysam.evaluation.pictures import encode_png
    from memorysam.files import write_bytes

    if own.out is None:
        raise AssertionError("no sheet is asked for")
    wanted = Filter(tuple((k, v) for k, _, v in (tag.partition("=") for tag in own.tag)), own.class_name)
    known = browser.source.tags(0)
    if unknown := [name for name, _ in wanted.tags if name not in known]:
        raise DataError(f"samples have no tag {listing(unknown)}", expected=listing(known) or "no tags in these data")
    start = 0 if own.start is None else browser.index_of(own.start)
    chosen = list(islice(browser.matching(wanted, start), own.count))
    if not chosen:
        raise DataError(f"no sample of {split} fits", fix="ask for less, or for another split")
    write_bytes(own.out, encode_png(browser.sheet(chosen, own.height)))
    ids = [browser.source.ids[index] for index in chosen]
    if own.json:
        print_json({"out": str(own.out), "split": split, "ids": ids})
    else:
        print(f"{len(ids)} samples of {split} written to {own.out}")
    return 0
