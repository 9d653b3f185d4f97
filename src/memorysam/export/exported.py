"""An exported file behind the call that a loaded checkpoint has."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np

from memorysam.config import EvaluateSettings
from memorysam.errors import InputError, SettingsError, WeightsError, listing
from memorysam.export.answer import Graph
from memorysam.export.views import probabilities, require_possible
from memorysam.prediction import Input, Prediction, prepared, read_scene, size_of
from memorysam.spec import Task

SUFFIXES = (".onnx", ".pt2")
"""Of exported files."""


class Exported:
    """A graph together with what turns files and arrays into its input.

    Args:
        graph: read from a file.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    @property
    def task(self) -> Task:
        """What the model does; its image size is the graph's."""
        return self.graph.about.task

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities that the graph takes: all of them are needed."""
        return self.graph.about.modalities

    @property
    def model(self) -> NoReturn:
        """There is none.

        Raises:
            SettingsError: always.
        """
        raise SettingsError("an exported file can predict and nothing else", fix="use the checkpoint that it is from")

    def predict(self, images: Mapping[str, Input], settings: EvaluateSettings | None = None) -> Prediction:
        """Segment one scene.

        Args:
            images: all modalities that the graph takes: paths, or arrays `[H, W]` or `[H, W, K]` of the values that a
                file would hold (colour in RGB order). All of one size, whatever it is.
            settings: whole image or windows, flips.

        Raises:
            InputError, DataError: other modalities, a file that cannot be read, or images of different sizes.
            SettingsError: what a graph of one size cannot do.
        """
        settings = settings or EvaluateSettings()
        require_possible(settings)
        self.require_all(images)
        raw = read_scene(images, self.task)
        found = probabilities(self.graph, prepared(raw, self.task, settings), size_of(raw), settings)
        return Prediction.of(found.argmax(axis=0).astype(np.uint8), found, raw, self.task)

    def require_all(self, names: Mapping[str, object]) -> None:
        """Raise if the named modalities are not those that the graph takes.

        Raises:
            InputError: one is missing, or one is not among them.
        """
        for name in names:
            if name in self.task.names and name not in self.modalities:
                raise InputError(
                    f"this file was exported without {name!r}",
                    expected=f"{listing(self.modalities)}, all of them",
                    fix="leave it out, or export the checkpoint again for these modalities",
                )
        missing = [name for name in self.modalities if name not in names]
        if missing and names and set(names) <= set(self.task.names):
            raise InputError(
                f"this file was exported for {listing(self.modalities)} together: {listing(missing)} is missing",
                expected="an image of each; an exported file cannot do without one",
                fix="give it, or export the checkpoint again with --modalities " + " ".join(names),
            )

    def for_inference(self, precision: Literal["fp32", "bf16"] = "fp32") -> None:
        """Do nothing: a graph is ready.

        Raises:
            SettingsError: another precision than it was exported in.
        """
        if precision != "fp32":
            raise SettingsError("an exported file computes in float32", where="precision", expected="fp32")


def open_exported(path: Path, device: str = "auto", trust: bool = False) -> Exported:
    """Read an exported file.

    Args:
        path: `.onnx`, or `.pt2`, for which PyTorch is needed.
        device: auto, cpu or cuda.
        trust: of a `.pt2`: that nobody else has made or changed it.

    Raises:
        WeightsError: missing, cut off, of others, not to be trusted.
        SettingsError: no such device here.
    """
    if not path.is_file():
        raise WeightsError("there is no such file", where=path)
    if path.suffix == ".pt2":
        from memorysam.export.torch_file import TorchGraph

        return Exported(TorchGraph(path, device, trust))
    from memorysam.export.onnx_session import OnnxGraph

    return Exported(OnnxGraph(path, device))
