"""memorysam reproduce."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from memorysam.commands.arguments import parse, print_json
from memorysam.errors import SettingsError

DESCRIPTION = """Run a table of the paper, row by row, and set the result beside the published figures.

  memorysam reproduce table1 --data data/DELIVER --out runs/paper
  memorysam reproduce table3 --scale toy --seeds 1 2 3 --out runs/toy
  memorysam reproduce table6
  memorysam reproduce figure8 --scale toy --seeds 1 2 3 --out runs/toy
  memorysam reproduce robustness --scale toy --seeds 1 2 3 --out runs/robust

table1 DELIVER, table2 MCubeS, table3 parts of the method, table4 momentum, table5 weight of the prototype loss, table6
numbers of parameters, table7 what trains; figure5 and figure6 predictions from some and from single sensors, figure7
features, figure8 mIoU against the number of sensors; robustness what training for missing sensors brings, at toy scale
only: that table is not the paper's. Finished runs are skipped, an interrupted one goes on, one that
fails leaves the others alone. The recipes are the settings files table1/rgb-d and so on.

Scale toy needs no data and no weights: the micro model on rendered scenes."""


@dataclass
class Arguments:
    """Arguments of `memorysam reproduce`."""

    what: Annotated[str, tyro.conf.Positional]
    """table1 to table7, figure5 to figure8, robustness."""
    data: Path | None = None
    """Folder of the data set; for the full scale."""
    out: Path = Path("runs/reproduce")
    """Folder for runs and tables."""
    seeds: tuple[int, ...] = (3407,)
    """Of the runs: each row once for each."""
    scale: Literal["full", "toy"] = "full"
    """full: as published, which takes GPUs and days. toy: minutes on a laptop."""
    toy_size: int = 64
    """At toy scale: image size in pixels."""
    toy_scenes: int | None = None
    """At toy scale: number of training scenes; by default 800, and 1000 for robustness."""
    toy_epochs: int | None = None
    """At toy scale: passes over them; by default 3, and 2 for robustness."""
    json: bool = False
    """Print JSON instead of a table."""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    arguments = parse(Arguments, "reproduce", argv, DESCRIPTION)
    if arguments.what == "table6":
        return _counts(arguments.json)
    if arguments.what == "robustness":
        return _robustness(arguments)
    from memorysam.experiments import report
    from memorysam.experiments.draw import FIGURES, Place, curves, draw
    from memorysam.experiments.reproduce import Scale, reproduce, table_of
    from memorysam.experiments.runner import StoppedError

    toy = arguments.scale == "toy"
    table = None if arguments.what in FIGURES else table_of(arguments.what, [*FIGURES, "robustness"])
    if not toy and arguments.data is None:
        raise SettingsError(
            "nothing says where the data are", where="--data", expected="the folder of the data set",
            fix="or --scale toy, which needs none",
        )  # fmt: skip
    scale = Scale(toy, arguments.toy_size, **_given(arguments))
    place = Place(arguments.out, arguments.data, arguments.seeds, scale)
    try:
        if table is None:
            path = draw(arguments.what, place)
            print_json({"figure": arguments.what, "file": str(path)}) if arguments.json else print(f"written to {path}")
            return 0
        results = reproduce(table, arguments.seeds, arguments.out, arguments.data, scale)
    except StoppedError as stop:
        return 128 + stop.signal
    paths = report.save(table, results, arguments.out, toy)
    if find_spec("matplotlib") is not None and any(result.values for result in results):
        paths.append(curves(results, table.name, place))
    if arguments.json:
        rows: list[dict[str, Any]] = [
            {"row": r.row.label, "miou": r.mean, "spread": r.spread, "scores": r.scores, "published": r.row.published,
             "source": r.row.source, **r.facts}
            for r in results
        ]  # fmt: skip
        print_json({"table": table.name, "scale": arguments.scale, "rows": rows, "files": [str(p) for p in paths]})
    else:
        print(f"\n{report.text(table, results)}\n\n{report.TOY if toy else report.FULL}")
        print(f"written to {', '.join(str(path) for path in paths)}")
    return 0 if all(result.values for result in results) else 1


def _given(arguments: Arguments) -> dict[str, int]:
    """Return those numbers of the scale that were given; the experiment knows the others."""
    numbers = {"scenes": arguments.toy_scenes, "epochs": arguments.toy_epochs}
    return {name: number for name, number in numbers.items() if number is not None}


def _robustness(arguments: Arguments) -> int:
    from memorysam.experiments import robust_report
    from memorysam.experiments.robust import Budget, robust
    from memorysam.experiments.runner import StoppedError

    if arguments.scale != "toy":
        raise SettingsError(
            "this experiment is one on rendered scenes", where="--scale", expected="toy",
            fix="for a data set of yours, train with --train.modality-dropout and so on, then evaluate",
        )  # fmt: skip
    budget = Budget(arguments.toy_size, **_given(arguments))
    seeds = tuple(dict.fromkeys(arguments.seeds))
    try:
        results = robust(seeds, arguments.out, budget)
    except StoppedError as stop:
        return 128 + stop.signal
    paths = robust_report.save(results, arguments.out, budget, seeds)
    if arguments.json:
        print_json({**robust_report.as_dict(results, budget), "files": [str(path) for path in paths]})
    else:
        print(f"\n{robust_report.text(results)}\n\n{robust_report.words(budget, seeds)}")
        print(f"written to {', '.join(str(path) for path in paths)}")
    return 0 if all(len(result.scores) == len(seeds) for result in results) else 1


def _counts(json: bool) -> int:
    from memorysam.evaluation.report import table
    from memorysam.experiments.counts import PUBLISHED, counts

    rows = counts()
    if json:
        print_json({"table": "table6", "published_millions": PUBLISHED, "rows": [vars(row) for row in rows]})
        return 0
    lines = [[r.label, f"{r.total:,}", f"{r.trainable:,}", f"{r.trainable / 1e6:.2f} M", f"{r.lora:,}"] for r in rows]
    print(f"\n{table(['sam2-base-plus, 25 classes', 'all', 'trainable', '', 'LoRA'], lines)}\n")
    print(f"Known of the release: {PUBLISHED:.2f} M trainable with the memory trained, 7.19 M with it frozen.")
    print("MLE-SAM, with which Table 6 compares, trains about 20.8 M (second hand).")
    return 0
