"""What an exported file says of itself, as JSON: all that is needed to use it without the checkpoint."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from memorysam.errors import WeightsError
from memorysam.spec import Modality, Spec, Task
from memorysam.strict import build

KEY = "memorysam"
"""Name under which the JSON lies in a file's metadata."""
FORMAT = 1
"""Of what is said; another number where an older reader would misunderstand it."""


class Verified(Spec):
    """How an exported file was compared with the model, on inputs that were drawn."""

    images: int
    """How many, in batches of one and two."""
    difference: float
    """Largest absolute difference of a logit."""
    agreement: float
    """Share of pixels, at the image size, with the same class."""


class About(Spec):
    """What an exported file says of itself."""

    format: Literal[1] = 1
    task: Task
    """All modalities of the model with their preprocessing, classes with colours; `image_size` is the graph's."""
    modalities: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of those that the graph takes, in its order."""
    model: dict[str, Any]
    """Settings of the model."""
    align_corners: bool = False
    """Whether the logits' corners lie on the image's when they are upsampled."""
    versions: dict[str, str]
    """Of what wrote the file."""
    checkpoint: dict[str, str | None]
    """Name and SHA-256 of the checkpoint's file."""
    verified: Verified | None = None

    @model_validator(mode="after")
    def _of_the_task(self) -> Self:
        if tuple(name for name in self.task.names if name in self.modalities) != self.modalities:
            raise ValueError(f"the graph takes {list(self.modalities)}, the task has {list(self.task.names)}")
        return self

    @property
    def inputs(self) -> tuple[Modality, ...]:
        """The modalities that the graph takes, in its order."""
        return tuple(m for m in self.task.modalities if m.name in self.modalities)

    def as_text(self) -> str:
        """Return it as JSON."""
        return json.dumps(self.model_dump(mode="json"))


def read(text: str | None, where: object) -> About:
    """Read what a file says of itself.

    Raises:
        WeightsError: it says nothing, or something else than `export` writes.
        SettingsError: a value in it is none that can be.
    """
    if not text:
        raise WeightsError(
            "this file does not say what it takes and what its classes are",
            where=where,
            expected="a file that memorysam export has written",
        )
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise WeightsError("what this file says of itself is damaged", where=where, fix="use another copy")
    if values.get("format") != FORMAT:
        raise WeightsError(
            f"this file was exported in format {values.get('format')!r}",
            where=where,
            expected=f"format {FORMAT}",
            fix="export the checkpoint again, with the version that shall use the file",
        )
    return build(About, values, where)
