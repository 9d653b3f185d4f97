"""The code blocks of README and docs, and the commands in them, each with the page and the line where it stands."""

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
_FENCE = re.compile(r"[ \t]*(?P<ticks>`{3,}|~{3,})[ \t]*(?P<language>[\w+-]*)(?P<rest>[^`]*)$")
_TITLE = re.compile(r'\btitle="([^"]+)"')


def in_navigation(branch: Any = None) -> set[str]:
    """Return the pages, from `docs`, that the site's navigation, or a branch of it, names."""
    if branch is None:
        branch = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    if isinstance(branch, str):
        return {branch}
    return set().union(*map(in_navigation, branch.values() if isinstance(branch, dict) else branch))


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix() if page.is_relative_to(ROOT) else page.name


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    page: Path
    line: int
    """Of its first line, from 1."""
    language: str
    title: str | None
    text: str

    def at(self, offset: int = 0) -> str:
        """Say where its line `offset` stands."""
        return f"{name_of(self.page)}:{self.line + offset}"


@dataclass(frozen=True)
class Command:
    """A line of a shell, or one of several that `&&` joins; lines that end in a backslash are one."""

    where: str
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(self.words)


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, also indented ones."""
    found: list[Block] = []
    opened: re.Match[str] | None = None
    began, lines = 0, []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is None:
            if fence:
                opened, began, lines = fence, number + 1, []
        elif fence and fence["ticks"].startswith(opened["ticks"]) and not fence["language"] + fence["rest"].strip():
            title = _TITLE.search(opened["rest"])
            text = textwrap.dedent("\n".join(lines)) + "\n"
            found.append(Block(page, began, opened["language"], title and title[1], text))
            opened = None
        else:
            lines.append(line)
    assert opened is None, f"{name_of(page)}:{began - 1}: this fence is never closed"
    return found


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a block of shell."""
    kept, began = "", 0
    for offset, line in enumerate(block.text.splitlines()):
        began = began if kept else offset
        kept += line.removesuffix("\\")
        if line.endswith("\\"):
            continue
        words: list[str] = []
        try:
            parts = shlex.split(kept, comments=True)
        except ValueError as error:
            raise AssertionError(f"{block.at(began)}: {error}: {kept}") from None
        for word in [*parts, "&&"]:
            if word != "&&":
                words.append(word)
            elif words:
                yield Command(block.at(began), tuple(words))
                words = []
        kept = ""
