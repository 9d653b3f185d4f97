import os
import signal
import sys
from pathlib import Path

# Tests run in two processes, and tiny models gain nothing from threads that wait for each other; for subprocesses too.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell starts what runs in its background deaf to Ctrl-C, and everything below it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
import torch

from .faults import fault, pytest_runtest_makereport, pytest_terminal_summary

__all__ = ["fault", "pytest_runtest_makereport", "pytest_terminal_summary"]

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("needs ../shared, which lies beside a developer's checkout and in CI")
    return SHARED


@pytest.fixture(scope="session")
def fill(shared):
    """The module that gives deterministic weights for original parameter names."""
    sys.path.insert(0, str(shared / "reference"))
    try:
        import fill
    finally:
        sys.path.pop(0)
    return fill
