"""A small world: the Hub is on this machine, backbones are narrow, and a page in the browser ends when it was seen."""

from dataclasses import replace
from urllib.request import urlopen

import pytest

from memorysam.app import serve
from memorysam.config import RunSettings
from memorysam.experiments import runner
from memorysam.models import mit, sam2_sizes
from memorysam.strict import build

from ..models.hub_server import TOKEN, live_at
from ..models.hub_server import serve as hub_server
from .blocks import Command
from .reductions import BACKBONES, CONSTANTS, MIT, RUNS
from .stage import Shelf, Stage
from .standins import HUB
from .story import play


@pytest.fixture(scope="module")
def small():
    """Make what the pages have made smaller."""
    with pytest.MonkeyPatch.context() as patch:
        for name in set(sam2_sizes.BACKBONES) - {"micro"}:
            less = BACKBONES[name.partition("-")[2]]
            patch.setitem(sam2_sizes.BACKBONES, name, replace(sam2_sizes.BACKBONES[name], **less))
        for name in set(mit.BACKBONES) - {"micro"}:
            patch.setitem(mit.BACKBONES, name, replace(mit.BACKBONES[name], **MIT))
        for name, value in CONSTANTS.items():
            patch.setattr(name, value)
        train = runner.train

        def shorter(settings, folder, **options):
            values = settings.model_dump()
            for key, value in RUNS.items():
                group, _, name = key.partition(".")
                values[group][name] = value
            return train(build(RunSettings, values, "tests"), folder, **options)

        patch.setattr(runner, "train", shorter)
        patch.setattr(serve, "until_stopped", seen)
        yield


def seen(page, address, say):
    """Serve a page until it was asked for once."""
    with serve.served(page, address) as url, urlopen(url) as answer:
        assert answer.status == 200
        say(url)


@pytest.fixture(scope="module")
def shelf(small, tmp_path_factory, worker_id):
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "docs-shelf"
    return Shelf(folder, lambda text: play(Command("a stand-in", tuple(text.split()))))


@pytest.fixture(scope="module")
def hub(shelf, tmp_path_factory):
    """The Hub, with the weights that pages name."""
    with hub_server() as (server, address), pytest.MonkeyPatch.context() as patch:
        live_at(patch, address, tmp_path_factory.mktemp("hub-cache"))
        patch.setenv("HF_TOKEN", TOKEN)
        for name in HUB:
            server.private[name] = False
            server.commit(name, "main", {path.name: path.read_bytes() for path in shelf.get(name).iterdir()})
        yield server


@pytest.fixture
def stage(hub, shelf, tmp_path):
    for name in set(hub.branches) - set(HUB):
        del hub.branches[name]
    return Stage(tmp_path, shelf, hub)
