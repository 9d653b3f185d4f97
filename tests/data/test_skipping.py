"""Samples that cannot be read: an error, or others take their places, the same whoever reads; scores leave them out."""

import json
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from memorysam.cli import main
from memorysam.config import EvaluateSettings
from memorysam.data.cache import FOLDER
from memorysam.data.catalog import open_dataset
from memorysam.data.dataset import SegmentationDataset, collate
from memorysam.data.loading import Loader
from memorysam.data.skipping import Skips
from memorysam.data.transforms import TrainTransform
from memorysam.errors import DataError
from memorysam.evaluation.evaluate import evaluate
from memorysam.evaluation.report import describe, save
from memorysam.models.factory import create
from memorysam.spec import Task
from memorysam.training.sampler import TrainSampler

from ..tiny import SIZE, settings, write_dataset

KINDS = ("missing", "empty", "cut off", "another size", "unknown label", "not an image")


def spoil(folder, sample, kind):
    """Make a sample unreadable."""
    rgb, label = folder / "rgb" / f"{sample}.png", folder / "labels" / f"{sample}.png"
    if kind == "missing":
        rgb.unlink()
    elif kind == "empty":
        rgb.write_bytes(b"")
    elif kind == "cut off":
        rgb.write_bytes(rgb.read_bytes()[:-30])
    elif kind == "another size":
        cv2.imwrite(str(rgb), np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
    elif kind == "unknown label":
        cv2.imwrite(str(label), np.full(SIZE, 77, np.uint8))
    else:
        rgb.write_text("hello")


def opened(path, split="train", on_bad="skip", **options):
    data = settings(path, data={"on_bad": on_bad, **options}).data
    return open_dataset(data, SIZE).source(split)


def read(source, steps=range(5), workers=0, share=1.0, rank=0, ranks=1, batch=4):
    """Batches of training, by step, and what was left out."""
    sampler = TrainSampler(len(source.ids), batch, rank=rank, ranks=ranks, seed=3)
    sampler.start = steps.start
    told = []
    skips = Skips(len(source.ids), share, replace=True, tell=lambda *line: told.append(line))
    transform = TrainTransform(SIZE, settings("x").augment, source.modalities)
    loader = Loader(
        SegmentationDataset(source, source.modalities, transform, 3), sampler, collate, workers, skips=skips
    )
    batches = iter(loader)
    found = [next(batches) for _ in steps]
    batches.close()
    assert [sample for sample, _ in told] == list(skips.found), "each is told once"
    return found, skips.found


def same(one, other):
    return (
        one.ids == other.ids
        and torch.equal(one.label, other.label)
        and all(torch.equal(image, other.images[name]) for name, image in one.images.items())
    )


@pytest.fixture
def spoilt(tmp_path):
    """Six samples that follow one another of ten, spoilt in six ways: the last ones' places wrap around."""
    path = write_dataset(tmp_path)
    for sample, kind in zip(("t00", "t01", "t02", "t03", "t08", "t09"), KINDS, strict=True):
        spoil(tmp_path, sample, kind)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_policy_the_first_bad_sample_is_an_error(tmp_path, kind, fault):
    path = write_dataset(tmp_path)
    spoil(tmp_path, "t03", kind)

    def read_some():
        source = opened(path, on_bad="error")
        return list(Loader(SegmentationDataset(source, source.modalities), [[0, 1, 2, 3]], collate))

    with fault("bad file"), pytest.raises(DataError, match=r"t03"):
        read_some()


def test_the_next_readable_sample_takes_the_place_and_each_is_told_once(spoilt, fault):
    source = opened(spoilt)
    with fault("bad file"):
        found, skipped = read(source, range(10))
    assert set(skipped) == {"t00", "t01", "t02", "t03", "t08", "t09"}
    for sample, words in (
        ("t00", "no such file"),
        ("t01", "empty"),
        ("t02", "cut off"),
        ("t03", "different sizes"),
        ("t08", r"77 (6144 pixels)"),
        ("t09", "not a PNG"),
    ):
        assert words in skipped[sample]
        assert f"{sample}.png" in skipped[sample]
    after = {f"t{i:02}": f"t{j:02}" for i, j in enumerate((4, 4, 4, 4, 4, 5, 6, 7, 4, 4))}
    sampler = TrainSampler(10, 4, seed=3)
    for step, batch in enumerate(found):
        assert batch.ids == [after[source.ids[index]] for _, index in sampler.step(step)]


def test_who_takes_a_place_is_changed_by_the_chance_of_that_place(tmp_path):
    """A sample that stands for another is not seen twice with the same augmentation."""
    path = write_dataset(tmp_path, train=2)
    spoil(tmp_path, "t00", "empty")
    (batch,), _ = read(opened(path), range(1), batch=2)
    assert batch.ids == ["t01", "t01"]
    assert not torch.equal(batch.images["rgb"][0], batch.images["rgb"][1])


def test_what_is_read_depends_neither_on_processes_nor_on_ranks_nor_on_where_it_began(spoilt, fault):
    source = opened(spoilt)
    whole, _ = read(source)
    with fault("bad file"):
        for workers in (1, 3):
            assert all(map(same, whole, read(source, workers=workers)[0]))
    with fault("bad file"):
        assert all(map(same, whole[3:], read(source, range(3, 5), workers=1)[0]))
    with fault("bad file"):
        shares = [read(source, rank=rank, ranks=2)[0] for rank in range(2)]
        for batch, *parts in zip(whole, *shares, strict=True):
            assert batch.ids == [name for part in parts for name in part.ids]
            assert torch.equal(batch.images["depth"], torch.cat([part.images["depth"] for part in parts]))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("share", "limit"), [(0.5, 5), (0.11, 2), (0.001, 1), (0.0, 0)])
