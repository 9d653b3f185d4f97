"""Commands of others, each by its first word: tried for real where that can be, else what it rests on is looked at."""

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distribution, packages_distributions
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..app import browser
from ..project import PROJECT
from .blocks import ROOT, Command
from .reductions import less

if TYPE_CHECKING:
    from .story import Story

EXTRAS = {name: [Requirement(text) for text in words] for name, words in PROJECT["optional-dependencies"].items()}
NEEDED = [Requirement(text) for text in PROJECT["dependencies"]]

ELSEWHERE = {
    # Asks a server; a test in tests/test_security.py does so where it can.
    "pip-audit --requirement constraints.txt --no-deps --disable-pip",
}
"""Commands that are not run here, word for word."""
BY_MAKE = ("@echo", "@touch", ".venv/bin/python -m pip install", ".venv/bin/ruff", ".venv/bin/mypy", ".venv/bin/pytest")
"""What `make` runs besides `memorysam`: the set-up, and checks of which this is one."""
BESIDE = ("pip-audit",)
"""Packages that pages tell people to install and that the project itself does not use."""


def elsewhere(story: "Story", command: Command) -> str:
    assert command.text in ELSEWHERE, f"{command.where}: nobody knows how to try this: {command.text}"
    for word in command.words:
        assert not word.endswith(".txt") or (ROOT / word).exists(), f"{command.where}: there is no {word}"
    return ""


def source(story: "Story", command: Command) -> str:
    """`. FILE`: the page has made it."""
    assert (story.stage.home / command.words[1]).exists(), f"{command.where}: no command above makes {command.words[1]}"
    return ""


def pip(story: "Story", command: Command) -> str:
    """Nothing is installed, but what is named exists: files, extras, packages of the project."""
    words = list(command.words[1:])
    assert words.pop(0) == "install", f"{command.where}: {command.text}"
    alone = "--no-deps" in words
    names = []
    while words:
        word = words.pop(0)
        if word in ("-c", "--constraint", "-r", "--requirement"):
            assert (ROOT / words[0]).is_file(), f"{command.where}: there is no {words.pop(0)}"
            words[:1] = []
        elif word not in ("-e", "--editable", "--no-deps"):
            assert not word.startswith("-"), f"{command.where}: nobody knows {word} of pip"
            names.append(Requirement(re.sub(r"^\.(?=\[|$)", "memorysam", word)))
    known = {canonicalize_name(one.name) for one in (*NEEDED, *(one for extra in EXTRAS.values() for one in extra))}
    for one in names:
        assert canonicalize_name(one.name) in known | {"memorysam", *BESIDE}, f"{command.where}: what is {one.name}?"
        missing = one.extras - set(EXTRAS) if one.name == "memorysam" else set()
        assert not missing, f"{command.where}: there is no extra {min(missing)}"
    if story.alone and not alone:
        enough(story, command, {canonicalize_name(one.name) for one in names})
    story.alone = alone
    return ""


USED = """
import json, sys
before = set(sys.modules)
from memorysam.cli import main
code = main(sys.argv[1:])
print(json.dumps([code, sorted({name.partition(".")[0] for name in set(sys.modules) - before})]))
"""


def enough(story: "Story", command: Command, named: set[str]) -> None:
    """Packages beside `memorysam` alone are those that a prediction imports, with the page's first exported file."""
    file = min(story.stage.home.glob("*.onnx"), key=lambda path: path.stat().st_mtime)
    words = [sys.executable, "-c", USED, "predict", file.name, "--rgb", "a.jpg", "--disparity", "a.png"]
    done = subprocess.run(words, cwd=story.stage.home, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command.where}: {done.stderr}"
    code, modules = json.loads(done.stdout.splitlines()[-1])
    owners = packages_distributions()
    used = {canonicalize_name(owner) for module in modules for owner in owners.get(module, ())} - {"memorysam"}
    brought, waiting = set(named), list(named)
    while waiting:
        for text in distribution(waiting.pop()).requires or ():
            one = Requirement(text)
            name = canonicalize_name(one.name)
            if name not in brought and (one.marker is None or one.marker.evaluate({"extra": ""})):
                brought.add(name)
                waiting.append(name)
    assert code == 0, f"{command.where}: {done.stderr}"
    assert used <= brought, f"{command.where}: {sorted(used - brought)} would be missing"
    assert named <= used, f"{command.where}: {sorted(named - used)} is not used"


def make(story: "Story", command: Command) -> str:
    """What `make` would run, as it says itself: commands of `memorysam` are run, others are known ones."""
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", *command.words[1:]],
        cwd=story.stage.home,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},  # `make test` runs this
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command.where}: {done.stderr}"
    said, lines = "", done.stdout.splitlines()
    assert lines, f"{command.where}: nothing to do"
    for line in lines:
        if line.startswith(".venv/bin/memorysam "):
            said += story.command(Command(command.where, ("memorysam", *line.split()[1:])))
        else:
            known = line.startswith(("python3 -c ", "python3 -m venv ", "echo ", "touch ", *BY_MAKE))
            assert known, f"{command.where}: nobody knows how to try what this runs: {line}"
    return said


def python(story: "Story", command: Command) -> str:
    """A module or a script, in this process; pytest in one of its own."""
    from .story import quietly

    words = [*command.words[1:], *less(command.text)]
    module = words[0] == "-m"
    name, rest = (words[1], words[2:]) if module else (words[0], words[1:])
    if name in ("pytest", "venv"):
        done = subprocess.run(
            [sys.executable, *words], cwd=ROOT if name == "pytest" else story.stage.home, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command.where}: {command.text}\n{done.stdout[-3000:]}{done.stderr}"
        return done.stdout
    assert module or (story.stage.home / name).is_file(), f"{command.where}: there is no {name}"
    if name == "tests.app.screenshots" and browser.missing():
        rest = ["--help"]  # only that it is there
    story.stage.provide(rest)

    def call() -> None:
        before, sys.argv = sys.argv, [name, *rest]
        try:
            runpy.run_module(name, run_name="__main__") if module else runpy.run_path(name, run_name="__main__")
        finally:
            sys.argv = before

    try:
        code, said = quietly(call)
    except Exception as error:
        raise AssertionError(f"{command.where}: {command.text}\n{type(error).__name__}: {error}") from error
    assert code in (0, None), f"{command.where}: {command.text}\nexits with {code}: {said.err[-3000:]}"
    return said.out


HANDLERS: dict[str, Callable[["Story", Command], str]] = {
    ".": source,
    "make": make,
    "pip": pip,
    "pip-audit": elsewhere,
    "python": python,
    "python3": python,
}
