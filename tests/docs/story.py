"""A page, played from top to bottom on its stage."""

import ast
import io
import json
import re
import traceback
import warnings
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memorysam.cli import main

from . import described, shell
from .blocks import Block, Command, blocks, commands
from .reductions import AGAIN, less
from .stage import Stage
from .standins import GIVEN, absent

CODES = {"doctor": {0, 1}}
"""Exit codes that are right besides 0: the doctor may find something wrong with the machine."""
OUTPUT = "Output"
"""Title of a block that holds what the block of shell before it prints."""


@dataclass
class Said:
    """What a command printed."""

    out: str
    err: str


def quietly(call: Callable[[], object]) -> tuple[object, Said]:
    """Call something, and return what it printed as well; an exit is a value."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            value = call()
        except SystemExit as stop:
            value = stop.code
    return value, Said(out.getvalue(), err.getvalue())


def play(command: Command) -> Said:
    """Run a command of `memorysam`, made smaller, in the working folder; it must do what it was told."""
    words = [*command.words[1:], *less(command.text)]
    code, said = quietly(lambda: main(words))
    right = CODES.get(words[0], {0})
    assert code in right, f"{command.where}: {command.text}\nexits with {code}:\n{said.err[-3000:]}{said.out[-1000:]}"
    assert "Traceback" not in said.out + said.err, f"{command.where}: {command.text}\n{said.out}{said.err}"
    return said


class Story:
    """Plays blocks, one after the other.

    Args:
        page: its blocks.
        stage: its folder.
    """

    def __init__(self, page: Path, stage: Stage) -> None:
        self.blocks, self.stage = blocks(page), stage
        self.names: dict[str, Any] = {}
        self.printed = ""
        """By the last block of shell."""
        self.alone = False
        """Whether the last command of pip installs this package without others."""

    def run(self) -> None:
        """Play all of the page.

        Raises:
            AssertionError: begins with page and line.
        """
        with chdir(self.stage.home):
            for block in self.blocks:
                assert block.language in LANGUAGES, (
                    f"{block.at()}: this is fenced as {block.language!r}, no {LANGUAGES}"
                )
                for line, names in AGAIN.items():
                    if line in block.text:
                        for name in names:
                            self.stage.forget(name)
                getattr(self, block.language)(block)

    def play_one(self, command: Command) -> str:
        """Play a command that stands in no block."""
        with chdir(self.stage.home):
            return self.command(command)

    def sh(self, block: Block) -> None:
        """Each command by the one who knows its first word."""
        self.printed = ""
        for command in commands(block):
            self.printed += self.command(command)

    def command(self, command: Command) -> str:
        """Run one, and return what it prints."""
        first = command.words[0]
        if lacking := absent() & set(command.words):
            warnings.warn(f"{command.where}: not tried, for {min(lacking)} is made of ../shared", stacklevel=1)
            return ""
        if first == "memorysam":
            made = self._provide(command)
            said = play(command)
            for name in made:
                assert Path(name).exists(), f"{command.where}: {command.text}\nmakes no {name}"
            return said.out
        assert first in shell.HANDLERS, f"{command.where}: nobody knows how to try this: {command.text}"
        return shell.HANDLERS[first](self, command)

    def _provide(self, command: Command) -> list[str]:
        """Put on the stage what a command uses, and return the files and folders that it makes."""
        pairs = list(zip(command.words, command.words[1:], strict=False))
        made = [word for option, word in pairs if option == "--out"]
        new = {*made, *(word for option, word in pairs if option == "--to")}
        if command.words[1] == "train":
            for name in made:
                self.stage.withdraw(name)
        self.stage.provide(word for word in [*command.words, *less(command.text)] if word not in new)
        return made

    def python(self, block: Block) -> None:
        """In one interpreter for the whole page; names that nobody has made are those of `GIVEN`."""
        try:
            tree = ast.increment_lineno(ast.parse(block.text), block.line - 1)
        except SyntaxError as error:
            raise AssertionError(f"{block.at((error.lineno or 1) - 1)}: {error.msg}") from None
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        stored = {node.id for node in nodes if isinstance(node.ctx, ast.Store)}
        texts = [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        wanted = {node.id for node in nodes} - stored - set(self.names)
        self.stage.provide([*texts, *(["a.png"] if "array" in wanted else [])])
        for name in sorted(wanted & set(GIVEN)):
            self.names[name] = GIVEN[name]()
        try:
            quietly(lambda: exec(compile(tree, block.at(), "exec"), self.names))  # what pages tell their readers to run
        except Exception as error:
            (*_, line) = (f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == block.at())
            where = block.at(line - block.line)
            raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error

    def yaml(self, block: Block) -> None:
        """A file on the stage, read strictly as what it is."""
        described.check(block, self.stage)

    def json(self, block: Block) -> None:
        """What a file on the stage says, with `...` for more of the same."""
        assert block.title, f'{block.at()}: what file is this in? Say so: ```json title="FILE"'
        file = self.stage.home / block.title
        assert file.exists(), f"{block.at()}: no command above has made {block.title}"
        if file.suffix == ".onnx":
            import onnxruntime

            text = onnxruntime.InferenceSession(file).get_modelmeta().custom_metadata_map["memorysam"]
        else:
            text = file.read_text()
        described.same_shape(described.with_gaps(block), json.loads(text), block.at())

    def text(self, block: Block) -> None:
        """An illustration, or what was printed: the same words in the same order, whatever the numbers."""
        if block.title != OUTPUT:
            return
        left = [_words(line) for line in self.printed.splitlines()]
        for offset, line in enumerate(block.text.splitlines()):
            words = _words(line)
            assert words in left, f"{block.at(offset)}: the command above does not print this:\n{line}\n{self.printed}"
            left = left[left.index(words) + 1 :]


LANGUAGES = ("sh", "python", "yaml", "json", "text")


def _words(line: str) -> str:
    """A line without its numbers, however many stand side by side, and without what is there for alignment."""
    return re.sub(r"#( #)+", "#", re.sub(r"-{2,}", "--", " ".join(re.sub(r"-?\d[\d,.]*", "#", line).split())))