def test_more_than_the_stated_share_ends_it_with_the_list(spoilt, share, limit, workers, fault):
    with (
        fault("bad file"),
        pytest.raises(DataError, match=rf"{limit + 1} of 10 samples(.|\n)*{limit} may be") as caught,
    ):
        read(opened(spoilt), range(10), workers, share)
    assert sum(f"t{i:02}: " in caught.value.where for i in range(10)) == limit + 1
    assert "--data.skip-share" in caught.value.fix


def test_nothing_that_can_be_read_is_an_error_whatever_the_share(tmp_path, fault):
    path = write_dataset(tmp_path)
    for i in range(10):
        spoil(tmp_path, f"t{i:02}", "empty")
    with fault("bad file"), pytest.raises(DataError, match="no sample of this split can be read"):
        read(opened(path), share=1.0)


@pytest.mark.parametrize(("total", "share", "limit"), [(10, 0.1, 1), (1000, 0.001, 1), (1001, 0.001, 2), (7, 1.0, 7)])
def test_a_share_is_rounded_up_to_whole_samples(total, share, limit):
    assert Skips(total, share).limit == limit


@pytest.fixture
def scored(tmp_path):
    """A model, and a dataset.yaml of five validation samples of which two cannot be read."""
    path = write_dataset(tmp_path, train=1, val=5)
    source = opened(path, "val")
    model = create(
        settings(path).model, Task(modalities=source.modalities, classes=source.classes, image_size=SIZE)
    ).eval()
    sound = evaluate(model, replace_ids(source, {"v00", "v02", "v04"}), EvaluateSettings(), split="val")
    spoil(tmp_path, "v01", "cut off")
    spoil(tmp_path, "v03", "unknown label")
    return model, path, sound


def replace_ids(source, keep):
    """The same source with fewer samples."""
    index = source._index
    places = [i for i, name in enumerate(source.ids) if name in keep]
    parts = {part: [getattr(index, part)[i] for i in places] for part in ("ids", "files", "tags", "absent")}
    return type(source)(source.modalities, source.classes, replace(index, **parts), source._layout)


