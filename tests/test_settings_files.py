"""Every settings file that is shipped."""

import json
from pathlib import Path

import pytest
import yaml

from memorysam.config import RunSettings, TrainSettings, packaged
from memorysam.data.dataset_file import read_layout
from memorysam.models.weights import load
from memorysam.strict import build, read_yaml
from memorysam.tensors import read_tensors
from memorysam.training.loop import train

from .data import fakes

CONFIGS = Path(__file__).parents[1] / "configs"
EXPERIMENTS, DATASETS = packaged(), packaged("datasets")
TABLES = sorted(name for name in EXPERIMENTS if name.startswith("table"))
SYSTEMS = sorted(name for name in EXPERIMENTS if name.startswith("systems/"))
DELIVER, MCUBES = ("rgb", "depth", "event", "lidar"), ("rgb", "aolp", "dolp", "nir")


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


@pytest.mark.parametrize("name", SYSTEMS)
def test_recipes_of_other_systems(name):
    """What was found of each: system, backbone, sensors; epochs, samples in a step, learning rate; size; what else."""
    settings = build(RunSettings, read_yaml(EXPERIMENTS[name]), name)
    model, data, train = settings.model, settings.data, settings.train
    square, wide, plain = (1024, 1024), (480, 640), {"loss": "cross-entropy"}
    sam = {"optimizer": "adamw", "loss": "cross-entropy"}
    facts = {
        "deliver-cmnext": ("cmnext", "mit-b2", DELIVER, 200, 8, 6e-5, square, {}),
        "deliver-cmx": ("cmx", "mit-b2", ("rgb", "depth"), 200, 8, 6e-5, square, {}),
        "deliver-cwsam": (
            "cwsam", "sam-b", DELIVER, 200, 2, 2e-4, square,
            {**sam, "schedule": "cosine", "lr_min": 1e-7, "warmup_epochs": 0},
        ),
        "deliver-magic": ("magic", "mit-b2", DELIVER, 200, 8, 6e-5, square, plain),
        "deliver-mean-fusion": ("mean-fusion", "mit-b2", DELIVER, 200, 8, 6e-5, square, {}),
        "deliver-mle-sam": ("mle-sam", "sam2-base-plus", DELIVER, 200, 4, 6e-4, square, {}),
        "deliver-sam-lora": (
            "sam-lora", "sam-b", DELIVER, 200, 24, 5e-3, square,
            {**sam, "dice": 0.8, "weight_decay": 0.1, "warmup_epochs": 1.5},
        ),
        "mcubes-cmnext": ("cmnext", "mit-b2", MCUBES, 500, 4, 6e-5, (512, 512), {}),
        "mcubes-mcubesnet": (
            "mcubesnet", "resnet-101", (*MCUBES, "regions"), 500, 8, 0.05, (512, 512),
            {**plain, "optimizer": "sgd", "lr_factors": {"decoder": 10}, "weight_decay": 0, "warmup_epochs": 0},
        ),
        "mfnet-cmnext": ("cmnext", "mit-b4", ("rgb", "thermal"), 500, 4, 6e-5, wide, plain),
        "mfnet-cmx": ("cmx", "mit-b2", ("rgb", "thermal"), 500, 8, 6e-5, wide, plain),
        "nyuv2-cmnext": ("cmnext", "mit-b4", ("rgb", "depth"), 500, 4, 6e-5, wide, plain),
        "nyuv2-cmx": ("cmx", "mit-b2", ("rgb", "depth"), 500, 8, 6e-5, wide, plain),
    }  # fmt: skip
    *expected, size, more = facts[name.removeprefix("systems/")]
    found = [model.name, model.backbone, data.modalities, train.epochs, train.batch_size, train.lr]
    assert found == expected
    assert model.image_size == size
    assert train == TrainSettings(epochs=train.epochs, batch_size=train.batch_size, lr=train.lr, **more)
    assert name == f"systems/{data.dataset}-{model.name}"
    assert (model.weights is None) == (model.name == "mcubesnet"), "the file of that one has no name on the Hub"
    layout = read_layout(DATASETS[data.dataset])
    assert set(data.modalities) <= set(layout.sensors)
    assert {data.train_split, data.val_split} <= set(layout.lists)


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp(name) for name in ("deliver", "mcubes", "mfnet", "nyuv2")}
    for name, folder in folders.items():
        getattr(fakes, f"write_{name}")(folder)
    return folders


def first_steps(name, roots, folder):
    """Two steps of a recipe with a small backbone and small images; return what the optimizer has moments of."""
    content = read_yaml(EXPERIMENTS[name])
    content["model"] |= {"backbone": "micro", "weights": "random", "image_size": [64, 64]}
    content["data"] |= {"root": str(roots[content["data"]["dataset"]]), "workers": 0}
    content["train"]["log_every"] = 1
    settings = build(RunSettings, content, name)
    assert train(settings, folder, stop_after=2).progress.step == 2
    tensors, _ = read_tensors(folder / "last.safetensors")
    return settings, {key.split("/")[2] for key in tensors if key.startswith("training/optimizer/")}


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_the_first_steps_of_every_recipe(roots, tmp_path, name):
    """Which parts move is that of the recipe."""
    settings, moved = first_steps(name, roots, tmp_path)
    several = len(settings.data.modalities) > 1
    assert any("memory_attention" in key for key in moved) == (several and settings.model.train.memory)
    assert any("q_down" in key for key in moved) == (settings.model.lora_rank != 0)
    assert any("mask_decoder" in key for key in moved)


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_the_first_steps_of_every_recipe_of_other_systems(roots, tmp_path, name):
    """Everything that shall train moves, with the losses and at the learning rate of the recipe."""
    settings, moved = first_steps(name, roots, tmp_path)
    model = load(tmp_path / "last.safetensors")[0]
    assert model.settings()["name"] == settings.model.name
    assert moved == {n for n, p in model.named_parameters() if p.requires_grad or model.part_of(n) == "encoder"}
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert len(steps) == 2
    wanted = {"cross_entropy" if settings.train.loss == "cross-entropy" else "ohem"}
    wanted |= {"dice"} if settings.train.dice else set()
    assert {"ohem", "cross_entropy", "dice"} & steps[0].keys() == wanted
    start = 1.0 if settings.train.warmup_epochs == 0 else settings.train.warmup_ratio
    assert steps[0]["lr"] == pytest.approx(start * settings.train.lr)
