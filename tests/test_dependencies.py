"""Dependencies are not older than what is known to be mended."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from .project import PROJECT, ROOT


def table():
    """Return package -> lowest version from SECURITY.md."""
    rows = re.findall(r"^\| `?([\w.-]+)`? +\| ([\d.]+) +\|", (ROOT / "SECURITY.md").read_text(), re.MULTILINE)
    return {name: Version(version) for name, version in rows}


def requirements():
    words = [*PROJECT["dependencies"], *(word for extra in PROJECT["optional-dependencies"].values() for word in extra)]
    return {requirement.name.replace("_", "-"): requirement for requirement in map(Requirement, words)}


def constraints():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line.strip() and not line.startswith("#"))
    return {name.lower().replace("_", "-"): Version(version) for name, version in pairs}


def lowest(requirement):
    return max(Version(part.version) for part in requirement.specifier if part.operator in (">=", "=="))


def test_no_dependency_may_be_older_than_what_is_mended():
    assert len(table()) >= 7
    for name, version in table().items():
        assert lowest(requirements()[name]) >= version, name


def test_pinned_versions_are_within_the_bounds():
    pinned, asked = constraints(), requirements()
    assert len(pinned) > 15
    for name, version in pinned.items():
        assert name in {key.lower() for key in asked}, name
        assert version in next(r.specifier for key, r in asked.items() if key.lower() == name), name


@pytest.mark.slow
def test_no_pinned_version_has_a_known_weakness():
    if find_spec("pip_audit") is None:
        pytest.skip(
            "pip-audit is not installed: pip install pip-audit; it needs the network for its list of advisories"
        )
    options = "--requirement constraints.txt --no-deps --disable-pip --progress-spinner off --format json"
    command = [sys.executable, "-m", "pip_audit", *options.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    found = json.loads(done.stdout)["dependencies"] if done.stdout.startswith("{") else []
    audited = [package for package in found if "skip_reason" not in package]
    if len(audited) < len(constraints()) // 2:  # it calls that success
        pytest.skip(f"the list of advisories cannot be reached from here: {len(audited)} packages audited")
    assert {package["name"]: package["vulns"] for package in audited if package["vulns"]} == {}
