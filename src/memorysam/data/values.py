"""From stored values to the numbers that a model sees, as NumPy has them: nothing here needs PyTorch."""

import cv2
import numpy as np
from numpy.typing import NDArray

from memorysam.data.raw import Image
from memorysam.spec import Modality


def normalised(image: Image, modality: Modality) -> NDArray[np.float32]:
    """Turn stored values `[H, W, K]` into what a model sees: float32 `[K, H, W]`, by the modality's rule.

    Channel by channel, each written once to where it stays; values of 8 bits go through a table of all of them.
    """
    height, width, channels = image.shape
    low, high = modality.range_of(image.dtype)
    span = np.float32(high - low)
    means, stds = (np.broadcast_to(np.asarray(v, np.float32), channels) for v in (modality.mean, modality.std))
    by_table = image.dtype == np.uint8 and modality.zero == "low"
    result = np.empty((channels, height, width), np.float32)
    for channel, mean, std in zip(range(channels), means, stds, strict=True):
        given = np.ascontiguousarray(image[:, :, channel])
        values = np.arange(256, dtype=np.float32) if by_table else result[channel]
        if not by_table:
            values[...] = given
        values -= np.float32(low) if modality.zero == "low" else np.median(values)
        values /= span
        values -= mean
        values /= std
        if by_table:
            cv2.LUT(given, values, dst=result[channel])
    return result
