import re
import shutil
import subprocess

import pytest

from memorysam.cli import VERBS, main
from memorysam.commands import completion
from memorysam.config import packaged


@pytest.fixture(scope="module")
def bash():
    return completion.script("bash")


@pytest.fixture(scope="module")
def complete(bash, tmp_path_factory):
    """Ask a shell what the last of some words may become."""
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    folder = tmp_path_factory.mktemp("completion")
    (folder / "script").write_text(bash)

    def ask(*words):
        state = f'COMP_WORDS=("$@"); COMP_CWORD={len(words)}'
        asked = f'source ./script; {state}; _memorysam; printf "%s\\n" "${{COMPREPLY[@]}}"'
        command = ["bash", "-uc", asked, "bash", "memorysam", *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    return ask


def test_every_verb_is_known():
    assert completion.verbs().keys() == VERBS.keys()


def test_verbs_are_completed(complete):
    assert complete("tr") == ["train"]
    assert set(complete("")) == VERBS.keys()


@pytest.mark.parametrize("verb", VERBS)
def test_options_are_those_of_the_help(verb, complete, capsys):
    main([verb, "--help"])
    listed = set(re.findall(r"^[\s│]*(?:-h, )?(--[a-z][\w.-]*)", capsys.readouterr().out, re.MULTILINE))
    assert set(complete(verb, "x", "--")) == listed
    assert "--help" in listed


def test_values_and_names_are_completed(complete):
    assert complete("evaluate", "x", "--protocol", "") == ["paper", "strict"]
    assert complete("train", "x", "--model.name", "cm") == ["cmnext", "cmx"]
    assert set(complete("train", "table")) == {name for name in packaged() if name.startswith("table")}
    assert "potholes" in complete("check-data", "pot") or "scenes" in complete("check-data", "sc")
    assert complete("completion", "z") == ["zsh"]


def test_files_are_completed(complete):
    assert complete("evaluate", "scr") == ["script"]


def test_zsh_takes_the_same_script(bash, capsys):
    assert main(["completion", "zsh"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("#compdef memorysam\n")
    assert text.endswith(bash)
    if shutil.which("zsh") is not None:
        assert subprocess.run(["zsh", "-n"], input=text, text=True, timeout=60).returncode == 0


def test_an_unknown_shell_is_told(capsys):
    assert main(["completion", "fish"]) == 2
    assert "bash" in capsys.readouterr().err
