"""What the embedded world is made of by name: classes, conditions, failures, and the identity of one sample."""

import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from memorysam.spec import Classes, Colour, Modality, camera

DELIVER: dict[str, Colour] = {
    "Building": (70, 70, 70),
    "Fence": (100, 40, 40),
    "Other": (55, 90, 80),
    "Pedestrian": (220, 20, 60),
    "Pole": (153, 153, 153),
    "RoadLine": (157, 234, 50),
    "Road": (128, 64, 128),
    "SideWalk": (244, 35, 232),
    "Vegetation": (107, 142, 35),
    "Cars": (0, 0, 142),
    "Wall": (102, 102, 156),
    "TrafficSign": (220, 220, 0),
    "Sky": (70, 130, 180),
    "Ground": (81, 0, 81),
    "Bridge": (150, 100, 100),
    "RailTrack": (230, 150, 140),
    "GroundRail": (180, 165, 180),
    "TrafficLight": (250, 170, 30),
    "Static": (110, 190, 160),
    "Dynamic": (170, 120, 50),
    "Water": (45, 60, 150),
    "Terrain": (145, 170, 100),
    "TwoWheeler": (0, 0, 230),
    "Bus": (0, 60, 100),
    "Truck": (0, 0, 70),
}
"""The 25 classes of the benchmark in the order of their ids, with its colours."""

_ABSENT = {"Other", "Ground", "Bridge", "RailTrack", "GroundRail", "Static", "Dynamic", "Water"}

CLASSES = Classes(
    names=tuple(name for name in DELIVER if name not in _ABSENT),
    colors=tuple(colour for name, colour in DELIVER.items() if name not in _ABSENT),
)
"""Those that the world really holds."""

ID = {name: number for number, name in enumerate(CLASSES.names)}
"""Class name -> id in the labels of this source."""

STORED = {name: number for number, name in enumerate(DELIVER, start=1)}
"""Class name -> value in label files: the benchmark's id plus one."""

MODALITIES: tuple[Modality, ...] = (
    camera("rgb"),
    Modality(name="depth"),
    Modality(name="event", interpolation="nearest"),
    Modality(name="lidar", interpolation="nearest"),
)

CONDITIONS = ("cloud", "fog", "night", "rain", "sun")
FAILURES = ("motionblur", "overexposure", "underexposure", "lidarjitter", "eventlowres")
NONE = "none"

_SHARES = ((NONE, 0.60), ("motionblur", 0.16), *((failure, 0.06) for failure in FAILURES[1:]))
_GOLDEN = 0.6180339887498949
MAPS, _POINTS = 8, 5


@dataclass(frozen=True)
class Key:
    """One sample: everything that is drawn for it is drawn from these three values."""

    split: str
    index: int
    seed: int = 0

    @property
    def condition(self) -> str:
        """Weather or light."""
        return CONDITIONS[self.index % len(CONDITIONS)]

    @property
    def failure(self) -> str:
        """The sensor that fails, or `none`.

        Multiples of the golden ratio keep every stretch of indices close to the wanted shares, in each condition by
        itself; conditions differ in their phase, so that they do not fail together.
        """
        turn, lane = divmod(self.index, len(CONDITIONS))
        phase = zlib.crc32(f"{self.seed}/{self.split}".encode()) / 2**32
        place = (phase + lane / len(CONDITIONS) + _GOLDEN * turn) % 1.0
        for failure, share in _SHARES:
            if place < share:
                return failure
            place -= share
        return NONE

    @cached_property
    def _place(self) -> tuple[int, int]:
        chance = zlib.crc32(f"{self.seed}/{self.split}/{self.index}".encode())
        return chance % MAPS, chance // MAPS % _POINTS

    @property
    def style(self) -> int:
        """Number of the town, from 0: it decides what kind of street is likely."""
        return self._place[0]

    @property
    def map(self) -> str:
        """Folder of a recording, such as `MAP_3_point2_lidarjitter`."""
        suffix = "" if self.failure == NONE else f"_{self.failure}"
        return f"MAP_{self._place[0] + 1}_point{self._place[1] + 1}{suffix}"

    @property
    def frame(self) -> str:
        """Number of the frame, as file names begin with it."""
        return f"{self.index:06d}"

    @property
    def id(self) -> str:
        """Unique name within the split: `<condition>/<map>/<frame>`."""
        return f"{self.condition}/{self.map}/{self.frame}"

    @property
    def tags(self) -> dict[str, str]:
        """What is known of the sample without looking at it."""
        return {"condition": self.condition, "failure": self.failure, "map": self.map}

    def chance(self, purpose: int) -> np.random.Generator:
        """Return the generator for one purpose (0: the world, then one per sensor), the same at every call."""
        return np.random.default_rng((self.seed, zlib.crc32(self.split.encode()), self.index, purpose))
