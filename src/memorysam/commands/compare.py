"""memorysam compare."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from memorysam.commands.arguments import parse, print_json
from memorysam.errors import SettingsError

DESCRIPTION = """Train all systems on the same rendered scenes for the same number of samples, score each with every
subset of the sensors, and write one table (mIoU, parameters, operations, time, memory) and the curve of mIoU against
the number of sensors.

  memorysam compare --scale toy --out runs/compare
  memorysam compare --systems memorysam cmnext mean-fusion --seeds 1 --out runs/compare

Finished runs are taken as they are, an interrupted command goes on, a run that fails leaves the others alone. Published
data sets: train the recipes systems/deliver-cmnext and so on."""


@dataclass
class Arguments:
    """Arguments of `memorysam compare`."""

    scale: Literal["toy"] = "toy"
    """toy: micro models on rendered scenes, minutes on a laptop."""
    systems: tuple[str, ...] | None = None
    """Which; all by default."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Of the runs; the first one also chooses each system's learning rate."""
    out: Path = Path("runs/compare")
    """Folder for runs, table and picture."""
    size: int = 64
    """Image size in pixels, a multiple of 32."""
    scenes: int = 1600
    """Number of training scenes."""
    epochs: int = 2
    """Passes over them."""
    val_scenes: int = 100
    """Number of scenes that choose checkpoint and learning rate."""
    test_scenes: int = 200
    """Number of scenes that are scored."""
    lrs: tuple[float, ...] = (1e-3, 3e-3)
    """Learning rates to choose from."""
    modality_dropout: float = 0.5
    """Share of the forward passes that see a random subset of the sensors."""
    json: bool = False
    """Print JSON instead of a table."""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    arguments = parse(Arguments, "compare", argv, DESCRIPTION)
    for name in ("seeds", "lrs", "systems"):
        if getattr(arguments, name) == ():
            raise SettingsError("this option needs a value", where=f"--{name}", expected="one or more")
    from memorysam.experiments import compare_report
    from memorysam.experiments.compare import Budget, compare, known
    from memorysam.experiments.runner import StoppedError

    budget = Budget(**{field.name: getattr(arguments, field.name) for field in fields(Budget)})
    seeds = tuple(dict.fromkeys(arguments.seeds))
    try:
        results = compare(known(arguments.systems), seeds, arguments.out, budget)
    except StoppedError as stop:
        return 128 + stop.signal
    paths = compare_report.save(results, arguments.out, budget, seeds)
    if arguments.json:
        rows: list[dict[str, Any]] = [
            {"system": r.system, "lr": r.lr, "runs": {str(seed): run for seed, run in r.runs.items()}} for r in results
        ]
        print_json({"scale": arguments.scale, "systems": rows, "files": [str(path) for path in paths]})
    else:
        print(f"\n{compare_report.text(results)}\n\n{compare_report.words(budget, seeds)}")
        print(f"written to {', '.join(str(path) for path in paths)}")
    return 0 if all(len(result.runs) == len(seeds) for result in results) else 1
