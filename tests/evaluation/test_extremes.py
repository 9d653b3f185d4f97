import numpy as np
import torch

from memorysam.data.dataset import Sample
from memorysam.evaluation.extremes import Extremes
from memorysam.spec import Classes

CLASSES = Classes(names=("a", "b"))


def shown(extremes, rights):
    """Show images of 10 pixels, of which so many are right."""
    label = torch.zeros(2, 5, dtype=torch.int64)
    for name, right in rights.items():
        prediction = (torch.arange(10) >= right).long().view(2, 5)
        extremes(Sample({}, label, name, {}), prediction, label)
    return [scored.id for scored in extremes.worst], [scored.id for scored in extremes.best]


def test_the_worst_and_the_best_are_kept_in_their_order():
    rights = {"e": 5, "a": 1, "h": 9, "b": 2, "g": 8, "c": 3}
    assert shown(Extremes(CLASSES, 2), rights) == (["a", "b"], ["h", "g"])


def test_of_few_images_none_is_shown_twice():
    assert shown(Extremes(CLASSES, 2), {"x": 5, "y": 7, "z": 6}) == (["x", "z"], ["y"])
    assert shown(Extremes(CLASSES, 3), {"x": 5}) == (["x"], [])
    assert shown(Extremes(CLASSES, 0), {"x": 5}) == ([], [])


def test_the_score_of_an_image_is_over_its_own_classes():
    extremes = Extremes(CLASSES, 1)
    shown(extremes, {"all right": 10})
    assert extremes.worst[0].miou == 100  # class b does not occur and is no 0


def test_an_image_without_a_label_has_no_score():
    extremes = Extremes(CLASSES, 1)
    nothing = torch.full((2, 2), 255)
    extremes(Sample({}, nothing, "x", {}), torch.zeros(2, 2, dtype=torch.int64), nothing)
    assert extremes.worst == extremes.best == []


def test_what_is_not_labelled_stays_so():
    extremes = Extremes(CLASSES, 1)
    label = torch.tensor([[0, 255]])
    extremes(Sample({}, label, "x", {}), torch.tensor([[0, 1]]), label)
    assert np.array_equal(extremes.worst[0].label, [[0, 255]])
