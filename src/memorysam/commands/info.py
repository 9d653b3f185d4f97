"""memorysam info."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from memorysam.commands.arguments import parse, print_json
from memorysam.errors import SettingsError

DESCRIPTION = """Say what a checkpoint or a model is made of: classes, modalities, sizes, its parameters by part, and
the floating-point operations of a forward pass.

  memorysam info runs/potholes
  memorysam info --model memorysam-sam2-base-plus --modalities 4 --classes 25
  memorysam info --model cmnext-b2 --modalities 2 --image-size 480 640"""


@dataclass
class Arguments:
    """Arguments of `memorysam info`."""

    checkpoint: Annotated[Path | None, tyro.conf.Positional] = None
    """Run folder or checkpoint."""
    base: str | None = None
    """Of a light checkpoint: the weights that its training started from, a file, a folder or a Hub id."""
    model: str | None = None
    """Instead of a checkpoint: a system, alone or with a backbone: memorysam-sam2-base-plus, cmnext-b2, sam-lora."""
    modalities: int = 1
    """With --model: number of modalities."""
    classes: int = 25
    """With --model: number of classes."""
    image_size: tuple[int, int] | None = None
    """Height and width for which operations are counted (and, with --model, for which it is built); by default the
    checkpoint's own, or 1024 1024, and 256 256 for those on SAM's ViT, whose position tables grow with the size."""
    json: bool = False
    """Print JSON instead of words."""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    arguments: Arguments = parse(Arguments, "info", argv, DESCRIPTION)
    if (arguments.checkpoint is None) == (arguments.model is None):
        raise SettingsError("give either a checkpoint or --model", fix="memorysam info --help shows examples")
    from memorysam.models.base import SegmentationModel
    from memorysam.models.weights import locate, read_about

    about: dict[str, Any] = {}
    model: SegmentationModel
    if arguments.checkpoint is not None:
        from memorysam.loading import load

        file = locate(arguments.checkpoint)
        model = load(file, image_size=arguments.image_size, device="cpu", verbose=False, base=arguments.base).model
        about = read_about(file)
        about["file"] = str(file)
    else:
        model = _named(arguments)
    content = describe(model, about)
    if arguments.json:
        print_json(content)
    else:
        print(text(content))
    return 0


def describe(model: Any, about: dict[str, Any]) -> dict[str, Any]:
    """Return what there is to say about a model, as JSON."""
    from memorysam.models.base import count
    from memorysam.models.cost import forward_flops

    parts = {
        name: {"total": count(parameters), "trainable": count([p for p in parameters if p.requires_grad])}
        for name, parameters in model.parts().items()
        if parameters
    }
    content: dict[str, Any] = {
        "model": model.settings(),
        "image_size": list(model.task.image_size),
        "modalities": [m.model_dump(mode="json") for m in model.task.modalities],
        "classes": list(model.task.classes.names),
        "parameters": {
            "total": sum(part["total"] for part in parts.values()),
            "trainable": sum(part["trainable"] for part in parts.values()),
            "parts": parts,
        },
        "flops": {"forward": forward_flops(model), "image_size": list(model.task.image_size)},
    }
    for key in ("file", "step", "scores"):
        if key in about:
            content[key] = about[key]
    return content


def text(content: dict[str, Any]) -> str:
    """Return the same for people."""
    from memorysam.evaluation.report import table

    settings = ", ".join(f"{key} {value}" for key, value in content["model"].items())
    lines = [f"model       {settings}", f"image size  {'x'.join(map(str, content['image_size']))}"]
    lines += [
        f"modality    {m['name']}: {m['channels']} channels, {m['low']:g} to {m['high']}, stem {m['stem']}"
        if m["role"] == "sensor"
        else f"regions     {m['name']}: their numbers"
        for m in content["modalities"]
    ]
    lines.append(f"classes     {len(content['classes'])}: {', '.join(content['classes'])}")
    if "scores" in content:
        scores = content["scores"]
        lines.append(f"score       mIoU {scores['miou']:.2f} on {scores['split']} ({scores['protocol']} protocol)")
    parameters = content["parameters"]
    billions = content["flops"]["forward"] / 1e9
    lines.append(f"operations  {billions:,.1f} G for one forward pass (a multiplication and an addition are two)")
    rows = [[name, f"{part['total']:,}", f"{part['trainable']:,}"] for name, part in parameters["parts"].items()]
    rows.append(["all", f"{parameters['total']:,}", f"{parameters['trainable']:,}"])
    return "\n".join(lines) + "\n\n" + table(["part", "parameters", "trainable"], rows)


def _named(arguments: Arguments) -> Any:
    from memorysam.models.factory import create, named
    from memorysam.models.systems import SYSTEMS
    from memorysam.spec import IGNORE, Modality, Task, as_classes
    from memorysam.strict import build

    settings = named(arguments.model or "")
    system = SYSTEMS[settings.name]
    if arguments.modalities < 1 or not 2 <= arguments.classes <= IGNORE:
        raise SettingsError(
            f"{arguments.modalities} modalities and {arguments.classes} classes",
            where="--modalities, --classes",
            expected=f"at least one modality, and 2 to {IGNORE} classes",
        )
    channels = [*system.channels, *[3] * arguments.modalities][: arguments.modalities]
    values = {
        "modalities": tuple(Modality(name=f"modality{i + 1}", channels=k) for i, k in enumerate(channels)),
        "classes": as_classes([f"class{i}" for i in range(arguments.classes)]),
        "image_size": arguments.image_size or system.size,
    }
    task = build(Task, values, "the command line", spell=lambda _: "--image-size")
    return create(settings, task, from_scratch=settings.backbone == "micro")
