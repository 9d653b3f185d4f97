"""The count of injected faults: by kind, over processes, and never kinder than the tests."""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.parametrize("i", range(4))
def test_survives(fault, i):
    for _ in range(10):
        with fault("killed"):
            pass
    fault("disk full")

def test_loses(fault):
    with fault("killed"):
        pass
    with fault("killed"):
        raise AssertionError("torn")

def test_fails_later(fault):
    fault("disk full")
    raise AssertionError("no message")

def test_hides_it(fault):
    with pytest.raises(AssertionError), fault("hidden"):
        raise AssertionError("torn")

def test_injects_nothing():
    pass
"""


@pytest.mark.parametrize("processes", [0, 2])
def test_faults_are_added_up_by_kind_and_a_lost_one_fails_its_test(tmp_path, processes):
    (tmp_path / "conftest.py").write_text(
        "from tests.faults import fault, pytest_runtest_makereport, pytest_terminal_summary\n"
    )
    (tmp_path / "test_some.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", str(processes), str(tmp_path)]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(Path(__file__).parents[1])}, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stdout
    lines = done.stdout.splitlines()
    assert "faults injected 48, survived 45, lost 3" in lines
    assert {"  killed: 42, lost 1", "  disk full: 5, lost 1", "  hidden: 1, lost 1"} <= set(lines)
    assert "an injected fault was lost, and the test did not say so" in done.stdout
    assert "3 failed, 5 passed" in lines[-1]
