"""Every settings file that is shipped."""

from pathlib import Path

import pytest
import yaml

from memorysam.config import RunSettings, packaged
from memorysam.data.dataset_file import read_layout
from memorysam.files import read_tensors
from memorysam.strict import build, read_yaml
from memorysam.training.loop import train

from .data import fakes

CONFIGS = Path(__file__).parents[1] / "configs"
EXPERIMENTS, DATASETS = packaged(), packaged("datasets")
TABLES = sorted(name for name in EXPERIMENTS if name.startswith("table"))


def test_every_file_is_found_by_its_name():
    files = {path.relative_to(CONFIGS).with_suffix("").as_posix() for path in CONFIGS.rglob("*.yaml")}
    assert files == set(EXPERIMENTS) | {f"datasets/{name}" for name in DATASETS}
    assert {"demo", "potholes", "table1/rgb-d-e-l", "table2/rgb-a-d-n"} <= set(EXPERIMENTS)


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_every_experiment_is_valid_and_says_only_what_differs(name):
    content = read_yaml(EXPERIMENTS[name])
    settings = build(RunSettings, content, name)
    assert settings != RunSettings()
    assert yaml.safe_load(EXPERIMENTS[name].read_text()) == content


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_every_data_set_is_valid(name):
    layout = read_layout(DATASETS[name])
    assert layout.name == name
    assert layout.label is not None
    assert len(set(layout.classes.colors)) == len(layout.classes)


@pytest.mark.parametrize("name", TABLES)
def test_recipes_of_the_paper(name):
    """What its section on the implementation says of all of them, and the learning rates of its Table 9."""
    settings = build(RunSettings, read_yaml(EXPERIMENTS[name]), name)
    train, model, data = settings.train, settings.model, settings.data
    assert (model.backbone, model.image_size, train.batch_size) == ("sam2-base-plus", (1024, 1024), 4)
    assert (train.weight_decay, train.power, train.warmup_epochs, train.warmup_ratio) == (0.01, 0.9, 10, 0.1)
    assert (train.seed, train.precision, settings.evaluate.protocol) == (3407, "fp32", "paper")
    assert train.epochs == (500 if data.dataset == "mcubes" else 200)
    rates = {
        ("rgb",): 4.5e-4, ("rgb", "depth"): 4.5e-4,
        ("rgb", "depth", "event"): 6e-4, ("rgb", "depth", "event", "lidar"): 6e-4,
        ("rgb", "aolp"): 3.5e-4, ("rgb", "aolp", "dolp"): 4e-4, ("rgb", "aolp", "dolp", "nir"): 3.5e-4,
    }  # fmt: skip
    assert train.lr == rates[data.modalities]
    known = read_layout(DATASETS[data.dataset])
    assert set(data.modalities) <= set(known.sensors)
    unknown = name in ("table1/rgb", "table1/rgb-d-e")
    assert ("learning rate of this row was not found" in EXPERIMENTS[name].read_text()) == unknown


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp(name) for name in ("deliver", "mcubes")}
    fakes.write_deliver(folders["deliver"])
    fakes.write_mcubes(folders["mcubes"])
    return folders


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_the_first_steps_of_every_recipe(roots, tmp_path, name):
    """With a small backbone and small images; which parts move is that of the recipe."""
    content = read_yaml(EXPERIMENTS[name])
    content["model"] |= {"backbone": "micro", "weights": "random", "image_size": [64, 64]}
    content["data"] |= {"root": str(roots[content["data"]["dataset"]]), "workers": 0}
    assert train(build(RunSettings, content, name), tmp_path, stop_after=2).progress.step == 2
    tensors, _ = read_tensors(tmp_path / "last.safetensors")
    moved = {key for key in tensors if key.startswith("training/optimizer/")}
    several = len(content["data"]["modalities"]) > 1
    frozen = content["model"].get("train", {}).get("memory") is False
    assert any("memory_attention" in key for key in moved) == (several and not frozen)
    assert any("q_down" in key for key in moved) == (content["model"].get("lora_rank") != 0)
    assert any("mask_decoder" in key for key in moved)
