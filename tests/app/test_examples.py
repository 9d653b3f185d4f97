"""Which scenes a page begins with."""

import pytest

import memorysam
from memorysam.app.examples import data_of, named, of_run
from memorysam.config import DataSettings
from memorysam.data.catalog import open_dataset
from memorysam.errors import DataError
from memorysam.models import weights
from memorysam.models.factory import create
from memorysam.spec import Task

from ..tiny import settings, write_dataset
from .conftest import model


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint that says which data it was trained on, and the data."""
    folder = tmp_path_factory.mktemp("run")
    dataset = write_dataset(folder / "data", val=4)
    run = settings(dataset)
    data = open_dataset(run.data, (64, 96))
    task = Task(modalities=data.modalities, classes=data.classes, image_size=(64, 96))
    weights.save(folder / "best.safetensors", create(run.model, task), settings=run.model_dump(mode="json"))
    return folder / "best.safetensors", dataset


def test_a_run_brings_its_validation_samples(trained):
    path, _ = trained
    examples, title = of_run(memorysam.load(path, device="cpu", verbose=False).model)
    assert title == "tiny, val"
    assert examples.ids == ["v00", "v01", "v02", "v03"]
    scene = examples.scene(2)
    assert scene.name == "v02"
    assert set(scene.images) == {"rgb", "depth"}
    assert scene.label.shape == scene.size == (64, 96)
    with pytest.raises(DataError, match="no example 4"):
        examples.scene(4)


def test_where_its_data_are_gone_and_scenes_do_not_fit_there_are_none_and_it_says_why(trained):
    path, dataset = trained
    loaded = memorysam.load(path, device="cpu", verbose=False).model
    hidden = dataset.with_suffix(".gone")
    dataset.rename(hidden)
    try:
        examples, why = of_run(loaded)
    finally:
        hidden.rename(dataset)
    assert examples is None
    assert "there is no data set" in why
    assert "scenes" in why


def test_a_split_that_is_named_is_taken_whole(trained):
    path, dataset = trained
    task = memorysam.load(path, device="cpu", verbose=False).model.task
    assert len(named(task, str(dataset), split="train").ids) == 10


def test_data_of_other_sensors_are_refused(trained):
    _, dataset = trained
    with pytest.raises(DataError, match="none of the model's sensors"):
        named(model().task, str(dataset))


def test_rendered_scenes_are_large_enough_to_be_looked_at_and_few():
    scenes = open_dataset(DataSettings(), (32, 64))
    task = Task(modalities=scenes.modalities, classes=scenes.classes, image_size=(32, 64))
    from memorysam.config import ModelSettings

    examples, title = of_run(create(ModelSettings(backbone="micro"), task))
    assert title == "scenes, val"
    assert len(examples.ids) == 24
    assert examples.scene(0).size == (128, 256)


def test_a_checkpoint_without_settings_says_nothing_of_data():
    assert data_of({}) is None
