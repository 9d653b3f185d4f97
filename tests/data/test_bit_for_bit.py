"""What is made faster gives the bits of the plain formula."""

import itertools

import cv2
import numpy as np
import pytest

from memorysam.config import AugmentSettings
from memorysam.data.dataset import Raw, normalise
from memorysam.data.transforms import TrainTransform
from memorysam.spec import Modality

TYPES = (np.uint8, np.uint16, np.float32)


def drawn(dtype, channels):
    """A read-only image, as the cache gives it."""
    image = np.random.default_rng(channels).random((33, 45, channels))
    image = image.astype(dtype) if dtype == np.float32 else (image * (np.iinfo(dtype).max + 1)).astype(dtype)
    image.setflags(write=False)
    return image


@pytest.mark.parametrize(("dtype", "channels", "zero"), list(itertools.product(TYPES, (1, 2, 3, 5), ("low", "median"))))
def test_normalised_values_are_those_of_the_formula(dtype, channels, zero):
    image = drawn(dtype, channels)
    mean, std = (tuple(np.random.default_rng(seed).random(channels) + 0.1) for seed in (1, 2))
    modality = Modality(name="m", channels=channels, low=3.0, high="type", zero=zero, mean=mean, std=std)
    low, high = modality.range_of(image.dtype)
    values = image.astype(np.float32)
    values -= np.float32(low) if zero == "low" else np.median(values, axis=(0, 1))
    values /= np.float32(high - low)
    values -= np.asarray(mean, np.float32)
    values /= np.asarray(std, np.float32)
    assert normalise(image, modality).numpy().tobytes() == values.transpose(2, 0, 1).tobytes()


@pytest.mark.parametrize(("dtype", "channels", "high"), list(itertools.product(TYPES, (1, 3, 5), ("type", 100.0))))
def test_jittered_values_are_those_of_the_formula(dtype, channels, high):
    """Brightness, contrast about the mean grey, saturation; clipped to the range of the modality after each."""
    image = drawn(dtype, channels)
    modality = Modality(name="m", channels=channels, high=high, photometric=True)
    settings = AugmentSettings(scale=(1, 1), flip=0, jitter=1, blur=0)
    transform = TrainTransform(image.shape[:2], settings, [modality])
    found = transform(Raw({"m": image}, None, "x"), np.random.default_rng(7)).images["m"]
    draws = np.random.default_rng(7).random(9)[5:8]
    brightness, contrast, saturation = (1 + settings.jitter_strength * (2 * draw - 1) for draw in draws.tolist())
    low, most = modality.range_of(image.dtype)

    def stretched(values, factor, centre):
        if dtype == np.float32:
            return np.clip(centre + (values - centre) * factor, low, most).astype(dtype)
        return np.rint(np.clip(centre + (values.astype(np.float64) - centre) * factor, low, most)).astype(dtype)

    expected = stretched(image, brightness, low)
    means = expected.mean(axis=(0, 1), dtype=np.float64)
    luma = np.array([0.299, 0.587, 0.114])
    expected = stretched(expected, contrast, float(means @ luma) if channels == 3 else float(means.mean()))
    if channels == 3:
        mixed = cv2.transform(expected, saturation * np.eye(3) + (1 - saturation) * luma)
        expected = np.asarray(np.clip(mixed, low, most), dtype)
    assert found.dtype == dtype
    assert found.tobytes() == expected.tobytes()
