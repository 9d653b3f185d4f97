"""memorysam predict."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from memorysam.commands.arguments import SETTINGS, option, parse_known, print_json
from memorysam.config import EvaluateSettings
from memorysam.errors import SettingsError, did_you_mean, listing

DESCRIPTION = """Segment images. Besides the options below there is one for each modality of the model, which takes a
file or a folder; in folders, files of the same name belong together. Any subset of the modalities will do.

  memorysam predict runs/potholes --rgb a.jpg --disparity a.png
  memorysam predict runs/potholes --disparity folder/ --out results
  memorysam predict potholes.onnx --rgb a.jpg --disparity a.png
  memorysam predict micro --example

Written for each image: NAME_labels.png (class ids, the size of the image) and NAME_overlay.png; and legend.png, which
says which colour is which class."""


@dataclass
class Arguments:
    """Arguments of `memorysam predict`."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """Run folder or checkpoint, or a file that `memorysam export` has written; or micro, a small model of rendered
    streets that comes with the package."""
    out: Path = Path("predictions")
    """Folder for what is written."""
    probabilities: bool = False
    """Also write NAME_probabilities.npy: float16, classes x height x width."""
    base: str | None = None
    """Of a light checkpoint: the weights that its training started from, a file, a folder or a Hub id."""
    device: str = "auto"
    """auto, cpu, cuda."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: weights and activations of bfloat16; faster, and seldom another class at a pixel."""
    trust: bool = False
    """Of a .pt2 file: it is my own. Such a file can run code when it is read; .onnx and .safetensors cannot."""
    on_bad: Literal["error", "skip"] = "error"
    """What becomes of an image that cannot be read or has no partner: an error, or it is left out and told."""
    example: bool = False
    """Instead of images of your own: rendered street scenes, which are written to OUT/example."""
    json: bool = False
    """Print JSON instead of words."""
    settings: EvaluateSettings = field(default_factory=EvaluateSettings)


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    own, rest = parse_known(Arguments, "predict", argv, DESCRIPTION)
    from memorysam.commands.example import write_example
    from memorysam.data.skipping import told
    from memorysam.evaluation.pictures import encode_png, legend
    from memorysam.files import write_bytes
    from memorysam.opening import load
    from memorysam.prediction import predict_files

    predictor = load(own.checkpoint, device=own.device, verbose=not own.json, base=own.base, trust=own.trust)
    if own.example and rest:
        raise SettingsError("images are named, and --example is given", fix="leave one of them out")
    task = predictor.task
    inputs = write_example(task, own.out / "example") if own.example else modality_options(rest, task.names)
    predictor.for_inference(own.precision)
    skipped: list[dict[str, str]] = []
    results = predict_files(
        predictor,
        inputs,
        own.out,
        own.settings,
        own.probabilities,
        skip=(lambda stem, error: skipped.append({"id": stem, "what": told(error)})) if own.on_bad == "skip" else None,
    )
    write_bytes(own.out / "legend.png", encode_png(legend(task.classes)))
    if own.json:
        said = {"checkpoint": str(own.checkpoint), "modalities": list(inputs), "results": results}
        print_json(said | ({"skipped": skipped} if own.on_bad == "skip" else {}))
        return 0
    for one in skipped:
        print(f"left out: {one['id']}: {one['what']}")
    for result in results:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in list(result["shares"].items())[:5])
        print(f"{result['name']}: {shares}")
    if own.example:
        named = " ".join(f"{option(name)} {folder}" for name, folder in inputs.items())
        print(f"the same with files: memorysam predict {own.checkpoint} {named} --out {own.out}")
    left_out = f", {len(skipped)} left out" if skipped else ""
    plural = "s" if len(results) != 1 else ""
    print(f"{len(results)} image{plural} written to {own.out}{left_out}; legend.png tells the colours")
    return 0


def modality_options(words: Sequence[str], names: Sequence[str]) -> dict[str, Path]:
    """Read `--NAME PATH` for each modality of the model.

    Raises:
        SettingsError: an option that is neither a modality nor known, one without a value, or none at all.
    """
    inputs: dict[str, Path] = {}
    rest = list(words)
    known = [option(name) for name in names]
    while rest:
        word, equals, value = rest.pop(0).partition("=")
        name = word.removeprefix("--").replace("-", "_")
        if not word.startswith("--") or name not in names:
            own = [f.name for f in dataclasses.fields(Arguments)] + list(EvaluateSettings.model_fields)
            options = [*known, *(option(key) for key in own if key not in ("checkpoint", SETTINGS))]
            raise SettingsError(f"unknown option {word!r}", expected=listing(known), fix=did_you_mean(word, options))
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise SettingsError(f"option {word} needs a file or a folder")
            value = rest.pop(0)
        if name in inputs:
            raise SettingsError(f"option {word} is given twice")
        inputs[name] = Path(value)
    if not inputs:
        raise SettingsError("no image was given", expected=f"one or more of: {listing(known)}")
    return inputs
