"""What happens to a stored sample before it becomes tensors: resizing, and the training augmentation of the paper.

One geometry is drawn per sample and applied to every modality and the label. Pixel centres of a picture and of its
resized version lie on the same half-pixel grid for every interpolation, so that all of them stay aligned.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from memorysam.config import AugmentSettings
from memorysam.data.raw import Image, Raw
from memorysam.errors import DataError
from memorysam.spec import IGNORE, Modality, Size

Interpolation = Literal["bilinear", "nearest"]
Window = tuple[slice, ...]
"""Rows and columns."""
_LUMA = np.array([0.299, 0.587, 0.114])
_OPENCV_CHANNELS = 4  # beyond, area averaging fails


class Resize:
    """Bring the images to `size`, each by its modality's interpolation; the label keeps its own size."""

    def __init__(self, size: Size, modalities: Sequence[Modality]) -> None:
        self.size = size
        self.interpolation: dict[str, Interpolation] = {m.name: m.interpolation for m in modalities}

    def __call__(self, raw: Raw, rng: np.random.Generator) -> Raw:  # noqa: ARG002
        """Resize a sample; nothing is left to chance."""
        images = {k: resize_image(image, self.size, self.interpolation[k]) for k, image in raw.images.items()}
        return replace(raw, images=images)


class ResizeAll(Resize):
    """Bring the images and the label to `size`."""

    def __call__(self, raw: Raw, rng: np.random.Generator) -> Raw:
        """Resize a sample; nothing is left to chance."""
        resized = super().__call__(raw, rng)
        return resized if raw.label is None else replace(resized, label=resize_label(raw.label, self.size))


