"""The embedded world as a source of samples: everything works without a download."""

from collections.abc import Sequence

import numpy as np

from memorysam.data.dataset import Raw
from memorysam.data.scenes import camera, sensors
from memorysam.data.scenes.light import radiance
from memorysam.data.scenes.names import CLASSES, MODALITIES, Key
from memorysam.data.scenes.raster import Frame, render
from memorysam.data.scenes.sensors import Picture
from memorysam.data.scenes.weather import weather
from memorysam.data.scenes.world import build
from memorysam.data.transforms import resize_image
from memorysam.errors import DataError
from memorysam.spec import Size, select

_SMALLEST = 16


class ScenesSource:
    """Driving scenes with four sensors, drawn from the seed, the split and the index alone.

    Args:
        split: any name; splits of different names have no scene in common.
        count: number of samples; conditions take turns.
        size: height and width in pixels. At another size the same index shows the same scene.
        seed: of the world.

    Raises:
        DataError: a count, size or seed that cannot be.
    """

    modalities = MODALITIES
    classes = CLASSES

    def __init__(self, split: str, count: int, size: Size, seed: int = 0) -> None:
        if count < 1 or seed < 0 or min(size) < _SMALLEST:
            raise DataError(
                "there are no such scenes",
                where=f"count {count}, size {list(size)}, seed {seed}",
                expected=f"count from 1, height and width from {_SMALLEST}, seed from 0",
            )
        self.size: Size = (size[0], size[1])
        self._keys = tuple(Key(split, index, seed) for index in range(count))
        self.ids: Sequence[str] = tuple(key.id for key in self._keys)

    def tags(self, index: int) -> dict[str, str]:
        """Return condition, failure and map of a sample."""
        return self._keys[index].tags

    def read(self, index: int, modalities: Sequence[str]) -> Raw:
        """Render the named modalities of a sample, and its label; without names, the label alone.

        Raises:
            SettingsError: no such modality.
        """
        frame, images = self.observe(index, modalities)
        images = {name: resize_image(image, self.size, "nearest") for name, image in images.items()}
        return Raw(images, frame.label, self.ids[index], self.tags(index))

    def observe(self, index: int, modalities: Sequence[str]) -> tuple[Frame, dict[str, Picture]]:
        """Return the scene of a sample and what sensors deliver of it: events of low resolution are still small.

        Raises:
            SettingsError: no such modality.
        """
        names = [modality.name for modality in select(MODALITIES, modalities)] if modalities else []
        key = self._keys[index]
        now, frame = weather(key), render(build(key), self.size)
        light = radiance(frame, now) if {"rgb", "event"} & set(names) else np.empty((3, 0, 0), np.float32)
        sensor = {
            "rgb": lambda: camera.photograph(light, now, key),
            "depth": lambda: sensors.depth(frame, now, key),
            "event": lambda: sensors.events(frame, light, now, key),
            "lidar": lambda: sensors.lidar(frame, now, key),
        }
        return frame, {name: sensor[name]() for name in names}
