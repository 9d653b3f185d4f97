"""memorysam evaluate."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from memorysam.commands.arguments import option, parse, print_json
from memorysam.config import DataSettings, EvaluateSettings
from memorysam.errors import DataError, SettingsError, listing
from memorysam.evaluation.robustness import PARTS, VARIANTS, Part, Variant
from memorysam.strict import build

DESCRIPTION = """Score a checkpoint on a split of a data set: IoU, F1 and accuracy per class and their means.

  memorysam evaluate runs/potholes
  memorysam evaluate runs/potholes --modalities disparity --protocol strict --out results
  memorysam evaluate RGBDEL_epoch95_65.38.pth --dataset deliver --root data/DELIVER --split val
  memorysam evaluate runs/rgbdel --robustness --by condition --out runs/rgbdel/robustness

CHECKPOINT is a run folder (its best model), or a file. Data set, split and the way of scoring are those of the run
unless given. A file that does not say what it is for, such as the authors' checkpoints, takes classes and modalities
from the data set.

With --robustness it is scored with each subset of its sensors (EMM), with sensors that lose a share of their values
(RMM), and with noise (NM), by the rules of the published benchmark (paper) and by stricter ones (strict). --out then
gets robustness.json, .csv, .md, lattice.png and degradation.png; interrupted, the same command goes on where it was."""

_SHOWN = 4
"""Of the worst and of the best images in a report."""


@dataclass
class Arguments:
    """Arguments of `memorysam evaluate`."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """Run folder or checkpoint."""
    dataset: str | None = None
    """A dataset.yaml, or 'scenes'; by default the one that the model was trained on."""
    root: Path | None = None
    """Folder of the data."""
    split: str | None = None
    """Which part; by default the validation split of the run."""
    modalities: tuple[str, ...] | None = None
    """Show the model these only."""
    image_size: tuple[int, int] | None = None
    """Height and width that the network sees; by default the checkpoint's own, or 1024 1024."""
    by: tuple[str, ...] = ()
    """Also score each value of these tags separately, such as: condition failure."""
    out: Path | None = None
    """Folder for evaluation.json and evaluation.csv, or those of --robustness."""
    figures: bool = False
    """Also draw confusion.png and classes.png there."""
    report: bool = False
    """Also write report.html there: scores, confusion, the worst and the best images."""
    workers: int = 2
    """Processes that read; 0 reads in this one."""
    on_bad: Literal["error", "skip"] | None = None
    """What becomes of a sample that cannot be read: an error, or it is left out and told; by default as in the run."""
    skip_share: float | None = None
    """At most this share of the split may be left out, rounded up to whole samples; by default as in the run."""
    base: str | None = None
    """Of a light checkpoint: the weights that its training started from, a file, a folder or a Hub id."""
    device: str = "auto"
    """auto, cpu, cuda."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: weights and activations of bfloat16; faster, and seldom another class at a pixel."""
    json: bool = False
    """Print JSON instead of a table."""
    robustness: tuple[Variant, ...] | None = None
    """Score with missing and noisy sensors, by these rules; both if none is named."""
    robustness_parts: tuple[Part, ...] = PARTS
    """emm: sensors missing entirely. rmm: a share of their values missing. nm: noise."""
    without_gaussian: tuple[str, ...] | None = None
    """Sensors that get no Gaussian noise; by default those with 'event' in their names."""
    seed: int = 0
    """Of what is lost and of noise."""
    hold_gb: float = 4.0
    """Decode each sample once if the whole split takes no more memory than this; read files in each pass if it does."""
    settings: EvaluateSettings = field(default_factory=EvaluateSettings)


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    arguments = parse(Arguments, "evaluate", argv, DESCRIPTION, _defaults(argv))
    from memorysam.commands.robustness import Wanted, check, robustness
    from memorysam.data.catalog import agree, open_dataset
    from memorysam.evaluation import report
    from memorysam.evaluation.evaluate import evaluate
    from memorysam.evaluation.extremes import Extremes
    from memorysam.loading import load
    from memorysam.models.tune import for_inference
    from memorysam.models.weights import carried_task, locate, published, read_about
    from memorysam.spec import select
    from memorysam.training.progress import ProgressBar

    if arguments.figures and arguments.out is None:
        raise SettingsError("figures need a folder", where="--figures", fix="add --out")
    if arguments.figures:
        from memorysam.experiments import panels

        panels.library("matplotlib.figure")  # before any work
    if arguments.report and (arguments.out is None or arguments.robustness is not None):
        why = "it needs a folder" if arguments.out is None else "it has no effect with --robustness"
        raise SettingsError(why, where="--report", fix="add --out" if arguments.out is None else "leave it out")
    if arguments.workers < 0:
        raise SettingsError(f"wrong value {arguments.workers}", where="--workers", expected="a number from 0")
    wanted = None
    if arguments.robustness is not None:
        wanted = Wanted(
            arguments.robustness or VARIANTS, arguments.robustness_parts, arguments.seed, arguments.without_gaussian,
            arguments.by, arguments.workers, arguments.hold_gb, arguments.out, arguments.json,
        )  # fmt: skip
        check(wanted)
        if arguments.on_bad == "skip":
            raise SettingsError(
                "with --robustness no sample may be left out: all passes count the same images",
                where="--on-bad", fix="let check-data find the damaged files, and take them out of the split",
            )  # fmt: skip
    for name in ("robustness_parts", "without_gaussian", "seed", "hold_gb"):
        if wanted is None and getattr(arguments, name) != getattr(Arguments, name):
            raise SettingsError("it has an effect with --robustness only", where=option(name), fix="leave it out")
    file = locate(arguments.checkpoint)
    about = read_about(file)
    data = DataSettings(**about["settings"]["data"]) if "settings" in about else None
    if arguments.dataset is not None:
        data = DataSettings(dataset=arguments.dataset)
    if data is None:
        # Or what is wrong with it.
        kind = "a memorysam checkpoint without its run" if carried_task(file) else published(file).kind
        raise DataError(f"this file ({kind}) does not say which data it is for", where=file, fix="add --dataset")
    if arguments.root is not None:
        data = data.model_copy(update={"root": arguments.root})
    given = {key: value for key in ("on_bad", "skip_share") if (value := getattr(arguments, key)) is not None}
    data = build(DataSettings, {**data.model_dump(), **given}, "--skip-share")
    split = arguments.split or data.val_split
    task = carried_task(file)
    size = arguments.image_size or (task.image_size if task else (1024, 1024))
    dataset = open_dataset(data, size)
    modalities = None if task else select(dataset.modalities, arguments.modalities or dataset.usual)
    predictor = load(
        file,
        modalities=modalities,
        classes=None if task else dataset.classes,
        image_size=size,
        device=arguments.device,
        verbose=not arguments.json,
        base=arguments.base,
    )
    for_inference(predictor.model, arguments.precision)
    names = [modality.name for modality in predictor.model.task.seeing(arguments.modalities or None)]
    agree(predictor.model.task, dataset, names)
    source = dataset.source(split, names, ignore_invalid=data.ignore_invalid == "always")
    if unknown := set(arguments.by) - set(source.tags(0)):
        raise DataError(
            f"samples have no tag {listing(sorted(unknown))}",
            where=dataset.name,
            expected=f"--by {' '.join(source.tags(0))}" if source.tags(0) else "no --by: these data have no tags",
        )
    record = {"checkpoint": str(file), "dataset": dataset.name}
    if wanted is not None:
        return robustness(predictor.model, source, names, arguments.settings, wanted, split, record)
    extremes = Extremes(predictor.model.task.classes, _SHOWN if arguments.report else 0)
    with ProgressBar(len(source.ids), label="evaluating", unit="image") as bar:
        result = evaluate(
            predictor.model,
            source,
            arguments.settings,
            modalities=names,
            split=split,
            workers=arguments.workers,
            by=arguments.by,
            progress=bar.report,
            patience=data.patience,
            skip_share=data.may_skip,
            look=extremes if arguments.report else None,
        )
    if arguments.report and arguments.out is not None:
        from memorysam.experiments.score_page import write_score_page

        write_score_page(arguments.out / "report.html", result, extremes, source, predictor.model.task, record)
    if arguments.figures and arguments.out is not None:
        from memorysam.experiments import figures

        name = " + ".join(result.facts["modalities"])
        figures.confusion(result.scores, arguments.out / "confusion.png")
        figures.class_bars({name: result.scores}, arguments.out / "classes.png")
    if arguments.out is not None:
        report.save(result, arguments.out, **record)
    if arguments.json:
        print_json({**record, **result.as_dict()})
    else:
        print(f"\n{report.text(result)}")
        if arguments.out is not None:
            print(f"\nwritten to {arguments.out}")
    return 0


def _defaults(argv: Sequence[str]) -> Arguments | None:
    """Score as the run did, unless told otherwise."""
    if not argv or argv[0].startswith("-"):
        return None
    from memorysam.models.weights import locate, read_about

    checkpoint = Path(argv[0])
    about = read_about(locate(checkpoint))
    if "settings" not in about:
        return None
    return Arguments(checkpoint, settings=build(EvaluateSettings, about["settings"]["evaluate"], checkpoint))
