import pickle

import pytest
from pydantic import ValidationError

from memorysam.errors import DataError, MemorySAMError, SettingsError, did_you_mean, listing
from memorysam.spec import IMAGENET, Classes, Modality, Task, as_classes, as_modality, camera, select


def test_way_to_three_channels_has_a_default_for_any_number():
    assert Modality(name="d", channels=1).stem == "repeat"
    assert Modality(name="d", channels=3).stem == (0, 1, 2)
    assert Modality(name="d", channels=7).stem == "learned"
    assert Modality(name="d", channels=2, stem=(0, 1, 0)).stem == (0, 1, 0)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "RGB"}, "pattern"),
        ({"name": "d", "low": 3, "high": 3}, "range is empty"),
        ({"name": "d", "mean": (1, 2)}, "needs 1 or 3 values"),
        ({"name": "d", "std": (0.0,)}, "greater than 0"),
        ({"name": "d", "channels": 2, "stem": "repeat"}, "for one channel"),
        ({"name": "d", "channels": 2, "stem": (0, 1, 2)}, "outside 0..1"),
        ({"name": "d", "colour": 1}, "not permitted"),
        ({"name": "d", "high": float("nan")}, "finite"),
        ({"name": "d", "role": "regions", "channels": 3}, "'channels: 3' would change the numbers of regions"),
        ({"name": "d", "role": "regions", "high": 255}, "'high: 255.0' would change"),
        ({"name": "d", "role": "regions", "interpolation": "bilinear"}, "'interpolation: bilinear' would"),
        ({"name": "d", "role": "regions", "photometric": True}, "'photometric: True' would"),
        ({"name": "d", "role": "regions", "fill": 255}, "'fill: 255.0' would"),
    ],
)
def test_contradictions_are_refused(fields, words):
    with pytest.raises(ValidationError, match=words):
        Modality(**fields)


def test_imagenet_statistics_by_name():
    assert Modality(name="rgb", mean="imagenet", std="imagenet").mean == IMAGENET["mean"]


def test_classes_get_distinct_colours():
    for count in (2, 25, 40, 200):
        assert len(set(Classes(names=tuple(f"c{i}" for i in range(count))).colors)) == count


@pytest.mark.parametrize("names", [("a",), ("a", "a"), tuple(f"c{i}" for i in range(256))])
def test_impossible_classes_are_refused(names):
    with pytest.raises(ValidationError):
        Classes(names=names)


def test_image_size_names_the_nearest_legal_one():
    with pytest.raises(ValidationError, match=r"\[1056, 1216\]|\[1024, 1216\]"):
        Task(modalities=(camera(),), classes=Classes(names=("a", "b")), image_size=(1042, 1224))


def test_select_keeps_the_order_asked_for():
    modalities = (camera("rgb"), Modality(name="depth"), Modality(name="event"))
    assert [m.name for m in select(modalities, ["event", "rgb"])] == ["event", "rgb"]
    assert select(modalities, None) == modalities
    with pytest.raises(SettingsError, match="did you mean 'depth'"):
        select(modalities, ["dept"])
    with pytest.raises(SettingsError, match="once each"):
        select(modalities, ["rgb", "rgb"])


def test_plain_values_become_spec():
    assert as_modality("rgb") == camera("rgb")
    assert as_modality("depth") == Modality(name="depth")
    assert as_modality({"name": "d", "channels": 1}).stem == "repeat"
    assert as_classes({"a": (1, 2, 3), "b": (4, 5, 6)}).colors == ((1, 2, 3), (4, 5, 6))


def test_a_map_of_regions_needs_nothing_but_its_role():
    regions = Modality(name="r", role="regions")
    assert (regions.channels, regions.interpolation, regions.photometric, regions.fill) == (1, "nearest", False, 0)
    assert (regions.low, regions.high, regions.mean, regions.std) == (0, 1, (0,), (1,))
    assert Modality.model_validate_json(regions.model_dump_json()) == regions


def test_a_model_sees_the_sensors_named_in_its_order_and_always_its_regions():
    modalities = (camera("rgb"), Modality(name="map", role="regions"), Modality(name="depth"))
    task = Task(modalities=modalities, classes=as_classes(["a", "b"]), image_size=(32, 32))
    assert task.names == ("rgb", "map", "depth")
    assert (task.sensors, task.regions) == (("rgb", "depth"), ("map",))
    for names, seen in (
        (["depth"], ["map", "depth"]),
        (["depth", "rgb"], ["rgb", "map", "depth"]),
        (["map", "rgb"], ["rgb", "map"]),
        (None, ["rgb", "map", "depth"]),
    ):
        assert [m.name for m in task.seeing(names)] == seen
    with pytest.raises(SettingsError, match=r"no sensor is named, but map\n.*rgb, depth"):
        task.seeing(["map"])
    with pytest.raises(SettingsError, match="did you mean 'depth'"):
        task.seeing(["dept"])


def test_task_survives_json():
    task = Task(
        modalities=(camera(), Modality(name="x", channels=2)), classes=as_classes(["a", "b"]), image_size=(64, 96)
    )
    assert Task.model_validate_json(task.model_dump_json()) == task


def test_errors_say_all_four_things_and_survive_pickling():
    error = DataError("what", where="where", expected="that", fix="do this")
    assert str(error) == "what\n  where:    where\n  expected: that\n  fix:      do this"
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, DataError)
    assert str(again) == str(error)
    assert isinstance(error, MemorySAMError)
    assert isinstance(error, ValueError)


def test_suggestions():
    assert did_you_mean("depht", ["rgb", "depth"]) == "did you mean 'depth'?"
    assert did_you_mean("xyz", ["rgb", "depth"]) == "choose one of: rgb, depth"
    assert listing(range(10), 3) == "0, 1, 2 and 7 more"
