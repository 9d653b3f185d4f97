"""The vocabulary that models and data sets share: what a modality is, what the classes are, what a task is.

A `Task` travels inside every checkpoint, so that a model can be used with nothing else at hand.
"""

import colorsys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from memorysam.errors import SettingsError, did_you_mean, listing

IGNORE = 255
"""Label of pixels that count neither in losses nor in metrics."""

STRIDE = 32
"""Height and width of what a network sees are multiples of this: SAM2's coarsest feature level."""

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
"""Statistics of the colour images that SAM2's encoder was trained on; `mean: imagenet` in YAML."""

Colour = tuple[int, int, int]
Size = tuple[int, int]
"""Height, width in pixels."""


class Spec(BaseModel):
    """Base of everything that is written into checkpoints and read from YAML: frozen, and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


_UNCHANGED: dict[str, Any] = {
    "channels": 1, "low": 0.0, "high": 1.0, "mean": (0.0,), "std": (1.0,), "zero": "low", "holes": None,
    "interpolation": "nearest", "fill": 0.0, "stem": "repeat", "photometric": False, "mirror": "none",
}  # fmt: skip
"""How numbers of regions are treated: they stay what they are."""


class Modality(Spec):
    """One sensor, or a map of regions: how its stored values become the tensor that a model sees.

    A raw value `v` becomes `((v - low) / (high - low) - mean) / std`; with `zero: median`, `low` is replaced by the
    image's own median in the first subtraction, for sensors whose offset changes from frame to frame.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    channels: Annotated[int, Field(ge=1)] = 3
    low: float = 0.0
    """Raw value that becomes 0."""
    high: float | Literal["type"] = 255.0
    """Raw value that becomes 1; `type`: the largest value of the type that a file stores, for sets that mix 8 and 16
    bit (1 for floats)."""
    mean: tuple[float, ...] = (0.0,)
    """Subtracted after the range is mapped: one value, or one per channel."""
    std: tuple[Annotated[float, Field(gt=0)], ...] = (1.0,)
    """Divided by, after `mean`: one value, or one per channel."""
    zero: Literal["low", "median"] = "low"
    """What becomes 0: the raw value `low`, or the median of each channel of each image."""
    holes: tuple[float, float] | None = None
    """Smallest and largest raw value that stand for "nothing measured" (often 0 and 0); such pixels get the value of
    the nearest one that was measured."""
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    fill: float = 0.0
    """Raw value of pixels that a random crop adds."""
    stem: Literal["repeat", "learned"] | tuple[int, int, int] | None = None
    """Way to the three channels of SAM2's stem: repeat one channel, pick three bands, or a learned 1x1 convolution.
    Default: repeat for one channel, the bands themselves for three, learned for any other number."""
    photometric: bool = False
    """Whether colour jitter and blur apply in training: yes for cameras, no for measurements."""
    mirror: Literal["none", "sin", "cos"] = "none"
    """For an angle stored as (sin, cos): which of the two changes sign when the image is mirrored. Published results
    are with `none`."""
    role: Literal["sensor", "regions"] = "sensor"
    """regions: no sensor, but whole numbers that say which pixels belong together, to guide a model. One channel, whose
    values are never mixed nor changed; nothing else needs to be said of it."""

    @model_validator(mode="before")
    @classmethod
    def _numbers_stay(cls, values: Any) -> Any:
        return {**_UNCHANGED, **values} if isinstance(values, dict) and values.get("role") == "regions" else values

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _named(cls, value: Any, info: ValidationInfo) -> Any:
        return IMAGENET[info.field_name or ""] if value == "imagenet" else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for key, needed in _UNCHANGED.items():
            if self.role == "regions" and getattr(self, key) != needed:
                raise ValueError(f"'{key}: {getattr(self, key)}' would change the numbers of regions: leave it out")
        if self.low == (1.0 if self.high == "type" else self.high):
            raise ValueError(f"'low' and 'high' are both {self.low}: the value range is empty")
        for key in ("mean", "std"):
            if len(getattr(self, key)) not in (1, self.channels):
                raise ValueError(f"'{key}' needs 1 or {self.channels} values, it has {len(getattr(self, key))}")
        if self.holes is not None and self.holes[0] > self.holes[1]:
            raise ValueError(f"'holes: {list(self.holes)}' begins above its end")
        if self.mirror != "none" and self.channels < 2:
            raise ValueError(f"'mirror: {self.mirror}' is for an angle in two channels, sin and cos; this one has one")
        stem = self.stem
        if stem == "repeat" and self.channels != 1:
            raise ValueError(
                f"'stem: repeat' is for one channel, this modality has {self.channels}: pick three bands, or 'learned'"
            )
        if isinstance(stem, tuple) and not all(0 <= band < self.channels for band in stem):
            raise ValueError(f"'stem: {list(stem)}' names a band outside 0..{self.channels - 1}")
        if stem is None:
            default = {1: "repeat", 3: (0, 1, 2)}.get(self.channels, "learned")
            object.__setattr__(self, "stem", default)
        return self

    @property
    def mirrored(self) -> int | None:
        """The channel that changes sign when the image is mirrored."""
        return {"none": None, "sin": 0, "cos": 1}[self.mirror]

    def range_of(self, dtype: np.dtype[Any]) -> tuple[float, float]:
        """Return the raw values that become 0 and 1 in files of a type."""
        if self.high != "type":
            return self.low, self.high
        return self.low, float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0


