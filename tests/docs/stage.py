"""The folder in which a page is played: a checkout with what the page's commands use, and stand-ins."""

import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import chdir
from pathlib import Path

from filelock import FileLock

from ..models.hub_server import Hub
from .blocks import ROOT
from .standins import HUB, KEPT, NEEDS, OWN

COPIED = ("configs", "benchmarks", "Makefile", "constraints.txt", "pyproject.toml", "LICENSE")


class Shelf:
    """Stand-ins that all pages and all processes of a run of the tests share.

    Args:
        folder: where they are kept.
        play: runs a command, in the working folder.
    """

    def __init__(self, folder: Path, play: Callable[[str], object]) -> None:
        self.home, self.play = folder / "checkout", play
        self.home.mkdir(parents=True, exist_ok=True)

    def get(self, name: str) -> Path:
        """Return where a stand-in is; it is made when it is first asked for."""
        lock = FileLock(self.home.parent / "lock")
        with lock, chdir(self.home):
            self._make(name)
        return self.home / name

    def _make(self, name: str) -> None:
        done = self.home.parent / f"{name.replace('/', '-')}.done"
        if done.exists():
            return
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        how = (KEPT | HUB)[name]
        for other in KEPT:
            if other != name and (other == NEEDS.get(name) or (isinstance(how, str) and other in how.split())):
                self._make(other)
        if isinstance(how, str):
            self.play(how)
        else:
            how(Path(os.path.normpath(path)))
        done.touch()


class Stage:
    """What a page finds.

    Args:
        folder: empty.
        shelf: of stand-ins.
        hub: which may be asked for revisions of what a page has put there.
    """

    def __init__(self, folder: Path, shelf: Shelf, hub: Hub) -> None:
        self.home, self.shelf, self.hub = folder / "checkout", shelf, hub
        self.stood: set[str] = set()
        """Names of the stand-ins that are here."""
        (self.home / "docs" / "pictures").mkdir(parents=True)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, self.home / name, ignore=shutil.ignore_patterns("results", "__pycache__"))
            else:
                shutil.copyfile(source, self.home / name)

    def provide(self, words: Iterable[str]) -> None:
        """Put here whatever of the words is, or lies in, something that has a stand-in."""
        for word in words:
            repository, _, revision = word.partition("@")
            if revision and repository in self.hub.branches:
                self.hub.branches[repository].setdefault(revision, self.hub.at(repository, "main"))
            for name in [*KEPT, *OWN, *NEEDS]:
                if word == name or word.startswith(f"{name}/"):
                    self._put(name)

    def _put(self, name: str) -> None:
        if name in NEEDS:
            self._put(NEEDS[name])
        place = Path(os.path.normpath(self.home / name))
        if place.exists() or name not in KEPT | OWN:
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        self.stood.add(name)
        if name in OWN:
            OWN[name](place)
            return
        kept = self.shelf.get(name)
        shutil.copytree(kept, place) if kept.is_dir() else shutil.copyfile(kept, place)

    def forget(self, name: str) -> None:
        """Take away what the page has made, here and on the Hub, so that it can be made in another way."""
        shutil.rmtree(self.home / name, ignore_errors=True)
        self.hub.branches.pop(name, None)

    def withdraw(self, name: str) -> None:
        """Take away a stand-in, for the page makes the thing itself."""
        if name in self.stood:
            shutil.rmtree(self.home / name)
            self.stood.remove(name)
