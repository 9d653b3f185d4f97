"""What MCubeSNet computes is what the released code computes (numbers in ../shared/reference)."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import memorysam
from memorysam.config import ModelSettings
from memorysam.errors import WeightsError
from memorysam.models import weights
from memorysam.models.base import count
from memorysam.spec import Modality, Task, as_classes

SENSORS = {"rgb": 3, "aolp": 2, "dolp": 1, "nir": 1}
TASK = Task(
    modalities=(*(Modality(name=n, channels=k) for n, k in SENSORS.items()), Modality(name="regions", role="regions")),
    classes=as_classes([f"class{i}" for i in range(20)]),
    image_size=(128, 128),
)
SETTINGS = ModelSettings(name="mcubesnet")


def close(ours, theirs):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max().item() <= 1e-4


@pytest.mark.slow
@torch.no_grad()
def test_released_outputs(shared, fill, tmp_path, capsys):
    path = shared / "reference" / "mcubesnet.safetensors"
    theirs = load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    released = tmp_path / "checkpoint.pth.tar"
    state = {f"module.{name}": tensor for name, tensor in fill.state_dict("mcubesnet", 0).items()}
    torch.save({"epoch": 500, "state_dict": state}, released)
    model = memorysam.load(
        released, modalities=TASK.modalities, classes=TASK.classes, image_size=128, device="cpu"
    ).model
    # Kernels over all sensors' features lie here in one share for each: 4 instead of 1, 4 and 1 instead of 1.
    assert f"{2660 + 3 + 4} loaded, 0 new; 0 frozen" in capsys.readouterr().out
    assert count(list(model.parameters())) == int(metadata["parameters"]) == 240_180_276
    assert model.settings()["filters"] == 3

    images = {n: 10 * fill.tensor(f"input.{n}", [1, channels, 128, 128], 0) for n, channels in SENSORS.items()}
    images["regions"] = theirs["mask"].unsqueeze(1).float()
    features = {name: model.encode(name, images[name]) for name in SENSORS}
    selection = model.decoder.select(features, model.regions(images))
    assert torch.equal(selection.filters[0], theirs["selected_filters"][selection.regions].long())
    for name, found in features.items():
        _, deep = model.encoders[name](images[name])
        close(deep[:, ::8], theirs[f"{name}.backbone_every_8th_channel"])
        close(found.high, theirs[f"{name}.high_level"])
        close(found.low[..., ::4, ::4], theirs[f"{name}.low_level_every_4th_pixel"])
    close(selection.features[..., ::2, ::2], theirs["region_selection_every_2nd_pixel"])
    close(model(images).at((128, 128))[..., ::2, ::2], theirs["logits_every_2nd_pixel"])
    colour = {name: images[name] for name in ("rgb", "regions")}
    close(model(colour).at((128, 128))[..., ::4, ::4], theirs["logits_rgb_only_every_4th_pixel"])


def test_a_file_with_a_tensor_too_few_or_too_many_or_for_other_sensors_is_refused(shared, tmp_path):
    shapes = json.loads((shared / "reference" / "keys.json").read_text())["mcubesnet"]
    state = {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}
    path = tmp_path / "checkpoint.pth.tar"
    lacking = {name: tensor for name, tensor in state.items() if name != "aspp2.aspp3.bn.bias"}
    more = {**state, "decoder.extra.weight": torch.zeros(1)}
    order = TASK.model_copy(update={"modalities": (TASK.modalities[1], TASK.modalities[0], *TASK.modalities[2:])})
    for content, task, words in (
        (lacking, TASK, r"1 missing: pools\.aolp\.branches\.2\.1\.bias"),
        (more, TASK, r"1 unexpected: decoder\.extra\.weight"),
        (state, order, r"of another shape: encoders\.aolp\.conv1\.weight \[64, 3, 7, 7\] instead of \[64, 2, 7, 7\]"),
    ):
        torch.save({"state_dict": content}, path)
        with torch.device("meta"), pytest.raises(WeightsError, match=words):
            weights.load(path, task, SETTINGS)
