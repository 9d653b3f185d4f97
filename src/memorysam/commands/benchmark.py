"""memorysam benchmark."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from memorysam.commands.arguments import option, parse, print_json
from memorysam.errors import SettingsError

DESCRIPTION = """Measure forward pass and training step of MemorySAM against a straightforward one with the same weights
(one modality at a time, the obvious order of operations), and against the machine's own limits, all in one run.

  memorysam benchmark --backbone sam2-tiny --size 512 --modalities 2
  memorysam benchmark --backbone sam2-base-plus --size 512 --scaling
  memorysam benchmark --backbone sam2-tiny --start-up
  memorysam benchmark --backbone sam2-base-plus --size 1024 --modalities 4 --batch 4 --data
  memorysam benchmark --backbone sam2-base-plus --size 1024 --modalities 4 --fit 24GB
  memorysam benchmark --memory-table

Instead: --scaling measures 1, 2, 4, 8 and 16 modalities. --start-up measures help, import and first prediction in fresh
processes. --data measures reading with one worker, from files and from the cache, beside the training step that it
feeds. --fit proposes settings with which training fits a GPU, and --memory-table prints what steps need: both are
counted, also where there is no GPU."""

INSTEAD = ("scaling", "start_up", "data", "fit", "memory_table")
"""Options that measure something else; one at a time."""


@dataclass
class Arguments:
    """Arguments of `memorysam benchmark`."""

    backbone: str = "sam2-tiny"
    """sam2-tiny, sam2-small, sam2-base-plus, sam2-large, the same of sam2.1, or micro."""
    size: int = 512
    """Height and width of the images, a multiple of 32."""
    modalities: int = 2
    """Number of modalities, 1 to 16."""
    batch: int = 1
    """Samples at once."""
    classes: int = 25
    """Number of classes."""
    repeats: int = 5
    """Times that each call is timed, after one that does not count."""
    precision: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16")
    """Of ours; the baseline is always fp32."""
    no_train: bool = False
    """Leave out the training step."""
    set: tuple[str, ...] = ()
    """Settings of the model, as key=value: lora_rank=8."""
    weights: str | None = None
    """A file, folder or Hub id to take weights from; by default they are random."""
    threads: int | None = None
    """Threads of the CPU; by default as PyTorch takes them."""
    device: Literal["auto", "cpu"] = "auto"
    """auto: a GPU where there is one."""
    scaling: bool = False
    """Measure ours with 1, 2, 4, 8 and 16 modalities instead."""
    start_up: bool = False
    """Measure how long it takes until something happens instead: help, import, first prediction."""
    data: bool = False
    """Measure reading of training samples instead: scenes of this size are written to a temporary folder."""
    fit: str | None = None
    """Memory of a GPU, such as 24GB: propose settings with which training fits it, instead of measuring."""
    memory_table: bool = False
    """Count the memory of training steps by backbone, modalities, size and settings, instead of measuring."""
    out: Path | None = None
    """File to write the JSON to as well."""
    json: bool = False
    """Print JSON instead of tables."""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    arguments: Arguments = parse(Arguments, "benchmark", argv, DESCRIPTION)
    chosen = [option(name) for name in INSTEAD if getattr(arguments, name)]
    if len(chosen) > 1:
        raise SettingsError("one thing at a time", where=", ".join(chosen), fix=f"leave all but {chosen[0]} out")
    if arguments.threads is not None and arguments.threads < 1:
        raise SettingsError(f"{arguments.threads} threads", where="--threads", expected="at least 1")
    options = _options(arguments.set)
    import torch

    threads = torch.get_num_threads()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    try:
        content, words = _measure(arguments, options)
    finally:
        torch.set_num_threads(threads)
    if arguments.out is not None:
        from memorysam.files import write_json

        write_json(arguments.out, content)
    if arguments.json:
        print_json(content)
    else:
        print(words)
    return 0


def _measure(arguments: Arguments, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
    import torch

    from memorysam.benchmark import fit, memory_table, pipeline, report, scaling, start_up, suite, tables
    from memorysam.benchmark.plan import Plan, model_settings
    from memorysam.training.progress import ProgressBar

    gpu = arguments.device == "auto" and torch.cuda.is_available()
    plan = Plan(
        model_settings(arguments.backbone, arguments.size, options, arguments.weights),
        modalities=arguments.modalities,
        classes=arguments.classes,
        batch=arguments.batch,
        repeats=arguments.repeats,
        precisions=tuple(dict.fromkeys(arguments.precision)),
        train=not arguments.no_train,
        device=torch.device("cuda" if gpu else "cpu"),
    )
    if arguments.fit is not None:
        found = fit.fit(plan, fit.read_memory(arguments.fit))
        return found, report.fit_text(found)
    if arguments.scaling:
        found = scaling.scaling(plan, scaling.COUNTS)
        return found, report.scaling_text(found)
    if arguments.start_up:
        with ProgressBar(1, label="starting", unit="run") as bar:
            found = start_up.start_up(plan, bar.report)
        return found, tables.start_up_text(found)
    if arguments.data:
        with ProgressBar(1, label="measuring", unit="part") as bar:
            found = pipeline.pipeline(plan, bar.report)
        return found, tables.data_text(found)
    if arguments.memory_table:
        with ProgressBar(1, label="counting", unit="model") as bar:
            found = memory_table.memory_table(plan, options, torch.get_num_threads(), bar.report)
        return found, tables.memory_text(found)
    found = suite.measure(plan)
    return found, report.text(found)


def _options(words: Sequence[str]) -> dict[str, Any]:
    """Read `key=value`, values as in a settings file."""
    import yaml

    found: dict[str, Any] = {}
    for word in words:
        key, sign, value = word.partition("=")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            sign = ""
        if not (key and sign) or key in ("name", "backbone", "image_size", "weights"):
            raise SettingsError(
                f"{word!r} is no setting of the model",
                where="--set",
                expected="key=value, such as lora_rank=8; backbone, size and weights have options of their own",
            )
    return found
