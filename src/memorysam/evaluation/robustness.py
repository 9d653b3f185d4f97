"""Robustness to missing and noisy sensors (arXiv 2503.18445): which conditions there are, and numbers from scores.

EMM, entirely missing modalities: a model is scored with each non-empty subset of its `N` sensors. RMM, randomly
missing: the sensors outside a subset lose a share of their values. NM, noisy modalities: all are there, and noisy.
Nothing here touches an image or a model; `perturb` says what is done to images, `robustness_run` does it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Literal, get_args

Part = Literal["emm", "rmm", "nm"]
Variant = Literal["paper", "strict"]
Subset = tuple[str, ...]
"""Names of the sensors that are there, in the model's order."""

PARTS: tuple[Part, ...] = get_args(Part)
VARIANTS: tuple[Variant, ...] = get_args(Variant)
MISSING = (0.2, 0.1, 0.05)
"""Probabilities that a sensor is missing, for which an expectation is reported."""
LOSSES = (0.25, 0.5, 0.75)
"""Shares of the values that are lost in RMM."""


@dataclass(frozen=True)
class Noise:
    """A level of noise."""

    name: str
    density: float
    """Share of salt and pepper, one half each."""
    sigma: float
    """Standard deviation of the Gaussian noise, in units of normalised values."""


NOISES = (Noise("low", 0.05, 0.1), Noise("middle", 0.1, 0.2), Noise("high", 0.2, 0.5))


@dataclass(frozen=True)
class Condition:
    """What the sensors suffer in one pass over a split."""

    part: Part
    present: Subset
    """Sensors that are whole (EMM and RMM) or there (NM)."""
    absent: Subset = ()
    """The others: not there (EMM), or with a share of their values (RMM)."""
    loss: float = 0.0
    """That share which is lost, in RMM."""
    noise: Noise | None = None
    """In NM."""

    @property
    def harmless(self) -> bool:
        """Whether nothing is done to any image: all variants and parts have the same score for it."""
        return not self.absent and self.noise is None

    @property
    def name(self) -> str:
        """One word for a table or a file, the same in every run."""
        if self.noise is not None:
            return f"nm/{self.noise.name}"
        if self.harmless:
            return "whole"
        middle = f"{self.loss:g}/" if self.part == "rmm" else ""
        return f"{self.part}/{middle}{spelled(self.present)}"


def subsets(sensors: Sequence[str]) -> list[Subset]:
    """Return all `2**N - 1` non-empty subsets, the small ones first."""
    return [chosen for size in range(1, len(sensors) + 1) for chosen in combinations(sensors, size)]


def spelled(subset: Iterable[str]) -> str:
    """Return a subset as it is written in results."""
    return "+".join(subset)


def conditions(sensors: Sequence[str], parts: Iterable[Part] = PARTS) -> list[Condition]:
    """Return the conditions of the named parts, in the order of a report.

    Every part has the one in which nothing is missing and nothing noisy; it has the same name in all of them.

    Args:
        sensors: names, in the model's order; any number of them.
        parts: which.
    """
    found: list[Condition] = []
    for part in PARTS:
        if part not in parts:
            continue
        if part == "nm":
            found += [noisy(sensors, noise) for noise in (None, *NOISES)]
        else:
            losses = LOSSES if part == "rmm" else (1.0,)
            found += [missing(sensors, subset, part, loss) for loss in losses for subset in subsets(sensors)]
    return found


def missing(sensors: Sequence[str], present: Subset, part: Part = "emm", loss: float = 1.0) -> Condition:
    """Return the condition in which all sensors but a subset are missing, or lose a share of their values."""
    absent = tuple(name for name in sensors if name not in present)
    return Condition(part, present, absent, loss if part == "rmm" and absent else 0.0)


def noisy(sensors: Sequence[str], noise: Noise | None) -> Condition:
    """Return the condition in which all sensors are noisy; or none of them is."""
    return Condition("nm", tuple(sensors), noise=noise)


def weights(sensors: Sequence[str], p: float) -> dict[Subset, float]:
    """Return how likely each subset is to be what is left, if every sensor is missing with probability `p` by itself.

    `p**k * (1 - p)**(N - k)` for `k` missing of `N`; that all are missing is left out, and the rest add up to 1.
    """
    count = len(sensors)
    raw = {subset: p ** (count - len(subset)) * (1 - p) ** len(subset) for subset in subsets(sensors)}
    total = sum(raw.values())
    return {subset: weight / total for subset, weight in raw.items()}


def average(scores: Mapping[Subset, float | None]) -> float | None:
    """Return the plain mean over the subsets; None if one of them has no score."""
    known = [score for score in scores.values() if score is not None]
    return fmean(known) if known and len(known) == len(scores) else None


def expectation(scores: Mapping[Subset, float | None], sensors: Sequence[str], p: float) -> float | None:
    """Return the mean over the subsets, each as often as it is what is left (`weights`).

    Args:
        scores: of all subsets of `sensors`.
        sensors: names.
        p: probability that a sensor is missing; towards 0 this is the score with all sensors.

    Returns:
        None if a subset has no score.
    """
    total = 0.0
    for subset, weight in weights(sensors, p).items():
        score = scores.get(subset)
        if score is None:
            return None
        total += weight * score
    return total


def by_missing(scores: Mapping[Subset, float | None], sensors: Sequence[str]) -> dict[int, float]:
    """Return the mean score by number of missing sensors, from none to all but one; None scores are left out."""
    groups: dict[int, list[float]] = {}
    for subset, score in scores.items():
        if score is not None:
            groups.setdefault(len(sensors) - len(subset), []).append(score)
    return {count: fmean(values) for count, values in sorted(groups.items())}
