"""What this machine and its installation have, and what is known to go wrong with it."""

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import InvalidRequirement, Requirement

from memorysam import __version__

PACKAGE = "memorysam"
FEW_FILES = 1024
"""Limit on open files below which many reading processes run out of them."""
GIGABYTE = 1e9
OPENCV = ("opencv-python", "opencv-contrib-python", "opencv-python-headless", "opencv-contrib-python-headless")
"""All of them write one folder, cv2: with two installed, either may be half of each."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    about: str
    text: str
    state: Literal["fine", "hint", "problem"] = "fine"
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return it as JSON."""
        return asdict(self)


def examine(folder: Path | None = None) -> list[Finding]:
    """Look at everything; nothing is changed.

    Args:
        folder: whose disk is looked at; the current one by default.
    """
    return [
        Finding("memorysam", f"{__version__} in {Path(__file__).parent}"),
        Finding("python", f"{platform.python_version()} on {platform.platform()}"),
        *packages(),
        *one_opencv(),
        *devices(),
        *processor(),
        *limits(folder or Path()),
    ]


def packages(name: str = PACKAGE) -> Iterator[Finding]:
    """Compare what is installed with what the package asks for, extras included where they are there."""
    try:
        wanted = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        yield Finding(name, "not installed, only on the path", "hint", "pip install it, so that its needs are known")
        return
    absent: dict[str, list[str]] = {}
    for text in wanted:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.name == name:  # one extra that takes another
            continue
        extra = _extra(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        found = _version(requirement.name)
        if found is None and extra:
            absent.setdefault(extra, []).append(requirement.name)
        elif found is None:
            yield Finding(requirement.name, "missing", "problem", f"pip install '{_bare(requirement)}'")
        elif not requirement.specifier.contains(found, prereleases=True):
            yield Finding(
                requirement.name,
                f"{found}, outside {requirement.specifier}",
                "hint" if extra else "problem",
                f"pip install '{_bare(requirement)}'",
            )
        elif not extra:
            yield Finding(requirement.name, found)
    for extra, names in absent.items():
        if extra not in ("test", "dev", "docs"):
            yield Finding(f"extra {extra}", f"not installed: {', '.join(names)}", fix=f"pip install '{name}[{extra}]'")


def one_opencv() -> Iterator[Finding]:
    """More than one distribution of OpenCV, or one that cannot be imported."""
    there = [name for name in OPENCV if _version(name)]
    if len(there) > 1:
        yield Finding(
            "opencv", f"installed {len(there)} times: {', '.join(there)}", "problem",
            f"pip uninstall {' '.join(there)}, then pip install opencv-python-headless",
        )  # fmt: skip


def devices() -> Iterator[Finding]:
    """What PyTorch can compute on."""
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(index)
            half = "bfloat16" if torch.cuda.is_bf16_supported() else "no bfloat16"
            yield Finding(f"cuda:{index}", f"{facts.name}, {facts.total_memory / GIGABYTE:.0f} GB, {half}")
        return
    if Path("/dev/nvidia0").exists():
        yield Finding(
            "gpu", f"there is one, and PyTorch (built for {build}) cannot use it", "problem",
            "install the build of PyTorch for your driver: pytorch.org/get-started",
        )  # fmt: skip
    else:
        yield Finding("gpu", f"none; PyTorch is built for {build}")


def processor() -> Iterator[Finding]:
    """Cores, threads, instructions."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    text = f"{cores} cores, {threads} threads, {torch.backends.cpu.get_cpu_capability()}"
    if threads > cores:
        yield Finding("cpu", text, "hint", f"more threads than cores wait for each other: OMP_NUM_THREADS={cores}")
    else:
        yield Finding("cpu", text)
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        yield Finding("onednn", "not in this build of PyTorch", "hint", "predictions on the CPU take twice as long")


def limits(folder: Path) -> Iterator[Finding]:
    """Disk, shared memory, open files."""
    yield _space("disk", folder, 5.0, "a run keeps up to three checkpoints; free some space")
    shared = Path("/dev/shm")  # noqa: S108  where PyTorch's reading processes leave their batches
    if shared.is_dir():
        yield _space("shared memory", shared, 0.5, "in a container: --shm-size=2g; or data.workers 0")
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        few = 0 <= soft < FEW_FILES
        yield Finding("open files", f"{soft} allowed", "hint" if few else "fine", f"ulimit -n {hard}" if few else "")


def _space(about: str, folder: Path, least: float, fix: str) -> Finding:
    free = shutil.disk_usage(folder).free / GIGABYTE
    little = free < least
    return Finding(about, f"{free:.1f} GB free", "hint" if little else "fine", fix if little else "")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _extra(text: str) -> str:
    found = re.search(r"""extra\s*==\s*['"]([^'"]+)['"]""", text)
    return found[1] if found else ""


def _bare(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"


def as_json(findings: list[Finding]) -> dict[str, Any]:
    """Return findings with their number by state."""
    states = [finding.state for finding in findings]
    counts = {"problems": states.count("problem"), "hints": states.count("hint")}
    return {**counts, "findings": [finding.as_dict() for finding in findings]}
