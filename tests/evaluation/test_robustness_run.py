"""Scores under missing and noisy sensors can be trusted, repeated and continued."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from memorysam.config import DataSettings, ModelSettings
from memorysam.data.catalog import open_dataset
from memorysam.data.dataset import Raw
from memorysam.data.remember import Remembered
from memorysam.errors import InputError, SettingsError
from memorysam.evaluation import robustness_report as report
from memorysam.evaluation import robustness_run
from memorysam.evaluation.evaluate import evaluate
from memorysam.evaluation.robustness import LOSSES, NOISES, missing, noisy, subsets
from memorysam.evaluation.robustness_run import Plan, Robustness, emm, held
from memorysam.models.factory import create
from memorysam.spec import Modality, Task

from ..tiny import write_dataset
from .plain import TWO, WAY, Picky, Plain, Shuffled, mious, score, task


def test_strict_emm_is_the_score_of_each_subset_and_paper_that_of_zeros(plain, five, found):
    by_hand = {subset: evaluate(plain, five, WAY, modalities=subset).scores.miou for subset in subsets(TWO)}
    assert found.scores("emm", "strict") == by_hand == emm(plain, five, WAY)
    assert len(set(by_hand.values())) == 3

    def zeros(samples):
        return [replace(s, images={**s.images, "rgb": torch.zeros_like(s.images["rgb"])}) for s in samples]

    without_rgb = evaluate(plain, five, WAY, perturb=zeros).scores.miou
    assert found.scores("emm", "paper")["event",] == without_rgb != by_hand["event",]


def test_what_is_lost_or_noisy_changes_scores_in_both_variants(found):
    whole = found.passes["whole"]["miou"]
    for variant in ("paper", "strict"):
        lost = [found.scores("rmm", variant, loss) for loss in LOSSES]
        assert all(scores[TWO] == whole for scores in lost)
        assert len({scores["event",] for scores in lost}) == 3
        assert len({found.miou(noisy(TWO, noise), variant) for noise in (None, *NOISES)}) == 4
    assert found.miou(noisy(TWO, None), "paper") == whole


@pytest.mark.parametrize("size", [1, 3, 4])
def test_strict_numbers_do_not_depend_on_the_batch(plain, five, found, size):
    settings = WAY.model_copy(update={"batch_size": size})
    assert mious(score(plain, five, settings, variants=("strict",))) == {
        name: miou for name, miou in mious(found).items() if not name.startswith("paper")
    }


def test_strict_numbers_do_not_depend_on_the_order_of_samples_and_paper_does(plain, five, found):
    other = mious(score(plain, Shuffled(five, [3, 0, 4, 2, 1])))
    before = mious(found)
    assert all(other[name] == before[name] for name in before if not name.startswith("paper"))
    assert any(other[name] != before[name] for name in before if name.startswith("paper/nm"))


@pytest.mark.slow
def test_strict_numbers_do_not_depend_on_workers(tmp_path):
    write_dataset(tmp_path, train=1, val=5)
    source = open_dataset(DataSettings(dataset=str(tmp_path / "dataset.yaml")), (64, 96)).source("val")
    plain = Plain(Task(modalities=source.modalities, classes=source.classes, image_size=(32, 32)))
    one, other = (mious(score(plain, source, workers=n, variants=("strict",), parts=("nm",))) for n in (0, 1))
    assert one == other
    assert len(set(one.values())) > 1


def test_the_seed_decides(plain, five, found):
    again = score(plain, five, by=("condition",))
    assert again.passes == found.passes
    other = score(plain, five, seed=1, parts=("rmm", "nm"))
    for start in ("paper/rmm", "paper/nm", "strict/rmm", "strict/nm"):
        assert mious(other, start).keys() == mious(found, start).keys()
        assert mious(other, start) != mious(found, start)


def test_sensors_that_get_no_gaussian_noise_can_be_named(plain, five, found):
    assert found.plan.no_gaussian == ("event",)
    for spared in ((), TWO):
        other = score(plain, five, parts=("nm",), spared=spared)
        for variant in ("paper", "strict"):
            assert any(other.miou(noisy(TWO, n), variant) != found.miou(noisy(TWO, n), variant) for n in NOISES)


class Broken:
    """A source whose sensor gives nothing but NaN."""

    def __init__(self, source, name):
        self.modalities, self.classes, self.ids, self.tags = source.modalities, source.classes, source.ids, source.tags
        self._source, self._name = source, name

    def read(self, index, modalities):
        raw = self._source.read(index, modalities)
        images = {n: np.full(i.shape, np.nan, np.float32) if n == self._name else i for n, i in raw.images.items()}
        return Raw(images, raw.label, raw.id, raw.tags)


def test_what_a_missing_sensor_holds_changes_nothing(five):
    torch.manual_seed(3)
    model = create(ModelSettings(backbone="micro"), task(five, TWO)).eval()
    clean, broken = (score(model, source, parts=("emm",)) for source in (five, Broken(five, "event")))
    assert clean.passes["whole"] != broken.passes["whole"], "or it would prove nothing"
    for variant in ("paper", "strict"):
        condition = missing(TWO, ("rgb",))
        assert clean.miou(condition, variant) == broken.miou(condition, variant) is not None
    shown = set()
    model.register_forward_pre_hook(lambda _, inputs: shown.add(tuple(inputs[0])))
    score(model, five, parts=("emm",), variants=("strict",))
    assert shown == {("rgb",), ("event",), TWO}, "and the model is not even given it"


def test_a_system_that_needs_all_sensors_is_told_and_zeros_still_work(five):
    found = score(Picky(task(five, TWO)), five, parts=("emm",))
    strict = found.scores("emm", "strict")
    assert [strict[subset] is None for subset in subsets(TWO)] == [True, True, False]
    assert all(value is not None for value in found.scores("emm", "paper").values())
    told = report.text(found)
    assert "-: the model does not do without the others (this model needs all of its sensors)" in told
    assert report.summary(found)["emm"]["strict"]["average"] is None


def test_what_is_wrong_with_the_whole_input_is_no_refusal(plain, five, monkeypatch):
    monkeypatch.setattr(Plain, "check_input", lambda *_: (_ for _ in ()).throw(InputError("nothing will do")))
    with pytest.raises(InputError, match="nothing will do"):
        score(plain, five, parts=("nm",))


def test_regions_are_never_missing_nor_noisy_nor_counted(five):
    seen = []

    class WithRegions(Plain):
        def forward(self, images):
            seen.append({name: image.clone() for name, image in images.items()})
            return super().forward(images)

    class Source(Broken):
        def read(self, index, modalities):
            raw = self._source.read(index, [n for n in modalities if n != "regions"])
            regions = np.full((32, 32, 1), 7, np.uint8)
            return replace(raw, images={n: raw.images.get(n, regions) for n in modalities})

    regions = Modality(name="regions", role="regions")
    source = Source(five, "")
    source.modalities = (*five.modalities, regions)
    full = task(five, TWO)
    model = WithRegions(full.model_copy(update={"modalities": (*full.modalities, regions)}))
    found = score(model, source)
    assert found.plan.sensors == TWO
    assert mious(found) == mious(score(Plain(full), five))
    assert all(torch.equal(images["regions"], torch.full_like(images["regions"], 7)) for images in seen)


def test_a_split_is_held_in_memory_if_it_fits(five):
    source = five._source
    raw = source.read(0, TWO)
    each = sum(image.nbytes for image in raw.images.values()) + raw.label.nbytes
    assert isinstance(held(source, TWO, 5 * each / 1e9), Remembered)
    assert held(source, TWO, (5 * each - 1) / 1e9) is source


class StoppedError(Exception):
    pass


def test_an_interrupted_evaluation_goes_on_and_ends_as_if_it_had_not_been(plain, five, found, tmp_path, monkeypatch):
    kept = tmp_path / "robustness.json"

    def scoring():
        return Robustness(plain, five, WAY, Plan(TWO, by=("condition",)), split="test", kept=kept)

    def stop(done, total, name):
        assert total == 5 * len(found.passes)
        if done > 33:  # in the middle of the seventh pass
            raise StoppedError

    with pytest.raises(StoppedError):
        scoring().run(progress=stop)
    assert len(json.loads(kept.read_text())["passes"]) == 6
    calls, told, real = [], [], robustness_run.evaluate
    monkeypatch.setattr(robustness_run, "evaluate", lambda *a, **k: calls.append(1) or real(*a, **k))
    second = scoring()
    assert (second.done, second.images) == (30, 5 * len(found.passes))
    result = second.run(progress=lambda done, total, name: told.append(done))
    assert result.passes == found.passes
    assert len(calls) == len(found.passes) - 6
    assert told == sorted(told)
    assert (told[0] > 30, told[-1]) == (True, second.images)
    report.save(result, tmp_path)
    calls.clear()
    assert scoring().run().passes == found.passes
    assert not calls


CHANGES = {
    "seed": ({}, {"seed": 1}),
    "batch_size": ({"settings": WAY.model_copy(update={"batch_size": 3})}, {}),
    "protocol": ({"settings": WAY.model_copy(update={"protocol": "paper"})}, {}),
    "by": ({}, {"by": ("condition",)}),
    "no_gaussian": ({}, {"spared": ()}),
    "split": ({"split": "val"}, {}),
    "weights": ({"slope": 1.1}, {}),
    "data": ({"order": [1, 0, 2, 3, 4]}, {}),
}


@pytest.fixture(scope="module")
def earlier(plain, five, tmp_path_factory):
    kept = tmp_path_factory.mktemp("kept") / "robustness.json"
    Robustness(plain, five, WAY, Plan(TWO, parts=("nm",)), split="test", kept=kept).run()
    return kept


@pytest.mark.parametrize("what", CHANGES)
def test_what_was_kept_of_something_else_is_refused_by_name(what, earlier, five):
    before = earlier.read_bytes()
    given, plan = CHANGES[what]
    source = Shuffled(five, given["order"]) if "order" in given else five
    other = Plain(task(five, TWO), given.get("slope", 1.0))
    with pytest.raises(SettingsError) as told:
        Robustness(other, source, given.get("settings", WAY), Plan(TWO, parts=("nm",), **plan),
                   split=given.get("split", "test"), kept=earlier)  # fmt: skip
    assert f"with other {what} is kept here" in str(told.value)
    assert str(earlier) in str(told.value)
    assert earlier.read_bytes() == before


def test_parts_can_be_added_and_those_that_are_there_stay(plain, five, earlier, found, tmp_path):
    kept = tmp_path / "robustness.json"
    kept.write_bytes(earlier.read_bytes())
    result = Robustness(plain, five, WAY, Plan(TWO, parts=("emm",)), split="test", kept=kept).run()
    assert mious(result) == {name: miou for name, miou in mious(found).items() if "rmm" not in name}
    assert list(report.summary(result)) == ["emm", "published", "by"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"identity": 3, "passes": {}}', '{"passes": {}}'])
def test_a_damaged_file_is_refused(content, plain, five, tmp_path):
    kept = tmp_path / "robustness.json"
    kept.write_text(content)
    with pytest.raises(SettingsError, match="damaged"):
        Robustness(plain, five, WAY, Plan(TWO), split="test", kept=kept)
