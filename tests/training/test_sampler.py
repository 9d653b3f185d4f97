import itertools

import pytest

from memorysam.training.sampler import TrainSampler, shown_modalities


def take(sampler, batches):
    return list(itertools.islice(iter(sampler), batches))


def test_an_epoch_is_a_permutation_and_epochs_differ():
    sampler = TrainSampler(12, 4, seed=1)
    first, second = take(sampler, 6)[:3], take(sampler, 6)[3:]
    assert sampler.steps_per_epoch == 3
    assert sorted(index for batch in first for _, index in batch) == list(range(12))
    assert {epoch for batch in second for epoch, _ in batch} == {1}
    assert [i for b in first for _, i in b] != [i for b in second for _, i in b]


def test_seed_decides():
    assert take(TrainSampler(12, 4, seed=1), 9) == take(TrainSampler(12, 4, seed=1), 9)
    assert take(TrainSampler(12, 4, seed=1), 9) != take(TrainSampler(12, 4, seed=2), 9)


@pytest.mark.parametrize("start", [1, 3, 7])
def test_any_position_can_be_returned_to(start):
    whole = take(TrainSampler(13, 4, seed=5), 12)
    later = TrainSampler(13, 4, seed=5)
    later.start = start
    assert take(later, 12 - start) == whole[start:]


@pytest.mark.parametrize(("ranks", "passes"), [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)])
def test_a_step_has_the_same_samples_however_it_is_shared(ranks, passes):
    parts = [take(TrainSampler(10, 8, rank=r, ranks=ranks, passes=passes, seed=3), 3 * passes) for r in range(ranks)]
    for step in range(3):
        shared = [key for part in parts for batch in part[step * passes : (step + 1) * passes] for key in batch]
        assert sorted(shared) == sorted(TrainSampler(10, 8, seed=3).step(step))
        assert len(set(shared)) == 8


def test_a_small_data_set_is_repeated_to_fill_a_batch():
    sampler = TrainSampler(3, 8)
    assert sampler.steps_per_epoch == 1
    batch = take(sampler, 1)[0]
    assert len(batch) == 8
    assert {index for _, index in batch} == {0, 1, 2}


def test_every_subset_of_the_modalities_is_shown_equally_often():
    names = ["a", "b", "c"]
    shown = [tuple(shown_modalities(names, 1.0, (5, step))) for step in range(2100)]
    counts = {subset: shown.count(subset) for subset in set(shown)}
    assert len(counts) == 7
    assert all(subset == tuple(sorted(subset)) for subset in counts), "in the order of the model"
    assert all(220 < count < 380 for count in counts.values())


def test_maps_of_regions_are_always_shown_and_do_not_count():
    names = ["a", "map", "b"]
    shown = [tuple(shown_modalities(names, 1.0, (5, step), ("map",))) for step in range(900)]
    counts = {subset: shown.count(subset) for subset in set(shown)}
    assert counts.keys() == {("a", "map"), ("map", "b"), ("a", "map", "b")}
    assert all(240 < count < 360 for count in counts.values())
    without = [shown_modalities(["a", "b"], 1.0, (5, step)) for step in range(900)]
    assert [[name for name in subset if name != "map"] for subset in shown] == without


def test_all_modalities_are_shown_with_the_rest_of_the_probability():
    names = ["a", "b", "c"]
    shown = [shown_modalities(names, 0.25, (5, step)) for step in range(1000)]
    # A subset may be the whole: one in seven.
    assert 730 < sum(each == names for each in shown) < 840
    assert all(shown_modalities(names, 0.0, (5, step)) == names for step in range(100))
    assert shown == [shown_modalities(names, 0.25, (5, step)) for step in range(1000)]


def orders(names, steps, probability=0.0, always=()):
    keys = [(5, step, 0) for step in range(steps)]
    return [tuple(shown_modalities(names, probability, key, always, shuffle=True)) for key in keys]


def test_every_order_is_shown_equally_often():
    shown = orders(["a", "b", "c"], 1200)
    counts = {order: shown.count(order) for order in set(shown)}
    assert counts.keys() == set(itertools.permutations("abc"))
    assert all(150 < count < 250 for count in counts.values())


def test_every_order_of_every_subset_is_shown():
    shown = orders(["a", "b", "c"], 3000, 1.0)
    for subset in (subset for size in (1, 2, 3) for subset in itertools.combinations("abc", size)):
        counts = [shown.count(order) for order in itertools.permutations(subset)]
        assert sum(counts) == pytest.approx(3000 / 7, abs=90)
        assert all(count == pytest.approx(sum(counts) / len(counts), abs=60) for count in counts)


def test_shuffling_changes_nothing_about_which_modalities_are_shown():
    names = ["a", "b", "c", "d"]
    for step in range(200):
        fixed = shown_modalities(names, 0.5, (5, step))
        mixed = shown_modalities(names, 0.5, (5, step), shuffle=True)
        assert sorted(mixed) == fixed


def test_maps_of_regions_keep_their_place_in_a_shuffled_order():
    shown = orders(["a", "map", "b", "c"], 600, always=("map",))
    assert {order.index("map") for order in shown} == {1}
    assert {tuple(name for name in order if name != "map") for order in shown} == set(itertools.permutations("abc"))
    for order in orders(["a", "map", "b", "c"], 600, 1.0, always=("map",)):
        fixed = [name for name in ("a", "map", "b", "c") if name in order]
        assert order.index("map") == fixed.index("map")


def test_the_order_is_that_of_seed_step_and_pass_alone():
    names = ["a", "b", "c", "d"]
    keys = [(seed, step, i) for seed in (1, 2) for step in range(20) for i in range(2)]
    first = {key: shown_modalities(names, 0.5, key, shuffle=True) for key in keys}
    assert all(first[key] == shown_modalities(names, 0.5, key, shuffle=True) for key in reversed(keys))
    assert len({tuple(order) for order in first.values()}) > 20, "each place of the key counts"
    for place in range(3):
        others = [tuple(k + (i == place) for i, k in enumerate(key)) for key in keys]
        assert any(first[key] != first[other] for key, other in zip(keys, others, strict=True) if other in first)
