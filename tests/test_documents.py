"""What README and docs tell people to type in their words and tables exists; blocks of code run, in tests/docs."""

import re
import shlex

import pytest

from memorysam.cli import VERBS, main

from .docs.blocks import PAGES, ROOT, in_navigation, name_of

MODALITIES = {"--rgb", "--disparity", "--depth", "--lidar"}


def words_of(page):
    """The page without its blocks."""
    return re.sub(r"^([ \t]*)(```+).*?^[ \t]*\2[ \t]*$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)


def commands(page):
    """All `memorysam VERB ...` between backticks, also where the line breaks between them."""
    for text in re.findall(r"(?<!`)`(memorysam\s[^`]+)`(?!`)", words_of(page)):
        words = shlex.split(text)
        if re.fullmatch(r"-?-?[a-z-]+", words[1]) and words[1] not in ("--help", "--version"):
            yield words


@pytest.fixture(scope="module")
def known():
    return {}


def options_of(verb, known, capsys):
    if verb not in known:
        main([verb, "--help"])
        known[verb] = set(re.findall(r"--[a-z][a-z0-9.-]*", capsys.readouterr().out))
    return known[verb]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_options_exist(page, known, capsys):
    for words in commands(page):
        verb = words[1]
        assert verb in VERBS, words
        extra = MODALITIES if verb == "predict" else {"--key"} if verb == "train" else set()
        for word in words[2:]:
            if word.strip("[]").startswith("--"):
                assert word.strip("[]") in options_of(verb, known, capsys) | extra, words


def test_there_are_commands_to_check():
    assert sum(1 for page in PAGES for _ in commands(page)) > 40


def test_links_to_files_lead_somewhere():
    """Files, or pages that the site makes; that it makes them, and that anchors exist, its strict build tells."""
    made = {(ROOT / "docs" / name).resolve() for name in in_navigation()}
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", words_of(page)):
            place = (page.parent / target).resolve()
            assert place.exists() or place in made, f"{name_of(page)}: {target}"
