"""Scores on a split equal what plain loops count, and say what they hold for."""

import csv
import itertools
import json

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from memorysam.config import DataSettings, EvaluateSettings, ModelSettings
from memorysam.data.catalog import open_dataset
from memorysam.errors import DataError
from memorysam.evaluation import report
from memorysam.evaluation.evaluate import evaluate
from memorysam.models.factory import create
from memorysam.spec import IMAGENET, Task

from ..tiny import SIZE, write_dataset

SEEN = (96, 64)  # what the network sees: neither the stored size nor its shape


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    write_dataset(folder, train=1, val=5)
    return folder


def open_split(folder, split="val"):
    return open_dataset(DataSettings(dataset=str(folder / "dataset.yaml")), SIZE).source(split)


def make_model(source, size=SEEN, **settings):
    torch.manual_seed(3)
    task = Task(modalities=source.modalities, classes=source.classes, image_size=size)
    return create(ModelSettings(backbone="micro", **settings), task).eval()


@pytest.fixture(scope="module")
def model(folder):
    return make_model(open_split(folder))


@pytest.fixture(scope="module")
def scenes():
    return open_dataset(DataSettings(dataset="scenes", scenes=(1, 1, 8)), (64, 64)).source("test")


@pytest.fixture(scope="module")
def scored(scenes):
    settings = EvaluateSettings(protocol="strict", batch_size=3)
    return evaluate(make_model(scenes, (64, 64)), scenes, settings, split="test", by=("condition", "failure"))


def read(folder, name):
    """The stored files of a sample, by nothing of ours."""
    rgb = cv2.imread(str(folder / "rgb" / f"{name}.png"))[:, :, ::-1]
    depth = cv2.imread(str(folder / "depth" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
    return {"rgb": rgb, "depth": depth}, cv2.imread(str(folder / "labels" / f"{name}.png"), cv2.IMREAD_UNCHANGED)


def as_input(images, names):
    """Frames in the order of `names`: shrunk, then stretched, then normalised as the data set's file says."""
    mean, std = (np.array(IMAGENET[key], np.float32) for key in ("mean", "std"))
    tensors = {}
    for name in names:
        image = cv2.resize(images[name], (min(SEEN[1], SIZE[1]), min(SEEN[0], SIZE[0])), interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, SEEN[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)
        values = (image / np.float32(255) - mean) / std if name == "rgb" else image[:, :, None] / np.float32(65535)
        tensors[name] = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None]
    return tensors


def nearest(label, size):
    rows, columns = ((np.arange(new) + 0.5) * old / new for new, old in zip(size, label.shape, strict=True))
    return label[rows.astype(int)][:, columns.astype(int)]


def count_by_hand(model, folder, protocol, names):
    counts = np.zeros((3, 3), np.int64)
    for i in range(5):
        images, label = read(folder, f"v{i:02}")
        label = nearest(label, SEEN) if protocol == "paper" else label
        with torch.no_grad():
            logits = model(as_input(images, names)).logits
        logits = F.interpolate(logits, size=label.shape, mode="bilinear", align_corners=False)
        for truth, answer in zip(label.ravel(), logits.argmax(dim=1).numpy().ravel(), strict=True):
            if truth != 255:
                counts[truth, answer] += 1
    return counts


@pytest.mark.parametrize("names", [("depth", "rgb"), ("rgb",), ("depth",)], ids="-".join)
@pytest.mark.parametrize("protocol", ["paper", "strict"])
def test_counts_are_those_of_a_plain_loop(model, folder, protocol, names):
    settings = EvaluateSettings(protocol=protocol)
    scores = evaluate(model, open_split(folder), settings, modalities=names).scores
    names = [name for name in model.task.names if name in names]
    assert np.array_equal(scores.counts, count_by_hand(model, folder, protocol, names))
    pixels = 5 * SEEN[0] * SEEN[1] if protocol == "paper" else 5 * SIZE[0] * SIZE[1]
    assert 0.9 * pixels < scores.counts.sum() < pixels, "all but the two rows that do not count"
    assert scores.counts.any(axis=0).sum() > 1, "a model of one answer would prove little"


@pytest.mark.parametrize("method", ["resize", "native", "windows"])
@pytest.mark.parametrize("protocol", ["paper", "strict"])
def test_batches_change_nothing(model, folder, protocol, method):
    counts = [
        evaluate(
            model, open_split(folder), EvaluateSettings(protocol=protocol, method=method, batch_size=size)
        ).scores.counts
        for size in (1, 3)
    ]
    # The last bit of a sum depends on the batch: at most a pixel or two on the edge between two classes may move.
    assert np.abs(counts[0] - counts[1]).sum() <= 4
    assert counts[0].sum() == counts[1].sum()


@pytest.mark.slow
def test_reading_in_other_processes_changes_nothing(model, folder):
    ours, theirs = (evaluate(model, open_split(folder), EvaluateSettings(), workers=n).scores.counts for n in (0, 2))
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("off", ["rgb", "depth"])
def test_what_a_switched_off_modality_holds_changes_nothing(model, tmp_path, off):
    write_dataset(tmp_path, train=1, val=3)
    on = "depth" if off == "rgb" else "rgb"
    before = [evaluate(model, open_split(tmp_path), EvaluateSettings(), modalities=names) for names in (None, [on])]
    rng = np.random.default_rng(1)
    for path in (tmp_path / off).iterdir():
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), rng.integers(0, np.iinfo(stored.dtype).max, stored.shape).astype(stored.dtype))
    after = [evaluate(model, open_split(tmp_path), EvaluateSettings(), modalities=names) for names in (None, [on])]
    assert np.array_equal(before[1].scores.counts, after[1].scores.counts)
    assert not np.array_equal(before[0].scores.counts, after[0].scores.counts), "switched on, it would have mattered"


