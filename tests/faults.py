"""Faults that tests inject on purpose are counted, and the end of a test run says how many of them were survived.

    def test_a_kill_is_survived(fault):
        with fault("killed"):  # break something and check that nothing was lost
            ...

A block that raises lost its fault, and fails its test. `fault("killed")` without `with` is survived if the test passes.
"""

from collections import Counter
from types import TracebackType
from typing import Any

import pytest

PROPERTY = "faults"
RECORDS = pytest.StashKey[list["Fault"]]()


class Fault:
    """One injected fault."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.survived: bool | None = None  # not known before the block, or the test, has ended

    def __enter__(self) -> "Fault":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.survived = kind is None


@pytest.fixture
def fault(request: pytest.FixtureRequest) -> Any:
    """Record a fault of a kind; a context manager around what must survive it."""
    records = request.node.stash.setdefault(RECORDS, [])

    def inject(kind: str) -> Fault:
        records.append(Fault(kind))
        return records[-1]

    return inject


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Write what a test injected into its report, which travels from the processes of pytest-xdist."""
    passed, records = call.excinfo is None, item.stash.get(RECORDS, [])
    if call.when == "call":
        ends = [[one.kind, passed if one.survived is None else one.survived] for one in records]
        if ends:
            item.user_properties.append((PROPERTY, ends))
    report = yield
    if call.when == "call" and report.passed and any(one.survived is False for one in records):
        report.outcome, report.longrepr = "failed", "an injected fault was lost, and the test did not say so"
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print `faults injected N, survived N, lost N`, and by kind."""
    injected: Counter[str] = Counter()
    survived: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) != "call":
                continue
            for name, ends in report.user_properties:
                for kind, well in ends if name == PROPERTY else ():
                    injected[kind] += 1
                    survived[kind] += well
    if injected:
        total, well = injected.total(), survived.total()
        terminalreporter.section("faults")
        terminalreporter.write_line(f"faults injected {total}, survived {well}, lost {total - well}")
        for kind in sorted(injected):
            lost = injected[kind] - survived[kind]
            terminalreporter.write_line(f"  {kind}: {injected[kind]}, lost {lost}")
