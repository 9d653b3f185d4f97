import importlib.metadata
import os
import subprocess
import sys

import pytest

import memorysam
from memorysam.cli import VERBS, main, run
from memorysam.commands import info

NEEDED = {
    "demo": ["--out", "--json", "--data.scenes", "--train.epochs"],
    "train": ["--out", "--resume", "--data.root", "--data.modalities", "--model.backbone", "--train.epochs"],
    "evaluate": ["--dataset", "--split", "--modalities", "--protocol", "--method", "--by", "--out", "--json"],
    "predict": ["--out", "--probabilities", "--method", "--device", "--json"],
    "check-data": ["--root", "--json"],
    "cache": ["--root", "--out", "--splits", "--modalities", "--json"],
    "reproduce": ["--data", "--out", "--seeds", "--scale", "--json"],
    "compare": ["--scale", "--systems", "--seeds", "--out", "--json"],
    "make-scenes": ["--train", "--val", "--test", "--size", "--seed"],
    "benchmark": ["--backbone", "--size", "--modalities", "--repeats", "--scaling", "--fit", "--out", "--json"],
    "export": ["--out", "--format", "--modalities", "--image-size", "--json"],
    "share": ["--to", "--out", "--light", "--base", "--license", "--private", "--json"],
    "app": ["--examples", "--host", "--port", "--no-browser"],
    "view": ["--split", "--root", "--out"],
    "report": ["--out", "--images", "--split", "--json"],
    "completion": [],
    "info": ["--model", "--modalities", "--classes", "--json"],
    "doctor": ["--json"],
}
HEAVY = {"torch", "transformers", "cv2"}


def python(*arguments, **options):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120, **options)


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_lists_every_verb_and_says_where_to_start(word, capsys):
    assert main([word]) == 0
    out = capsys.readouterr().out
    for verb, text in VERBS.items():
        assert f"  {verb} " in out
        assert text in out
    assert "memorysam demo" in out


def test_no_verb_shows_the_help_but_is_an_error(capsys):
    assert main([]) == 2
    assert "usage: memorysam VERB" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["--version", "-V", "version"])
def test_version_is_that_of_the_installed_package(word, capsys):
    assert main([word]) == 0
    assert capsys.readouterr().out.split() == [memorysam.__version__] == [importlib.metadata.version("memorysam")]


def test_what_a_newcomer_needs_is_listed_here_for_every_verb():
    assert NEEDED.keys() == VERBS.keys()


@pytest.mark.parametrize("verb", NEEDED)
def test_help_of_a_verb_has_what_a_newcomer_needs(verb, capsys):
    assert main([verb, "--help"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert f"usage: memorysam {verb} " in said.out
    words = said.out.split()
    for option in NEEDED[verb]:
        assert option in words


def test_help_of_settings_breaks_lines_only_where_the_terminal_ends(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    assert main(["train", "--help"]) == 0
    assert "a Hub directory or id), a released checkpoint of the system" in capsys.readouterr().out


def test_help_of_predict_says_that_modalities_are_options(capsys):
    main(["predict", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "one for each modality of the model" in out
    assert "memorysam predict runs/potholes --rgb a.jpg --disparity a.png" in out


@pytest.mark.parametrize(("wrong", "right"), [("trian", "train"), ("eval", "evaluate"), ("check_data", "check-data")])
def test_an_unknown_verb_is_answered_with_the_nearest(wrong, right, capsys):
    assert main([wrong]) == 2
    assert capsys.readouterr().err == f"memorysam: there is no verb '{wrong}'; did you mean '{right}'?\n"


def test_an_unknown_verb_like_no_other_is_answered_with_all(capsys):
    assert main(["xyz"]) == 2
    assert ", ".join(VERBS) in capsys.readouterr().err


def test_ctrl_c_is_told_by_the_exit_code(monkeypatch, capsys):
    def interrupted(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(info, "main", interrupted)
    assert main(["info"]) == 130
    assert capsys.readouterr().err == "stopped\n"


@pytest.mark.parametrize("words", [["--help"], ["--version"], *([verb, "--help"] for verb in VERBS)], ids="-".join)
def test_help_imports_nothing_heavy(words):
    code = f"import sys; from memorysam.cli import main; main({words}); sys.exit(str({HEAVY} & sys.modules.keys()))"
    assert python("-c", code).stderr == "set()\n"


def test_the_package_runs_as_a_module():
    done = python("-m", "memorysam", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{memorysam.__version__}\n", "")


def test_the_exit_code_reaches_the_shell():
    done = python("-m", "memorysam", "trian")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'train'?" in done.stderr


def test_the_command_is_installed():
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="memorysam")
    assert script.load() is run


def test_a_reader_that_leaves_early_is_no_error():
    """As in `memorysam --help | head -1`; Python writes what it has buffered only at its end."""
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "memorysam", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=plain) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=120) == 0