class CentreCrop(Resize):
    """Scale a sample until it just covers `size`, its aspect ratio kept, and cut out the centre; the label likewise."""

    def __call__(self, raw: Raw, rng: np.random.Generator) -> Raw:  # noqa: ARG002
        """Cut a sample; nothing is left to chance."""
        source = _common_size(raw)
        factor = max(self.size[0] / source[0], self.size[1] / source[1])
        scaled = (round(source[0] * factor), round(source[1] * factor))
        starts = [(have - want) // 2 for have, want in zip(scaled, self.size, strict=True)]
        window = tuple(slice(start, start + want) for start, want in zip(starts, self.size, strict=True))
        images = {k: _resized_crop(image, scaled, window, self.interpolation[k]) for k, image in raw.images.items()}
        label = None if raw.label is None else _nearest(raw.label, scaled, window)
        return replace(raw, images=images, label=label)


class TrainTransform:
    """The paper's augmentation: colour jitter, flip, blur, and a crop of `size` from the randomly scaled sample.

    At scale 1 the sample just covers `size`, its aspect ratio kept: for a square `size`, its short side then is the
    side of `size`, as in the paper. Where a scaled sample is smaller than `size`, it is padded at the bottom and on the
    right with each modality's `fill`, and with the ignore index in the label.

    Args:
        size: height and width of the result.
        settings: probabilities and ranges.
        modalities: all that a sample may hold.
    """

    def __init__(self, size: Size, settings: AugmentSettings, modalities: Sequence[Modality]) -> None:
        self.size = size
        self.settings = settings
        self.modalities = {m.name: m for m in modalities}

    def __call__(self, raw: Raw, rng: np.random.Generator) -> Raw:
        """Augment a sample.

        Raises:
            DataError: its files differ in size, or a `fill` does not fit into its files.
        """
        # As many draws for every sample, whatever it holds: neither a modality nor a probability shifts the others.
        scale, top, left, flip, jitter, brightness, contrast, saturation, blur = rng.random(9).tolist()
        settings = self.settings
        source = _common_size(raw)
        scaled, window = self._geometry(source, scale, top, left)
        factors = [1 + settings.jitter_strength * (2 * draw - 1) for draw in (brightness, contrast, saturation)]
        images = {}
        for name, image in raw.images.items():
            modality = self.modalities[name]
            if modality.photometric and jitter < settings.jitter:
                image = _jitter(image, modality, *factors)
            if modality.photometric and blur < settings.blur:
                image = _keep_axes(cv2.GaussianBlur(image, (3, 3), 0.8))
            if flip < settings.flip:
                image = mirror(image, modality)
            images[name] = self._pad(_resized_crop(image, scaled, window, modality.interpolation), modality)
        label = raw.label
        if label is not None:
            if flip < settings.flip:
                label = label[:, ::-1]
            crop = _nearest(label, scaled, window)
            label = np.full(self.size, IGNORE, np.uint8)
            label[: crop.shape[0], : crop.shape[1]] = crop
        return replace(raw, images=images, label=label)

    def _geometry(self, source: Size, scale: float, top: float, left: float) -> tuple[Size, tuple[slice, slice]]:
        """Turn three draws from 0..1 into the size to scale to and the window to cut from it."""
        low, high = self.settings.scale
        factor = (low + (high - low) * scale) * max(self.size[0] / source[0], self.size[1] / source[1])
        scaled = (max(1, round(source[0] * factor)), max(1, round(source[1] * factor)))
        y = int(top * (max(scaled[0] - self.size[0], 0) + 1))
        x = int(left * (max(scaled[1] - self.size[1], 0) + 1))
        return scaled, (slice(y, y + self.size[0]), slice(x, x + self.size[1]))

    def _pad(self, crop: Image, modality: Modality) -> Image:
        """Fill `crop` up to the target size at the bottom and on the right."""
        if crop.shape[:2] == self.size:
            return crop
        fill = np.array(modality.fill)
        if crop.dtype.kind == "u" and (fill != np.rint(fill) or not 0 <= fill <= np.iinfo(crop.dtype).max):
            raise DataError(
                f"the fill value {modality.fill} of modality {modality.name!r} does not fit its {crop.dtype} files",
                where=f"fill of {modality.name}",
                expected=f"a whole number from 0 to {np.iinfo(crop.dtype).max}",
                fix="correct `fill`",
            )
        result = np.full((*self.size, crop.shape[2]), fill, crop.dtype)
        result[: crop.shape[0], : crop.shape[1]] = crop
        return result


def mirror(image: Image, modality: Modality) -> Image:
    """Flip `[H, W, K]` from left to right, and with it what is an angle in the image plane.

    Raises:
        DataError: a sign to be changed in values that have none.
    """
    flipped = _keep_axes(cv2.flip(image, 1))
    if modality.mirrored is None:
        return flipped
    if image.dtype.kind == "u":
        raise DataError(
            f"values of type {image.dtype} have no sign to be changed",
            where=f"mirror of {modality.name}",
            expected="files of floating point numbers from -1 to 1",
            fix="set `mirror: none`",
        )
    flipped[..., modality.mirrored] *= -1
    return flipped


def resize_image(image: Image, size: Size, interpolation: Interpolation) -> Image:
    """Resize `[H, W, K]` to `[*size, K]`.

    Bilinear averages areas along a side that shrinks, so that nothing aliases; nearest is that of half-pixel centres.
    """
    height, width = image.shape[:2]
    if (height, width) == tuple(size):
        return image
    if interpolation == "nearest":
        return _nearest(image, size)
    if image.shape[2] > _OPENCV_CHANNELS:
        starts = range(0, image.shape[2], _OPENCV_CHANNELS)
        parts = [np.ascontiguousarray(image[:, :, start : start + _OPENCV_CHANNELS]) for start in starts]
        return np.concatenate([resize_image(part, size, interpolation) for part in parts], axis=2)
    smaller = (min(size[0], height), min(size[1], width))
    if smaller != (height, width):
        image = cv2.resize(image, smaller[::-1], interpolation=cv2.INTER_AREA)
    if smaller != tuple(size):
        image = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return _keep_axes(image)


def resize_label(label: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Resize `[H, W]` to `size` by the nearest neighbour of half-pixel centres."""
    return label if label.shape == tuple(size) else _nearest(label, size)


_WHOLE = (slice(None), slice(None))


def _resized_crop(image: Image, size: Size, window: Window, interpolation: Interpolation) -> Image:
    """Cut `window` from the image resized to `size`."""
    if interpolation == "nearest":
        return _nearest(image, size, window)
    # Resizing only what the window shows would shift the grid by a fraction of a pixel; whole, it takes 3 ms.
    return np.ascontiguousarray(resize_image(image, size, interpolation)[window])


def _nearest(values: NDArray[Any], size: Size, window: Window = _WHOLE) -> NDArray[Any]:
    """Cut `window` from `[H, W, ...]` resized to `size` without interpolation, in whole numbers."""
    rows, columns = (
        ((2 * np.arange(new)[part] + 1) * old // (2 * new))
        for new, old, part in zip(size, values.shape[:2], window, strict=True)
    )
    result: NDArray[Any] = values.take(rows, axis=0).take(columns, axis=1)
    return result


def _jitter(image: Image, modality: Modality, brightness: float, contrast: float, saturation: float) -> Image:
    """Multiply brightness, then contrast, then saturation, clipping to the modality's range after each.

    Where the median is to become 0, nothing but the contrast about it says anything.
    """
    low, high = sorted(modality.range_of(image.dtype))
    if modality.zero == "median":
        return _stretch(image, contrast, float(np.median(image)), low, high)
    image = _stretch(image, brightness, low, low, high)
    means = _means(image)
    grey = float(means @ _LUMA) if len(means) == len(_LUMA) else float(means.mean())
    image = _stretch(image, contrast, grey, low, high)
    if len(means) != len(_LUMA):
        return image
    mixed: NDArray[Any] = cv2.transform(image, saturation * np.eye(3) + (1 - saturation) * _LUMA)
    if image.dtype.kind == "u" and low <= 0 and high >= np.iinfo(image.dtype).max:
        return mixed  # the type has clipped it already
    return np.asarray(np.clip(mixed, low, high), image.dtype)


def _means(image: Image) -> NDArray[np.float64]:
    """Return each channel's mean. Sums of whole numbers are exact in any order, so the fastest will do."""
    if image.dtype.kind == "u" and image.shape[2] <= _OPENCV_CHANNELS:
        sums = np.array(cv2.sumElems(image)[: image.shape[2]], np.float64)
        means: NDArray[np.float64] = sums / (image.shape[0] * image.shape[1])
    else:
        means = image.mean(axis=(0, 1), dtype=np.float64)
    return means


def _stretch(image: Image, factor: float, centre: float, low: float, high: float) -> Image:
    """Move values away from `centre` by `factor` and clip them; 8- and 16-bit ones through a table of all values."""
    if image.dtype.kind == "f":
        return np.asarray(np.clip(centre + (image - centre) * factor, low, high), image.dtype)
    most = np.iinfo(image.dtype).max
    table = np.clip(centre + (np.arange(most + 1) - centre) * factor, max(low, 0), min(high, most))
    table = np.rint(table).astype(image.dtype)
    if image.dtype == np.uint8:
        return _keep_axes(cv2.LUT(image, table))
    stretched: Image = table.take(image)
    return stretched


def _keep_axes(image: NDArray[Any]) -> Image:
    """Give back the channel axis that OpenCV drops when there is one channel."""
    return image if image.ndim == 3 else image[:, :, None]


def _common_size(raw: Raw) -> Size:
    """Return the size that images and label share."""
    sizes = {name: image.shape[:2] for name, image in raw.images.items()}
    if raw.label is not None:
        sizes["label"] = raw.label.shape
    if len(set(sizes.values())) > 1:
        raise DataError(
            "the files of this sample have different sizes, " + ", ".join(f"{k} {v}" for k, v in sizes.items()),
            where=f"sample {raw.id}",
            expected="one height and width for all",
            fix="resize the files, or have the data set bring them to one size",
        )
    height, width = next(iter(sizes.values()))
    return height, width
