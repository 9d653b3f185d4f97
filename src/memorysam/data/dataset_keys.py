"""The keys that a dataset.yaml may have."""

from pathlib import Path
from typing import Annotated, Any

from numpy.typing import NDArray
from pydantic import Field

from memorysam.errors import DataError
from memorysam.spec import Modality, Spec

LABEL, INVALID = "label", "label#invalid"
"""Keys of the label's file and of its mask among the files of a sample."""

RAW_VALUES = 2**16
RawValue = Annotated[int, Field(ge=0, lt=RAW_VALUES)]


class Crop(Spec):
    """Rows and columns that are cut from every file before anything else."""

    left: Annotated[int, Field(ge=0)] = 0
    right: Annotated[int, Field(ge=0)] = 0
    top: Annotated[int, Field(ge=0)] = 0
    bottom: Annotated[int, Field(ge=0)] = 0

    def apply(self, values: NDArray[Any], path: Path) -> NDArray[Any]:
        """Cut `[H, W, ...]`.

        Raises:
            DataError: nothing would be left.
        """
        height, width = values.shape[:2]
        cut = values[self.top : height - self.bottom, self.left : width - self.right]
        if self.top + self.bottom >= height or self.left + self.right >= width:
            raise DataError(
                f"this file is {height} x {width} (height x width), and `crop` leaves nothing of it",
                where=path,
                expected=f"more than {self.top + self.bottom} rows and {self.left + self.right} columns",
                fix="correct `crop` in the dataset file, or bring the original files",
            )
        return cut


class DatasetFile(Spec):
    """The keys of the file. Groups with keys of their own are built one by one, for messages that name them."""

    name: str
    root: Path | None = None
    modalities: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    label: dict[str, Any] | None = None
    splits: Any
    """Split -> list file, or names of splits; looked at by `_lists`."""
    classes: Any
    """Class -> colour, or names of classes; looked at by `_classes`."""
    tags: dict[str, dict[str, Any]] = Field(default_factory=dict)
    crop: dict[str, Any] = Field(default_factory=dict)
    published: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Split -> what its authors say it holds: samples, and samples by tag and value."""


class Sensor(Modality):
    """A modality and its files."""

    path: str | Annotated[tuple[str, ...], Field(min_length=1)]
    """Where its files are; several paths give one file's channels after the other's."""
    resize: bool = False
    """Whether files of another size than the label's are brought to it; otherwise they are an error."""
    optional: bool = False
    """Not among the modalities that are taken where none are named."""

    @property
    def paths(self) -> tuple[str, ...]:
        """All paths."""
        return (self.path,) if isinstance(self.path, str) else self.path


class InvalidMask(Spec):
    """Masks whose pixels above 0 have no valid measurement; whether their labels count is up to who reads."""

    path: str
    modality: str
    """The one that was not measured there: without it, the mask says nothing."""


class LabelFile(Spec):
    """The label's files."""

    path: str
    channel: Annotated[int, Field(ge=0)] | None = None
    map: dict[RawValue, str] | None = None
    invalid: InvalidMask | None = None


class Tag(Spec):
    """A tag that is taken from a part of a field."""

    from_: Annotated[str, Field(alias="from")]
    values: Annotated[tuple[str, ...], Field(min_length=1)]
    otherwise: str = "none"

    def of(self, text: str) -> str:
        """Return the first of `values` that is a whole part of `text` between underscores."""
        parts = text.split("_")
        return next((value for value in self.values if value in parts), self.otherwise)


class Published(Spec):
    """What the authors of a data set say of a split."""

    samples: int
    tags: dict[str, dict[str, int]] = Field(default_factory=dict)


def part_keys(name: str, count: int) -> list[str]:
    """Return the keys of a modality's files: its name, and its name with a number for the second file on."""
    return [name, *(f"{name}#{number}" for number in range(2, count + 1))]
