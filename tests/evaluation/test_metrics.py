import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score
from torchmetrics.classification import MulticlassJaccardIndex

from memorysam.evaluation.metrics import ConfusionMatrix, Scores
from memorysam.spec import as_classes


def scores_of(counts, protocol="strict"):
    counts = np.asarray(counts, np.int64)
    return Scores(as_classes([f"c{i}" for i in range(len(counts))]), protocol, 1, counts)


def test_by_hand():
    """Two classes seen, one absent: IoU 3/6 and 2/5 by counting."""
    matrix = ConfusionMatrix(3)
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 255, 255])
    predictions = torch.tensor([0, 0, 0, 1, 1, 1, 1, 0, 0, 2])
    matrix.add(predictions, labels)
    assert matrix.counts.tolist() == [[3, 2, 0], [1, 2, 0], [0, 0, 0]]
    strict, paper = scores_of(matrix.counts), scores_of(matrix.counts, "paper")
    assert strict.iou[:2] == pytest.approx([50.0, 40.0])
    assert math.isnan(strict.iou[2])
    assert strict.miou == pytest.approx(45.0)
    assert paper.miou == pytest.approx(30.0)
    assert strict.f1[:2] == pytest.approx([100 * 6 / 9, 100 * 4 / 7])
    assert strict.accuracy[:2] == pytest.approx([60.0, 100 * 2 / 3])
    assert strict.pixel_accuracy == pytest.approx(62.5)


def random_case(seed):
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 30))
    present = rng.choice(classes, size=int(rng.integers(1, classes + 1)), replace=False)
    labels = rng.choice(present, size=400)
    labels[rng.random(400) < rng.choice([0, 0.3, 0.99])] = 255
    predictions = np.where(rng.random(400) < 0.5, np.where(labels == 255, 0, labels), rng.integers(0, classes, 400))
    return classes, labels, predictions


@pytest.mark.parametrize("seed", range(200))
def test_counts_and_means_equal_plain_python(seed):
    classes, labels, predictions = random_case(seed)
    counts = [[0] * classes for _ in range(classes)]
    for label, prediction in zip(labels.tolist(), predictions.tolist(), strict=True):
        if label != 255:
            counts[label][prediction] += 1
    matrix = ConfusionMatrix(classes)
    for part in np.array_split(np.arange(400), 7):
        matrix.add(torch.from_numpy(predictions[part]), torch.from_numpy(labels[part]))
    assert matrix.counts.tolist() == counts
    ious = []
    for c in range(classes):
        union = sum(counts[c]) + sum(row[c] for row in counts) - counts[c][c]
        ious.append(counts[c][c] / union if union else None)
    seen = [iou for iou in ious if iou is not None]
    strict, paper = scores_of(matrix.counts), scores_of(matrix.counts, "paper")
    assert paper.miou == pytest.approx(100 * sum(seen) / classes, rel=1e-12)
    if seen:
        assert strict.miou == pytest.approx(100 * sum(seen) / len(seen), rel=1e-12)
    else:
        assert math.isnan(strict.miou)


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_scikit_learn_and_torchmetrics(seed):
    classes, labels, predictions = random_case(seed)
    valid = labels != 255
    if not valid.any():
        pytest.skip("nothing labelled")
    matrix = ConfusionMatrix(classes)
    matrix.add(torch.from_numpy(predictions), torch.from_numpy(labels))
    ours = scores_of(matrix.counts)
    names = list(range(classes))
    theirs = jaccard_score(labels[valid], predictions[valid], labels=names, average=None, zero_division=0)
    assert np.nan_to_num(ours.iou) == pytest.approx(100 * theirs)
    theirs = f1_score(labels[valid], predictions[valid], labels=names, average=None, zero_division=0)
    assert np.nan_to_num(ours.f1) == pytest.approx(100 * theirs)
    metric = MulticlassJaccardIndex(classes, average="none", ignore_index=255)
    metric.update(torch.from_numpy(predictions), torch.from_numpy(labels))
    assert np.nan_to_num(ours.iou) == pytest.approx(100 * metric.compute().numpy(), abs=1e-3)


def test_counts_beyond_what_float32_can_add():
    matrix = ConfusionMatrix(2)
    matrix.counts[0, 0] = 2**24
    matrix.add(torch.tensor([0]), torch.tensor([0]))
    assert matrix.counts[0, 0].item() == 2**24 + 1


def test_labels_outside_the_classes_do_not_count():
    matrix = ConfusionMatrix(2)
    matrix.add(torch.tensor([0, 0, 1]), torch.tensor([-1, 2, 255]))
    assert matrix.counts.sum() == 0
    assert math.isnan(scores_of(matrix.counts).miou)
    assert scores_of(matrix.counts).as_dict()["miou"] is None


def test_predicted_but_never_labelled_counts_as_zero_in_both_protocols():
    counts = [[4, 1], [0, 0]]
    assert scores_of(counts).iou.tolist() == [80.0, 0.0]
    assert scores_of(counts).miou == scores_of(counts, "paper").miou == 40.0
