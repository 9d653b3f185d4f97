"""The part of `memorysam evaluate` that is about missing and noisy sensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memorysam.commands.arguments import print_json
from memorysam.config import EvaluateSettings
from memorysam.errors import SettingsError
from memorysam.spec import select

if TYPE_CHECKING:
    from memorysam.data.dataset import Source
    from memorysam.evaluation.robustness import Part, Variant
    from memorysam.models.base import SegmentationModel


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for."""

    variants: "tuple[Variant, ...]"
    parts: "tuple[Part, ...]"
    seed: int
    without_gaussian: tuple[str, ...] | None
    by: tuple[str, ...]
    workers: int
    hold: float
    """Gigabytes of decoded images that may be held in memory."""
    out: Path | None
    json: bool


def check(wanted: Wanted) -> None:
    """Raise on what can be told before anything is read.

    Raises:
        SettingsError: names the option.
    """
    if wanted.hold < 0:
        raise SettingsError(f"wrong value {wanted.hold}", where="--hold-gb", expected="a number from 0")
    if wanted.seed < 0:
        raise SettingsError(f"wrong value {wanted.seed}", where="--seed", expected="a number from 0")
    if not wanted.parts:
        raise SettingsError("no part is named", where="--robustness-parts", expected="emm, rmm, nm")


def robustness(
    model: "SegmentationModel",
    source: "Source",
    names: Sequence[str],
    settings: EvaluateSettings,
    wanted: Wanted,
    split: str,
    record: Mapping[str, Any],
) -> int:
    """Score a model under missing and noisy sensors, and tell.

    Args:
        model: ready.
        source: of the split.
        names: of the modalities that the model may see.
        settings: how to predict and score.
        wanted: what is asked for.
        split: its name.
        record: checkpoint and data set, for the files.

    Raises:
        SettingsError: an unknown sensor, or OUT holds results of something else.
    """
    from memorysam.data.remember import Remembered
    from memorysam.evaluation import robustness_report as report
    from memorysam.evaluation.robustness_run import Plan, Robustness, held
    from memorysam.training.progress import ProgressBar, say

    sensors = tuple(name for name in names if name in model.task.sensors)
    if wanted.without_gaussian:
        select([m for m in model.task.modalities if m.name in sensors], wanted.without_gaussian)
    plan = Plan(sensors, wanted.variants, wanted.parts, wanted.seed, wanted.without_gaussian, wanted.by)
    read = [modality.name for modality in model.task.seeing(sensors)]
    near = held(source, read, wanted.hold)
    workers = wanted.workers
    if isinstance(near, Remembered):
        workers = 0  # each process would remember for itself
    else:
        say(
            f"the decoded split is larger than {wanted.hold:g} GB (--hold-gb): it is read from its files in each pass; "
            "memorysam cache makes that faster",
            quiet=wanted.json,
        )
    kept = None if wanted.out is None else wanted.out / "robustness.json"
    scoring = Robustness(model, near, settings, plan, split=split, kept=kept, about=record)
    with ProgressBar(scoring.images, scoring.done, "robustness", unit="image", quiet=wanted.json) as bar:
        found = scoring.run(workers, lambda done, _total, name: bar.advance(done, **{"pass": name}))
    written = [] if wanted.out is None else report.save(found, wanted.out)
    if wanted.out is not None and find_spec("matplotlib") is not None:
        from memorysam.experiments import robustness_figures

        written += robustness_figures.draw(found, wanted.out)
    elif wanted.out is not None:
        say("no pictures: matplotlib is missing; pip install 'memorysam[figures]'", quiet=wanted.json)
    if wanted.json:
        print_json({**found.facts, "summary": report.summary(found), "passes": found.passes})
        return 0
    print(f"\n{report.text(found)}")
    if written:
        print(f"\nwritten: {', '.join(map(str, written))}")
    return 0
