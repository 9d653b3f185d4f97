"""memorysam completion."""

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from memorysam.commands.arguments import parse
from memorysam.config import packaged

DESCRIPTION = """Print a script that lets a shell complete verbs, their options, the values that an option may have, and
names of settings files, data sets and models that come with the package. In bash, for all shells to come:

  memorysam completion bash > ~/.local/share/bash-completion/completions/memorysam

and in zsh, where ~/.zfunc is in fpath before compinit runs:

  memorysam completion zsh > ~/.zfunc/_memorysam"""

_ZSH = """#compdef memorysam
autoload -U +X bashcompinit && bashcompinit
"""
_SCRIPT = """_memorysam() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]} options names values=
  COMPREPLY=()
  if [[ $COMP_CWORD -eq 1 ]]; then
    COMPREPLY=($(compgen -W "VERBS" -- "$cur"))
    return
  fi
  case "$verb" in
OPTIONS
    *) return ;;
  esac
  case "$verb $prev" in
VALUES
  esac
  if [[ -n $values ]]; then
    COMPREPLY=($(compgen -W "$values" -- "$cur"))
  elif [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$cur"))
  elif [[ $COMP_CWORD -eq 2 ]]; then
    COMPREPLY=($(compgen -W "$names" -- "$cur") $(compgen -f -- "$cur"))
  else
    COMPREPLY=($(compgen -f -- "$cur"))
  fi
}
complete -o filenames -F _memorysam memorysam
"""

_OPTION = re.compile(r"(?:^ *|│ *| {2,})(?:-h, )?(--[a-z][\w.-]*)(?: \[?\{([\w,.-]+)\})?", re.MULTILINE)


@dataclass
class Arguments:
    """Arguments of `memorysam completion`."""

    shell: Annotated[Literal["bash", "zsh"], tyro.conf.Positional]
    """Which shell."""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    arguments: Arguments = parse(Arguments, "completion", argv, DESCRIPTION)
    print(script(arguments.shell), end="")
    return 0


def script(shell: str) -> str:
    """Return the script for `bash` or `zsh`."""
    found, names = verbs(), _names()
    options, values = [], []
    for verb, main in found.items():
        known = _options(_help_of(main))
        options.append(f'    {verb}) options="{" ".join(known)}" names="{" ".join(names.get(verb, ()))}" ;;')
        values += [f'    "{verb} {key}") values="{" ".join(some)}" ;;' for key, some in known.items() if some]
    text = _SCRIPT.replace("VERBS", " ".join(found)).replace("OPTIONS", "\n".join(options))
    return (_ZSH if shell == "zsh" else "") + text.replace("VALUES", "\n".join(values))


def verbs() -> dict[str, Callable[[Sequence[str]], int]]:
    """Return all verbs with their functions."""
    from memorysam.commands import app, benchmark, cache, check_data, compare, demo, doctor, evaluate, export, info
    from memorysam.commands import make_scenes, predict, report, reproduce, share, train, view  # isort: skip

    return {
        "demo": demo.main, "train": train.main, "evaluate": evaluate.main, "predict": predict.main,
        "export": export.main, "app": app.main, "view": view.main, "check-data": check_data.main, "cache": cache.main,
        "reproduce": reproduce.main, "compare": compare.main, "make-scenes": make_scenes.main,
        "benchmark": benchmark.main, "share": share.main, "info": info.main, "report": report.main,
        "completion": main, "doctor": doctor.main,
    }  # fmt: skip


def _names() -> dict[str, list[str]]:
    """Return, by verb, what its first argument may be besides a file."""
    from memorysam.models.shipped import shipped

    models, datasets = list(shipped()), ["scenes", *packaged("datasets")]
    checkpoints = dict.fromkeys(("evaluate", "predict", "export", "app", "share", "info"), models)
    sets = dict.fromkeys(("check-data", "cache", "view"), datasets)
    return {"train": list(packaged()), "completion": ["bash", "zsh"], **checkpoints, **sets}


def _help_of(main: Callable[[Sequence[str]], int]) -> str:
    """Return the help of a verb, unwrapped."""
    caught = io.StringIO()
    with _wide(), contextlib.redirect_stdout(caught), contextlib.suppress(SystemExit):
        main(["--help"])
    return caught.getvalue()


@contextlib.contextmanager
def _wide() -> Iterator[None]:
    """Make a terminal of so many columns that no option is wrapped."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "400"
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def _options(text: str) -> dict[str, list[str]]:
    """Return the options that a help lists, each with the values that it may have, if they are few."""
    found: dict[str, list[str]] = {}
    for listed in _OPTION.finditer(text):  # boxes may stand side by side
        found.setdefault(listed[1], listed[2].split(",") if listed[2] else [])
    return found