def camera(name: str = "rgb") -> Modality:
    """Return an 8-bit colour camera with ImageNet statistics."""
    return Modality(name=name, mean=IMAGENET["mean"], std=IMAGENET["std"], photometric=True)


class Classes(Spec):
    """Class names in the order of their ids, with one colour each."""

    names: Annotated[tuple[str, ...], Field(min_length=2, max_length=IGNORE)]
    colors: tuple[Colour, ...] = ()
    """RGB, 0 to 255. Left out: hues spread evenly, lightness alternating."""

    @field_validator("names")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"class names appear twice: {listing(twice)}")
        return names

    @model_validator(mode="after")
    def _coloured(self) -> Self:
        if not self.colors:
            object.__setattr__(self, "colors", spread_colours(len(self.names)))
        if len(self.colors) != len(self.names):
            raise ValueError(f"{len(self.colors)} colours for {len(self.names)} classes")
        if any(not 0 <= value <= 255 for colour in self.colors for value in colour):
            raise ValueError("colours are red, green, blue from 0 to 255")
        return self

    def __len__(self) -> int:
        return len(self.names)


class Task(Spec):
    """What a model does: from which sensors, into which classes, at which size (height, width)."""

    modalities: Annotated[tuple[Modality, ...], Field(min_length=1)]
    classes: Classes
    image_size: Size

    @field_validator("image_size")
    @classmethod
    def _legal(cls, size: Size) -> Size:
        if any(side <= 0 or side % STRIDE for side in size):
            near = tuple(max(STRIDE, round(side / STRIDE) * STRIDE) for side in size)
            raise ValueError(
                f"image size {list(size)} is not a multiple of {STRIDE}: the nearest legal size is {list(near)}"
            )
        return size

    @field_validator("modalities")
    @classmethod
    def _named_once(cls, modalities: tuple[Modality, ...]) -> tuple[Modality, ...]:
        names = [m.name for m in modalities]
        if len(set(names)) < len(names):
            raise ValueError(f"modalities appear twice: {names}")
        return modalities

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the modalities, in the order in which they are shown to the model."""
        return tuple(m.name for m in self.modalities)

    @property
    def sensors(self) -> tuple[str, ...]:
        """Names of those that are sensors: any of them may be missing where the model is used."""
        return tuple(m.name for m in self.modalities if m.role == "sensor")

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of those that are maps of regions: always there."""
        return tuple(m.name for m in self.modalities if m.role == "regions")

    def seeing(self, names: Iterable[str] | None) -> tuple[Modality, ...]:
        """Return what the model is given when it shall see the named sensors, in its own order: maps of regions too.

        Raises:
            SettingsError: an unknown name, one given twice, or no sensor.
        """
        chosen = select(self.modalities, names)
        if all(m.role == "regions" for m in chosen):
            raise SettingsError(
                f"no sensor is named, but {listing(m.name for m in chosen)}", expected=listing(self.sensors)
            )
        return tuple(m for m in self.modalities if m in chosen or m.role == "regions")


def select(modalities: Sequence[Modality], names: Iterable[str] | None) -> tuple[Modality, ...]:
    """Return the named modalities in the order named; all of them for None.

    Raises:
        SettingsError: a name that is not among them, a name given twice, or no name at all.
    """
    if names is None:
        return tuple(modalities)
    known = {m.name: m for m in modalities}
    names = list(names)
    for name in names:
        if name not in known:
            raise SettingsError(
                f"there is no modality {name!r} here", expected=listing(known), fix=did_you_mean(name, known)
            )
    if not names or len(set(names)) < len(names):
        raise SettingsError(f"modalities must be named once each, at least one; got {names}", expected=listing(known))
    return tuple(known[name] for name in names)


def spread_colours(count: int) -> tuple[Colour, ...]:
    """Return distinguishable colours for `count` classes, always the same."""
    colours = []
    for i in range(count):
        hue, lightness = (i * 0.61803398875) % 1.0, (0.42, 0.62, 0.52)[i % 3]
        red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.75)
        colours.append((round(red * 255), round(green * 255), round(blue * 255)))
    return tuple(colours)


def as_modality(value: "str | Mapping[str, Any] | Modality") -> Modality:
    """Return a modality from a name, a mapping of its fields, or itself.

    A name alone stands for three 8-bit channels; `rgb`, `image` and `color` for a camera with ImageNet statistics.
    """
    if isinstance(value, Modality):
        return value
    if isinstance(value, str):
        return camera(value) if value in ("rgb", "image", "color") else Modality(name=value)
    return Modality(**value)


def as_classes(value: "Sequence[str] | Mapping[str, Colour] | Classes") -> Classes:
    """Return classes from their names, from names with colours, or themselves."""
    if isinstance(value, Classes):
        return value
    if isinstance(value, Mapping):
        return Classes(names=tuple(value), colors=tuple(value.values()))
    return Classes(names=tuple(value))