def test_every_subset_of_the_modalities_is_scored_in_the_models_order(scenes):
    one = open_dataset(DataSettings(dataset="scenes", scenes=(1, 1, 1)), (64, 64)).source("test")
    model = make_model(scenes, (64, 64))
    names = model.task.names
    seen = set()
    for size in range(1, len(names) + 1):
        for subset in itertools.combinations(names, size):
            result = evaluate(model, one, EvaluateSettings(), modalities=subset[::-1])
            assert result.facts["modalities"] == list(subset)
            assert result.scores.counts.sum() == 64 * 64
            seen.add(result.scores.counts.tobytes())
    assert len(seen) == 15, "each subset is another input"


def test_tag_values_add_up_to_the_whole(scored, scenes):
    assert set(scored.by) == {"condition", "failure"}
    for tag, values in scored.by.items():
        found = [scenes.tags(i)[tag] for i in range(8)]
        assert len(set(found)) > 1
        assert {value: scores.images for value, scores in values.items()} == {v: found.count(v) for v in set(found)}
        assert np.array_equal(sum(scores.counts for scores in values.values()), scored.scores.counts)
        assert all(scores.counts.sum() == scores.images * 64 * 64 for scores in values.values())


def test_without_tags_there_is_nothing_by_tag(model, folder):
    assert evaluate(model, open_split(folder), EvaluateSettings(), by=("condition",)).by == {}


def test_facts_say_what_the_scores_hold_for(model, folder):
    settings = EvaluateSettings(protocol="strict", method="windows", flip=True, scales=(1.0, 0.5))
    result = evaluate(model, open_split(folder), settings, modalities=["rgb"], split="val")
    assert result.facts == {
        "modalities": ["rgb"],
        "split": "val",
        "images": 5,
        "protocol": "strict",
        "size": list(SEEN),
        "method": "windows",
        "scales": [1.0, 0.5],
        "flip": True,
        "precision": "fp32",
    }
    assert result.facts.items() <= result.as_dict().items()
    for words in ("rgb on val (5 images)", "windows at 96x64", "scales [1.0, 0.5], mirrored", "protocol strict"):
        assert words in report.describe(result)


