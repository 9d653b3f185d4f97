"""Missing and noisy sensors: which conditions there are, and what is made of their scores."""

from itertools import pairwise

import pytest

from memorysam.evaluation.robustness import (
    LOSSES,
    MISSING,
    average,
    by_missing,
    conditions,
    expectation,
    subsets,
    weights,
)
from memorysam.evaluation.robustness_run import Plan

FOUR = ("rgb", "depth", "event", "lidar")


@pytest.mark.parametrize("count", range(1, 7))
def test_there_are_all_subsets_but_the_empty_one(count):
    sensors = [f"s{i}" for i in range(count)]
    found = subsets(sensors)
    assert len(found) == len(set(found)) == 2**count - 1
    assert all(len(a) <= len(b) for a, b in pairwise(found))
    assert all(list(subset) == sorted(subset) and subset for subset in found)
    for part, passes in (("emm", 2**count - 1), ("rmm", 3 * (2**count - 1)), ("nm", 4)):
        made = conditions(sensors, (part,))
        assert len(made) == passes
        assert sum(c.harmless for c in made) == (len(LOSSES) if part == "rmm" else 1)
        names = [c.name for c in made if not c.harmless]
        assert len(set(names)) == len(names)
        assert all(sorted((*c.present, *c.absent)) == sensors for c in made)


def test_four_sensors_make_fifteen_subsets_and_nothing_is_scored_twice():
    assert len(subsets(FOUR)) == 15
    passes = Plan(FOUR).passes()
    assert len(passes) == 1 + 2 * (14 + 3 * 14 + 3)
    assert len(Plan(("thermal",)).passes()) == 1 + 2 * 3, "one sensor has noise, and nothing to lose"


@pytest.mark.parametrize("p", [*MISSING, 0.5, 1e-9])
@pytest.mark.parametrize("count", [1, 2, 4, 6])
def test_weights_are_those_of_independent_failures_and_add_up_to_one(count, p):
    sensors = [f"s{i}" for i in range(count)]
    found = weights(sensors, p)
    assert sum(found.values()) == pytest.approx(1)
    whole = found[tuple(sensors)]
    for subset, weight in found.items():
        assert weight / whole == pytest.approx((p / (1 - p)) ** (count - len(subset)))


def test_means_by_hand():
    scores = {("a",): 10.0, ("b",): 20.0, ("a", "b"): 60.0}
    assert average(scores) == pytest.approx(30)
    assert expectation(scores, ("a", "b"), 0.2) == pytest.approx((0.16 * 10 + 0.16 * 20 + 0.64 * 60) / 0.96)
    assert expectation(scores, ("a", "b"), 1e-12) == pytest.approx(60)
    assert by_missing(scores, ("a", "b")) == {0: 60, 1: 15}
    scores["a",] = None
    assert average(scores) is expectation(scores, ("a", "b"), 0.2) is None
    assert by_missing(scores, ("a", "b")) == {0: 60, 1: 20}
