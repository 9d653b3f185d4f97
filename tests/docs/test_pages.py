"""Every block of code in README and docs does what it says."""

import re

import pytest

from .blocks import PAGES, ROOT, Command, blocks, commands, name_of
from .reductions import AGAIN, LESS, less
from .shell import ELSEWHERE
from .standins import GIVEN, KEPT, OWN, PLACEHOLDERS
from .story import Story

COMMAND = re.compile(r"\s*(\$\s+)?(memorysam|python3?|pip|make|accelerate|docker|git)\s")
README = ROOT / "README.md"
FULL = [page for page in PAGES if blocks(page)]


@pytest.fixture
def whole():
    for name in ("gradio", "onnxruntime"):
        pytest.importorskip(name, reason=f"pages use it: pip install -e '.[test]' brings {name}")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", FULL, ids=name_of)
def test_a_page_can_be_followed_from_top_to_bottom(page, stage, whole):
    Story(page, stage).run()


@pytest.mark.slow
def test_what_only_a_table_names_runs_too(stage, whole):
    in_blocks = {command.words[1] for command in everything() if command.words[0] == "memorysam"}
    story = Story(README, stage)
    ran = set()
    for number, line in enumerate(README.read_text(encoding="utf-8").splitlines(), 1):
        if found := re.match(r"\| `memorysam ([^`]*)` \|", line):
            words = re.sub(r"\[.*\]|\.\.\.", "", found[1]).split()
            if words[0] not in in_blocks:
                words = [part for word in words for part in PLACEHOLDERS.get(word, word).split()]
                story.play_one(Command(f"README.md:{number}", ("memorysam", *words)))
                ran.add(words[0])
    assert {"report", "completion", "make-scenes"} <= ran


def everything():
    return [command for page in FULL for block in blocks(page) if block.language == "sh" for command in commands(block)]


def test_no_illustration_hides_a_command():
    for page in FULL:
        for block in (block for block in blocks(page) if block.language == "text"):
            for offset, line in enumerate(block.text.splitlines()):
                assert not COMMAND.match(line), f"{block.at(offset)}: fence this as sh, so that it is tried: {line}"


def test_there_is_something_to_try():
    languages = [block.language for page in FULL for block in blocks(page)]
    assert len(everything()) > 70
    assert {name: languages.count(name) >= least for name, least in (("python", 7), ("yaml", 7), ("json", 1))} == {
        "python": True, "yaml": True, "json": True,
    }  # fmt: skip


def test_no_entry_of_the_tables_is_left_over():
    """A reduction, an exception or a stand-in that no page uses any more is a lie about what is tried."""
    texts = [command.text for command in everything()]
    code = "\n".join(block.text for page in FULL for block in blocks(page))
    table = set(" ".join(PLACEHOLDERS.values()).split())
    used = {key for key in LESS if any(f"{text} ".startswith(f"{key} ") for text in texts)}
    assert set(LESS) - used <= {"memorysam demo"}  # which `make demo` runs
    assert set(texts) >= ELSEWHERE
    assert all(line in code for line in AGAIN)
    words = {word for text in texts for word in [*text.split(), *less(text)]} | table
    for name in {**KEPT, **OWN}:
        assert any(word == name or word.startswith(f"{name}/") for word in words) or name in code, name
    assert all(re.search(rf"\b{name}\b", code) for name in GIVEN)