def test_progress_reaches_the_number_of_images(model, folder):
    told = []
    evaluate(model, open_split(folder), EvaluateSettings(batch_size=2), progress=lambda *values: told.append(values))
    assert told == [(2, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize("training", [True, False])
def test_the_model_goes_back_to_the_mode_it_was_in(folder, training):
    model = make_model(open_split(folder)).train(training)
    modes = []
    model.register_forward_hook(lambda module, *_: modes.append(module.training))
    evaluate(model, open_split(folder), EvaluateSettings())
    assert model.training is training
    assert modes == [False] * 5


class Unlabelled:
    """A source that has lost its labels."""

    def __init__(self, source):
        self.source, self.ids, self.classes, self.modalities = source, source.ids, source.classes, source.modalities

    def tags(self, index):
        return self.source.tags(index)

    def read(self, index, modalities):
        raw = self.source.read(index, modalities)
        raw.__dict__["label"] = None
        return raw


def test_a_sample_without_a_label_is_an_error_that_names_it(folder):
    model = make_model(open_split(folder)).train()
    with pytest.raises(DataError, match="'v00' has no label"):
        evaluate(model, Unlabelled(open_split(folder)), EvaluateSettings())
    assert model.training, "the mode comes back after an error, too"


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def files(scored, tmp_path):
    written = report.save(scored, tmp_path / "results", "test", checkpoint="runs/mine", dataset="scenes")
    assert [path.name for path in written] == ["test.json", "test.csv"]
    return written


def test_json_agrees_with_the_scores(scored, files):
    content = json.loads(files[0].read_text())
    assert content["checkpoint"] == "runs/mine"
    assert content["miou"] == scored.scores.miou
    assert content["pixel_accuracy"] == scored.scores.pixel_accuracy
    assert {content["protocol"], content["split"]} == {"strict", "test"}
    assert (content["images"], content["size"]) == (8, [64, 64])
    for name, iou in zip(scored.scores.classes.names, scored.scores.iou, strict=True):
        assert content["classes"][name]["iou"] == (None if np.isnan(iou) else iou)
    for tag, values in scored.by.items():
        assert {v: scores["miou"] for v, scores in content["by"][tag].items()} == {
            v: scores.miou for v, scores in values.items()
        }


def test_every_row_of_the_csv_says_what_it_holds_for(files):
    rows = rows_of(files[1])
    assert len(rows) > 18
    for row in rows:
        assert row["checkpoint"] == "runs/mine"
        assert row["dataset"] == "scenes"
        assert row["modalities"] == "rgb depth event lidar"
        assert (row["split"], row["protocol"], row["size"]) == ("test", "strict", "64 64")
        assert int(row["images"]) >= 1


def test_csv_agrees_with_the_scores(scored, files):
    groups = {("all", ""): scored.scores}
    groups |= {(tag, value): scores for tag, values in scored.by.items() for value, scores in values.items()}
    rows = rows_of(files[1])
    names = [*scored.scores.classes.names, "mean"]
    assert [(row["tag"], row["value"], row["class"]) for row in rows] == [(*key, n) for key in groups for n in names]
    for row in rows:
        scores = groups[row["tag"], row["value"]]
        assert int(row["images"]) == scores.images
        if row["class"] == "mean":
            expected = {"iou": scores.miou, "f1": scores.mf1, "accuracy": scores.macc}
            assert int(row["pixels"]) == scores.counts.sum()
        else:
            i = scores.classes.names.index(row["class"])
            expected = {"iou": scores.iou[i], "f1": scores.f1[i], "accuracy": scores.accuracy[i]}
            assert int(row["pixels"]) == scores.counts[i].sum()
        for key, value in expected.items():
            assert row[key] == ("" if np.isnan(value) else str(float(value)))
