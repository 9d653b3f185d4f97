"""What README and docs tell people to type exists."""

import re
import shlex
from pathlib import Path

import pytest

from memorysam.cli import VERBS, main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MODALITIES = {"--rgb", "--disparity", "--depth", "--lidar"}


def commands(page):
    """All `memorysam ...` in code blocks and tables, lines that end in a backslash joined."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        found = re.match(r"(?:\| `)?(memorysam [^`|]*)", line)
        if found:
            yield shlex.split(found[1].split("   #")[0])


@pytest.fixture(scope="module")
def known():
    return {}


def options_of(verb, known, capsys):
    if verb not in known:
        main([verb, "--help"])
        known[verb] = set(re.findall(r"--[a-z][a-z0-9.-]*", capsys.readouterr().out))
    return known[verb]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page, known, capsys):
    for words in commands(page):
        verb = words[1]
        assert verb in VERBS, words
        extra = MODALITIES if verb == "predict" else {"--key"} if verb == "train" else set()
        for word in words[2:]:
            if word.strip("[]").startswith("--"):
                assert word.strip("[]") in options_of(verb, known, capsys) | extra, words


def test_there_are_commands_to_check():
    assert sum(1 for page in PAGES for _ in commands(page)) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_targets_of_make_that_are_named_exist():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= targets
    assert set(re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE)) <= targets
