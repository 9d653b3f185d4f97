"""memorysam app."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from memorysam.commands.arguments import parse
from memorysam.errors import SettingsError

DESCRIPTION = """Look at a model in the browser: switch sensors off, add noise, see what it makes of that, where
it is sure, and where its sensors look in the memory of earlier ones.

  memorysam app runs/potholes
  memorysam app runs/rgbdel --examples deliver --root data/DELIVER --split test
  memorysam app runs/rgbdel --port 8000 --no-browser

Examples are those that are named, else some of the validation split that the model was trained with, else rendered
scenes, if they fit the model; own images can be chosen on the page. It can be reached from this machine only, unless
--host says otherwise. Ctrl-C ends it. Needs gradio: pip install 'memorysam[app]'."""


@dataclass
class Arguments:
    """Arguments of `memorysam app`."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """Run folder or checkpoint."""
    examples: str | None = None
    """A dataset.yaml, or 'scenes'."""
    root: Path | None = None
    """Folder of the data."""
    split: str | None = None
    """Which part of the examples; by default the validation split."""
    host: str = "127.0.0.1"
    """Address of this machine at which the page is served; 0.0.0.0 lets others in."""
    port: int | None = None
    """By default the first that is free from 7860 on."""
    no_browser: bool = False
    """Do not open a browser."""
    base: str | None = None
    """Of a light checkpoint: the weights that its training started from, a file, a folder or a Hub id."""
    device: str = "auto"
    """auto, cpu, cuda."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: weights and activations of bfloat16; faster, and seldom another class at a pixel."""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    own = parse(Arguments, "app", argv, DESCRIPTION)
    for name in ("root", "split"):
        if own.examples is None and getattr(own, name) is not None:
            raise SettingsError(f"--{name} is about the examples", where=f"--{name}", fix="add --examples")
    from memorysam.app import examples, serve
    from memorysam.loading import load
    from memorysam.training.progress import say

    serve.library()  # before any work
    predictor = load(own.checkpoint, device=own.device, base=own.base)
    predictor.for_inference(own.precision)
    found: examples.Examples | None
    if own.examples is not None:
        about = predictor.model.origin.about if predictor.model.origin is not None else {}
        found = examples.named(predictor.model.task, own.examples, own.root, own.split, examples.data_of(about))
    else:
        found, why = examples.of_run(predictor.model)
        say(f"examples: {why}" if found is not None else why)
    with serve.folder() as folder:
        from memorysam.app.layout import Layout
        from memorysam.app.page import Page
        from memorysam.app.session import Session

        page = Layout(Page(Session(predictor), found, folder), f"memorysam: {own.checkpoint.name}", facts(predictor))
        serve.until_stopped(page.blocks, serve.Address(own.host, own.port, not own.no_browser), say)
    return 0


def facts(predictor: object) -> list[str]:
    """Return what is said of the model beside the title."""
    from memorysam.predict import Predictor

    if not isinstance(predictor, Predictor):
        raise TypeError(f"{type(predictor).__name__} is no Predictor")
    task, about = predictor.model.task, predictor.model.settings()
    height, width = task.image_size
    return [
        f"{about['name']}, {about['backbone']}" if "backbone" in about else str(about["name"]),
        f"{len(task.sensors)} sensors, {len(task.classes)} classes, sees {height} x {width}",
    ]