@pytest.mark.parametrize("workers", [0, 1])
def test_scores_are_those_of_the_samples_that_can_be_read_and_say_which_are_not(scored, workers, tmp_path, fault):
    model, path, sound = scored
    with fault("bad file"):
        result = evaluate(
            model, opened(path, "val"), EvaluateSettings(batch_size=2), split="val", workers=workers, skip_share=0.5
        )
    assert np.array_equal(result.scores.counts, sound.scores.counts)
    assert [one["id"] for one in result.facts["skipped"]] == ["v01", "v03"]
    assert "cut off" in result.facts["skipped"][0]["what"]
    assert (result.facts["images"], result.scores.images) == (3, 3)
    assert "(3 images, 2 left out because they cannot be read)" in describe(result)
    save(result, tmp_path / "scores")
    assert len(json.loads((tmp_path / "scores/evaluation.json").read_text())["skipped"]) == 2
    head, first, *_ = (tmp_path / "scores/evaluation.csv").read_text().splitlines()
    assert dict(zip(head.split(","), first.split(","), strict=True))["skipped"] == "2"


def test_scores_end_with_the_list_where_too_many_cannot_be_read(scored, fault):
    model, path, _ = scored
    with fault("bad file"), pytest.raises(DataError, match=r"2 of 5 samples(.|\n)*v01: (.|\n)*v03: "):
        evaluate(model, opened(path, "val"), EvaluateSettings(), skip_share=0.2)
    with fault("bad file"), pytest.raises(DataError, match=r"v01\.png"):
        evaluate(model, opened(path, "val"), EvaluateSettings())


def test_a_cache_leaves_out_what_cannot_be_read_and_the_rest_is_used(tmp_path, capsys, fault):
    path = write_dataset(tmp_path, train=4, val=2)
    spoil(tmp_path, "t00", "missing")
    spoil(tmp_path, "t02", "unknown label")
    assert main(["cache", str(path)]) == 2
    assert "lacks files" in capsys.readouterr().err
    with fault("bad file"):
        assert main(["cache", str(path), "--on-bad", "skip", "--skip-share", "0.25"]) == 2
        assert "2 of 4 samples cannot be read, and 1 may be left out" in capsys.readouterr().err
    with fault("bad file"):
        assert main(["cache", str(path), "--on-bad", "skip", "--skip-share", "0.5", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [(one["split"], one["id"]) for one in report["skipped"]] == [("train", "t00"), ("train", "t02")]
    assert report["made"] + report["kept"] == 3 * 6 - 2
    assert (tmp_path / FOLDER / "train.rgb.jsonl").exists()
    found, skipped = read(opened(path), range(2), batch=2)
    assert set(skipped) == {"t00", "t02"}
    assert {name for batch in found for name in batch.ids} == {"t01", "t03"}


RANK = """
import json, sys
import torch
from torch import distributed
from memorysam.config import EvaluateSettings
from memorysam.errors import DataError
from memorysam.evaluation.evaluate import evaluate
from memorysam.models.factory import create
from memorysam.spec import Task
from tests.data.test_skipping import SIZE, opened
from tests.tiny import settings

path, meet, rank = sys.argv[1], sys.argv[2], int(sys.argv[3])
distributed.init_process_group("gloo", init_method="file://" + meet, rank=rank, world_size=2)
source = opened(path, "val")
torch.manual_seed(1)
task = Task(modalities=source.modalities, classes=source.classes, image_size=SIZE)
model = create(settings(path).model, task).eval()
result = evaluate(model, source, EvaluateSettings(), skip_share=0.4)
try:
    evaluate(model, source, EvaluateSettings(), skip_share=0.2)
except DataError as error:
    print(json.dumps([result.as_dict(), error.what]))
"""


@pytest.mark.slow
def test_ranks_add_up_what_they_left_out_and_end_together(scored, tmp_path, fault):
    """Each of two ranks leaves out no more than may be, both together do."""
    _, path, _ = scored
    spoil(path.parent, "v00", "empty")
    (path.parent / "rgb/v01.png").write_bytes((path.parent / "rgb/v02.png").read_bytes())  # now v00 and v03 are bad
    command = [sys.executable, "-c", RANK, str(path), str(tmp_path / "meet")]
    with fault("bad file"):
        ranks = [subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, text=True) for rank in range(2)]
        outputs = [json.loads(process.communicate(timeout=300)[0]) for process in ranks]
        assert outputs[0] == outputs[1]
        result, message = outputs[0]
        assert {one["id"] for one in result["skipped"]} == {"v00", "v03"}
        assert result["images"] == 3
        assert message == "2 of 5 samples cannot be read, and 1 may be left out"
