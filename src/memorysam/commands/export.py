"""memorysam export."""

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from memorysam.commands.arguments import parse, print_json
from memorysam.errors import SettingsError

DESCRIPTION = """Write a trained model as one graph for other programs: for one list of modalities, one image size, any
batch. The graph is compared with the model on twenty images before the file is kept.

  memorysam export runs/potholes --out potholes.onnx
  memorysam export runs/rgbdel --out rgbd.onnx --modalities rgb depth --image-size 512 768
  memorysam predict potholes.onnx --rgb a.jpg --disparity a.png

ONNX needs `pip install 'memorysam[export]'`; to use a file, onnxruntime is enough. docs/deploy.md says what is in
one."""


@dataclass
class Arguments:
    """Arguments of `memorysam export`."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """Run folder or checkpoint."""
    out: Path
    """The file: NAME.onnx, or NAME.pt2 for --format torch."""
    format: Literal["onnx", "torch"] = "onnx"
    """onnx, or torch: a program of torch.export."""
    modalities: tuple[str, ...] = ()
    """Which modalities the graph takes, all of them each time; by default all of the checkpoint's."""
    image_size: tuple[int, int] | None = None
    """Height and width of what the network sees, multiples of 32; by default the checkpoint's."""
    base: str | None = None
    """Of a light checkpoint: the weights that its training started from, a file, a folder or a Hub id."""
    json: bool = False
    """Print JSON instead of words."""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    arguments: Arguments = parse(Arguments, "export", argv, DESCRIPTION)
    from memorysam.export.make import SUFFIX, export
    from memorysam.export.onnx_file import require
    from memorysam.loading import load
    from memorysam.models.weights import locate
    from memorysam.training.progress import ProgressBar, say

    suffix = SUFFIX[arguments.format]
    if arguments.out.suffix != suffix:
        raise SettingsError(
            f"a file of format {arguments.format} ends in {suffix}",
            where="--out",
            expected=arguments.out.with_suffix(suffix).name,
        )
    if arguments.format == "onnx":
        require()  # before anything takes its time
    file = locate(arguments.checkpoint)
    model = load(file, image_size=arguments.image_size, device="cpu", verbose=False, base=arguments.base).model
    say("making the graph", quiet=arguments.json)
    with ExitStack() as stack:
        bars: list[ProgressBar] = []

        def tell(done: int, total: int) -> None:
            if not bars:
                bars.append(
                    stack.enter_context(ProgressBar(total, label="comparing", unit="call", quiet=arguments.json))
                )
            bars[0].advance(done)

        report = export(
            model,
            arguments.out,
            arguments.modalities or None,
            arguments.format,
            {"file": file.name, "sha256": _digest(file)},
            tell,
        )
    content = _described(report, arguments.out)
    if arguments.json:
        print_json(content)
    else:
        print(_text(content))
    return 0


def _digest(file: Path) -> str | None:
    if not file.is_file():  # a folder in the format of `transformers`
        return None
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _described(report: Any, path: Path) -> dict[str, Any]:
    verified = report.about.verified
    return {
        "file": str(path),
        "megabytes": round(report.megabytes, 3),
        "modalities": list(report.about.modalities),
        "image_size": list(report.about.task.image_size),
        "images_compared": verified.images,
        "largest_difference": verified.difference,
        "same_class": verified.agreement,
        "seconds": {
            "export": report.seconds,
            "image": report.comparison.seconds,
            "image_in_pytorch": report.comparison.model_seconds,
        },
    }


def _text(content: dict[str, Any]) -> str:
    seconds = content["seconds"]
    size = "x".join(map(str, content["image_size"]))
    return "\n".join(
        [
            f"takes       {', '.join(content['modalities'])}, {size}",
            f"compared    on {content['images_compared']} images: logits differ by at most "
            f"{content['largest_difference']:.1e}, {content['same_class']:.4%} of the pixels get the same class",
            f"size        {content['megabytes']:.1f} MB, made in {seconds['export']:.0f} s",
            f"time        {seconds['image'] * 1000:.0f} ms an image here, "
            f"{seconds['image_in_pytorch'] * 1000:.0f} ms in PyTorch",
            f"written to  {content['file']}",
        ]
    )
