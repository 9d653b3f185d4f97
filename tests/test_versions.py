"""The oldest and the newest versions that pyproject.toml allows work: its ranges are promises."""

import os
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from .project import PROJECT, ROOT

TESTS = ["test_spec.py", "test_config.py", "test_cli.py", "test_predict.py", "models/test_memorysam.py"]
TESTS += ["data/test_readers.py", "data/test_folders.py", "data/test_loading.py"]
NEEDED = PROJECT["dependencies"]


@pytest.fixture(scope="module")
def registry():
    command = [sys.executable, "-m", "pip", "index", "versions", "packaging"]
    if subprocess.run(command, capture_output=True, timeout=120).returncode:
        pytest.skip("needs pip, and a package registry that can be reached")


@pytest.mark.slow
@pytest.mark.parametrize("which", ["lowest", "newest"])
def test_the_ends_of_the_ranges_work(which, registry):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [ROOT / ".ci/versions", which, *(f"tests/{name}" for name in TESTS)],
        env=environment | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    if which == "lowest":
        for one in map(Requirement, NEEDED):
            (least,) = (bound.version for bound in one.specifier if bound.operator == ">=")
            if one.name != "torch":
                assert f"{one.name.lower().replace('-', '_')}-{least}" in done.stdout.lower()


@pytest.mark.slow
def test_a_version_that_does_not_do_is_told(registry):
    done = subprocess.run([ROOT / ".ci/versions", "middle"], env=os.environ | {"PYTHON": sys.executable},
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode != 0
    assert "lowest or newest" in done.stderr


def test_every_dependency_has_a_lowest_version_and_most_a_bound_above():
    bounds = {one.name: {bound.operator for bound in one.specifier} for one in map(Requirement, NEEDED)}
    assert [name for name, operators in bounds.items() if ">=" not in operators] == []
    assert [name for name, operators in bounds.items() if "<" not in operators] == ["tifffile"]  # named by date
