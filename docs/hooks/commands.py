"""The page of all commands: what each one's `--help` prints."""

import contextlib
import io
import os
from unittest.mock import patch

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from memorysam.cli import VERBS, main

HEAD = """# Commands

What `memorysam VERB --help` prints. Each command exits with 0 when it is done, with 2 after a mistake that its message
explains, with 130 or 143 when it was stopped by Ctrl-C or SIGTERM.
"""
WIDTH = "76"
"""Columns, as many as the page has room for."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    parts = [HEAD]
    for verb, about in VERBS.items():
        parts += [f"## {verb}", f"{about[0].upper()}{about[1:]}.", f"```text\n{_help(verb)}\n```"]
    files.append(File.generated(config, "commands.md", content="\n\n".join(parts) + "\n"))
    return files


def _help(verb: str) -> str:
    said = io.StringIO()
    with patch.dict(os.environ, COLUMNS=WIDTH), contextlib.redirect_stdout(said):
        code = main([verb, "--help"])
    if code != 0:
        raise RuntimeError(f"memorysam {verb} --help exits with {code}")
    return said.getvalue().strip("\n")
