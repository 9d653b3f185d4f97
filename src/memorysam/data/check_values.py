"""What the values of a modality say about how it was declared."""

import numpy as np

from memorysam.data.check_report import CheckReport
from memorysam.data.dataset import Image
from memorysam.spec import Modality

_NEAR_1 = 0.02
_FAR = 10
"""A declared range so many times wider than the values is probably a mistake."""


def judge_range(modality: Modality, report: CheckReport) -> None:
    """Add advice where the declared range obviously does not fit the values."""
    facts, name = report.modalities[modality.name], modality.name
    if not facts.values or modality.zero == "median" or modality.high == "type" or modality.role == "regions":
        return
    low, high = sorted((modality.low, modality.high))
    if facts.outside:
        share = 100 * facts.outside / facts.values
        best = {"uint8": 255, "uint16": 65535}.get("/".join(facts.types), facts.high)
        report.advice.append(
            f"{name}: {share:.3g} % of the values lie outside low: {low:g}, high: {high:g}; they go from {facts.low:g} "
            f"to {facts.high:g}. Set low: {min(low, facts.low):g}, high: {max(best, facts.high):g}"
        )
    elif facts.high - low < (high - low) / _FAR:
        report.advice.append(
            f"{name}: the values reach {facts.high:g}, far from high: {high:g}; a model would see next to nothing. "
            f"Set high to the largest value that the sensor can give"
        )


def judge_angle(modality: Modality, report: CheckReport) -> None:
    """Say which of sine and cosine changes sign with the mirror, from the signs that they take.

    Mirrored, an orientation phi becomes -phi modulo pi. Stored doubled, that negates the sine; stored as a single
    angle, whichever of the two takes both signs.
    """
    angle = report.modalities[modality.name].angle
    if angle is None:
        return
    sine, cosine = angle
    if sine >= 0 > cosine:
        stored, choice = "a single angle from 0 to pi (no sine below 0)", "cos"
    elif cosine >= 0 > sine:
        stored, choice = "a single angle from -pi/2 to pi/2 (no cosine below 0)", "sin"
    else:
        stored, choice = "a doubled angle or one of the full circle (both take both signs)", "sin"
    report.notes.append(
        f"{modality.name}: (sin, cos) of {stored}; the physical choice is `mirror: {choice}`, now it is "
        f"`{modality.mirror}`; published results are with `none`"
    )


def angle_of(image: Image) -> tuple[float, float] | None:
    """Return the smallest sine and cosine if two channels are those of an angle."""
    if image.shape[2] != 2 or image.dtype.kind != "f":
        return None
    length = np.square(image, dtype=np.float32).sum(axis=2)
    if float((np.abs(length - 1) < _NEAR_1).mean()) < 1 - _NEAR_1:
        return None
    return float(image[..., 0].min()), float(image[..., 1].min())
