"""From a model to a file for other programs, compared with the model before it is kept."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch

from memorysam.export import onnx_file, torch_file, verify
from memorysam.export.about import About
from memorysam.export.answer import Graph
from memorysam.export.graph import aligns_corners, graph_of
from memorysam.export.onnx_session import OnnxGraph
from memorysam.export.torch_file import TorchGraph
from memorysam.export.verify import Comparison
from memorysam.files import write_atomically
from memorysam.models.base import SegmentationModel

Format = Literal["onnx", "torch"]
SUFFIX = {"onnx": ".onnx", "torch": ".pt2"}
_WRITERS = ("memorysam", "torch", "transformers", "onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Report:
    """What was written, and how it compares."""

    about: About
    megabytes: float
    seconds: float
    """Of making the graph, without comparing."""
    comparison: Comparison


def export(
    model: SegmentationModel,
    path: Path,
    names: Sequence[str] | None = None,
    kind: Format = "onnx",
    checkpoint: dict[str, str | None] | None = None,
    tell: Callable[[int, int], None] = lambda _done, _total: None,
) -> Report:
    """Write a model as one graph, for one list of modalities and the task's image size; compared before it is kept.

    Args:
        model: on the CPU, in float32; it is prepared for predictions in place.
        path: the file; one that is there is replaced.
        names: of the modalities that the graph shall take; None for all.
        kind: onnx, or torch for a `.pt2` of `torch.export`.
        checkpoint: name and SHA-256 of the file that the model is from.
        tell: called while the graph is compared; see `verify.compare`.

    Raises:
        SettingsError: the model cannot be made such a graph, or an unknown modality.
        MemorySAMError: the graph differs from the model, or what writes it is not installed.
    """
    if kind == "onnx":
        onnx_file.require()
    began = time.perf_counter()
    chosen = tuple(modality.name for modality in model.task.seeing(names))
    program = graph_of(model, chosen, model.task.image_size)
    about = About(
        task=model.task,
        modalities=chosen,
        model=model.settings(),
        align_corners=aligns_corners(model, chosen),
        versions=_versions(),
        checkpoint=checkpoint or {"file": None, "sha256": None},
    )
    made: Any = onnx_file.convert(program, about) if kind == "onnx" else program
    put: Callable[[Any, Path, About], None] = onnx_file.write if kind == "onnx" else torch_file.write
    seconds = time.perf_counter() - began
    kept: list[tuple[About, Comparison]] = []

    def write(temporary: Path) -> None:
        put(made, temporary, about)
        comparison = verify.compare(open_graph(temporary, kind), model, tell=tell)
        verified = about.model_copy(update={"verified": comparison.verified})
        put(made, temporary, verified)
        kept.append((verified, comparison))

    write_atomically(path, write)
    return Report(kept[0][0], path.stat().st_size / 1e6, seconds, kept[0][1])


def open_graph(path: Path, kind: Format) -> Graph:
    """Open a file that was written here, on the CPU."""
    if kind == "onnx":
        return OnnxGraph(path, "cpu", torch.get_num_threads())
    return TorchGraph(path, "cpu", trust=True)


def _versions() -> dict[str, str]:
    found = {}
    for package in _WRITERS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
