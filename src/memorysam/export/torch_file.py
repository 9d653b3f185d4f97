"""A graph as a `.pt2` file of `torch.export`, with what it says of itself. Reading such a file can run code in it."""

from pathlib import Path

import numpy as np
import torch
from torch.export import ExportedProgram

from memorysam.errors import SettingsError, WeightsError
from memorysam.export.about import KEY, About, read
from memorysam.export.answer import Answer, Images
from memorysam.models.base import upsample
from memorysam.spec import Size


def write(program: ExportedProgram, path: Path, about: About) -> None:
    """Write a program with what it says of itself."""
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files={KEY: about.as_text()})


class TorchGraph:
    """An exported `.pt2` file.

    Args:
        path: the file.
        device: auto or cpu.
        trust: that nobody else has made or changed the file: PyTorch runs what stands in it.

    Raises:
        WeightsError: missing, cut off, of others, or not trusted.
        SettingsError: another device.
    """

    def __init__(self, path: Path, device: str = "auto", trust: bool = False) -> None:
        if not path.is_file():
            raise WeightsError("there is no such file", where=path)
        if not trust:
            raise WeightsError(
                "a .pt2 file can run code of whoever made it when it is read",
                where=path,
                expected="a file of your own making, or an ONNX file",
                fix="if you made it, say so: --trust, memorysam.load(..., trust=True)",
            )
        if device not in ("auto", "cpu"):
            raise SettingsError("a .pt2 file was made for the CPU", where="device", expected="auto or cpu")
        said = {KEY: ""}
        try:
            with path.open("rb") as file:
                program = torch.export.load(file, extra_files=said)
        except Exception as error:  # noqa: BLE001  anything may be in a file that is not what it claims
            raise WeightsError(
                "this is not a whole .pt2 file",
                where=path,
                expected="a file that memorysam export has written, to its end",
                fix=f"use another copy ({next(iter(str(error).splitlines()), type(error).__name__)[:200]})",
            ) from None
        self.about: About = read(said[KEY], path)
        self._module = program.module()

    @torch.no_grad()
    def run(self, images: Images, size: Size) -> Answer:
        """Segment a batch; the answer has the height and width `size`."""
        given = [torch.from_numpy(np.ascontiguousarray(images[name])) for name in self.about.modalities]
        logits = self._module(*given)
        full = upsample(logits, size, self.about.align_corners)
        return Answer(logits.numpy(), full.softmax(dim=1).numpy(), full.argmax(dim=1).numpy())
