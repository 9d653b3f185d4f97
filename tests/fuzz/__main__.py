"""Fuzz one target, some, or all: python -m tests.fuzz png --inputs 100000 --seed 1."""

import argparse
import sys
from pathlib import Path

import cv2

from .engine import Result, fuzz, input_of
from .targets import TARGETS


def main() -> int:
    """Run and print a table; 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "targets", nargs="+", choices=[*TARGETS, "all"], metavar="TARGET", help=", ".join((*TARGETS, "all"))
    )
    parser.add_argument("--inputs", type=int, default=100_000, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for the inputs with which something was found")
    arguments = parser.parse_args()
    cv2.setNumThreads(0)  # children are forked, and threads do not survive that
    names = list(TARGETS) if "all" in arguments.targets else arguments.targets
    columns = ("inputs", 9), ("accepted", 10), ("of which sure", 15), ("refused", 9), ("crashes", 9), ("hangs", 7)
    print(f"{'target':12}" + "".join(f"{name:>{width}}" for name, width in (*columns, ("wrong", 7), ("seconds", 9))))
    found = 0
    for name in names:
        result = fuzz(name, TARGETS[name], arguments.inputs, arguments.seed)
        print(
            f"{name:12}{result.inputs:9}{result.accepted:10}{result.sure:15}{result.refused:9}"
            f"{result.crashes:9}{result.hangs:7}{result.wrong:7}{result.seconds:9.0f}",
            flush=True,
        )
        found += len(result.findings)
        tell(result, arguments.seed, arguments.keep)
    return min(found, 1)


def tell(result: Result, seed: int, keep: Path | None) -> None:
    """Print what was found, each kind once, and keep the inputs."""
    told = set()
    for at, what in result.findings:
        kind = tuple(line for line in what.splitlines() if "line" in line)[-2:] or what
        if kind not in told:
            print(f"  input {at}: {what.rstrip()}".replace("\n", "\n    "), file=sys.stderr)
        told.add(kind)
        if keep is not None:
            target = TARGETS[result.target]
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{result.target}-{seed}-{at}.{target.suffix}").write_bytes(
                input_of(result.target, target, seed, at)
            )


if __name__ == "__main__":
    sys.exit(main())
