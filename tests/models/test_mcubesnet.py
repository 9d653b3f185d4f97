"""Filters are chosen by region; sensors are encoded each by itself, and any of them may be missing."""

import pytest
import torch

from memorysam.config import ModelSettings
from memorysam.errors import InputError, SettingsError, WeightsError
from memorysam.models import weights
from memorysam.models.factory import create
from memorysam.models.formats import translate
from memorysam.models.mcubesnet import keep_most_active
from memorysam.spec import Modality, Task, as_classes
from memorysam.training.objective import ohem_cross_entropy

SENSORS = {"rgb": 3, "aolp": 2, "dolp": 1}
SIZE = (64, 96)
REGIONS = Modality(name="map", role="regions")


def task_of(sensors=SENSORS, regions=True, size=SIZE):
    modalities = [Modality(name=name, channels=channels) for name, channels in sensors.items()]
    if regions:
        modalities.insert(1, REGIONS)
    return Task(modalities=tuple(modalities), classes=as_classes(["a", "b", "c"]), image_size=size)


def build(task, **settings):
    torch.manual_seed(1)
    return create(ModelSettings(name="mcubesnet", backbone="micro", **settings), task)


def blocks(batch, size, numbers=4):
    """A map of regions in blocks of 16 pixels, so that every region has whole pixels at stride 4."""
    coarse = torch.randint(0, numbers, (batch, 1, size[0] // 16, size[1] // 16))
    return coarse.repeat_interleave(16, 2).repeat_interleave(16, 3).float()


def images_of(task, batch=1, size=None):
    size = size or task.image_size
    shape = (batch, 1, *size)
    return {
        m.name: blocks(batch, size) if m.role == "regions" else torch.randn(shape).expand(-1, m.channels, -1, -1)
        for m in task.modalities
    }


@pytest.fixture(scope="module")
def model():
    return build(task_of()).eval()


def run(model, images):
    with torch.no_grad():
        return model(images).logits


# The choice of filters


def by_hand(responses, regions, kept):
    """Pixel by pixel, from the definition."""
    out = torch.zeros(len(responses), kept, *responses.shape[2:])
    for b, (image, areas) in enumerate(zip(responses, regions, strict=True)):
        for number in areas.unique():
            inside = areas == number
            order = sorted(range(len(image)), key=lambda k: -float(image[k][inside].sum()))
            for place, k in enumerate(sorted(order[:kept])):
                out[b, place][inside] = image[k][inside]
    return out


@pytest.mark.parametrize("numbers", [[0], [0, 1, 2, 3], [7, 40000, -2], list(range(40))])
def test_each_region_keeps_the_channels_that_respond_most_in_it_in_ascending_order(numbers):
    responses = torch.randn(3, 12, 8, 10)
    regions = torch.tensor(numbers)[torch.randint(0, len(numbers), (3, 8, 10))]
    selection = keep_most_active(responses, regions, 5)
    assert selection.regions.tolist() == regions.unique().tolist()
    assert torch.equal(selection.features, by_hand(responses, regions, 5))
    assert (selection.filters.diff(dim=2) > 0).all()


def test_the_sign_of_a_response_counts():
    responses = torch.zeros(1, 3, 2, 2)
    responses[0, 0], responses[0, 2] = -9, 1
    assert keep_most_active(responses, torch.zeros(1, 2, 2).long(), 2).filters.tolist() == [[[1, 2]]]


def test_sums_are_taken_in_float32_under_mixed_precision():
    """4096 values of 1 and 4096 of 1.0078: in bfloat16, their sums are the same, and so would be any product with 1."""
    responses = torch.ones(1, 2, 64, 64, dtype=torch.bfloat16)
    responses[0, 1, 0, :20] = 1.0078125
    with torch.autocast("cpu", torch.bfloat16):
        selection = keep_most_active(responses, torch.zeros(1, 64, 64).long(), 1)
    assert selection.filters.item() == 1
    assert selection.features.dtype == torch.bfloat16


def test_the_choice_has_no_gradient_and_what_is_kept_has():
    responses = torch.randn(1, 6, 4, 4, requires_grad=True)
    regions = torch.arange(4).repeat_interleave(4).view(1, 4, 4)
    selection = keep_most_active(responses, regions, 2)
    selection.features.sum().backward()
    for row, filters in enumerate(selection.filters[0]):
        expected = torch.zeros(6, 4)
        expected[filters] = 1
        assert torch.equal(responses.grad[0, :, row], expected)


def test_pixels_use_the_filters_of_their_own_region_only(model):
    """What happens in one region changes the choice there, and nothing of the choice in another."""
    images = images_of(model.task)
    images["map"][:] = 0
    images["map"][..., 48:] = 6
    changed = {**images, "rgb": images["rgb"].clone()}
    changed["rgb"][..., 80:] += 5
    with torch.no_grad():
        one, other = (
            model.decoder.select({n: model.encode(n, i[n]) for n in SENSORS}, model.regions(i))
            for i in (images, changed)
        )
    assert one.regions.tolist() == [0, 6]
    assert not torch.equal(one.filters[:, 1], other.filters[:, 1])
    features = {name: model.encode(name, images[name]) for name in SENSORS}
    # One region of one pixel: its filters are not those of all.
    alone = torch.zeros(1, 16, 24, dtype=torch.long)
    alone[0, 3, 5] = 1
    with torch.no_grad():
        pixel = model.decoder.select(features, alone)
        whole = model.decoder.select(features, alone * 0)
    assert not torch.equal(pixel.filters[0, 1], whole.filters[0, 0])
    assert not torch.equal(pixel.features[0, :, 3, 5], whole.features[0, :, 3, 5])


def test_the_map_of_regions_is_seen_at_the_upper_left_of_every_4x4(model):
    images = images_of(model.task)
    other = {**images, "map": images["map"].clone()}
    other["map"][..., 1::4, :] = 9
    other["map"][..., 3::4] = 9
    assert torch.equal(model.regions(images), model.regions(other))
    assert torch.equal(model.regions(images)[0], images["map"][0, 0, ::4, ::4].long())


def test_regions_guide_and_their_numbers_are_but_names(model):
    images = images_of(model.task)
    before = run(model, images)
    names = torch.tensor([30.0, 2.0, 500.0, 9.0])
    assert torch.equal(run(model, {**images, "map": names[images["map"].long()]}), before)
    assert not torch.equal(run(model, {**images, "map": torch.zeros_like(images["map"])}), before)


def test_without_a_map_the_whole_image_is_one_region(model):
    plain = build(task_of(regions=False)).eval()
    plain.load_state_dict(model.state_dict())
    images = images_of(model.task)
    images["map"][:] = 5
    guided = run(model, images)
    assert torch.equal(run(plain, {name: images[name] for name in SENSORS}), guided)


def test_with_as_many_filters_as_are_kept_regions_change_nothing():
    model = build(task_of(), filters=1).eval()
    images = images_of(model.task)
    assert torch.equal(run(model, images), run(model, {**images, "map": torch.zeros_like(images["map"])}))
    assert model.settings() == {"name": "mcubesnet", "backbone": "micro", "filters": 1}


# Sensors


def test_a_missing_sensor_enters_the_decoder_as_zeros(model):
    images = images_of(model.task, batch=2)
    for missing in SENSORS:
        given = {name: image for name, image in images.items() if name != missing}
        with torch.no_grad():
            features = {name: model.encode(name, images[name]) for name in SENSORS}
            features[missing].low.zero_()
            features[missing].high.zero_()
            zeroed = model.decoder.classify(model.decoder.select(features, model.regions(images)).features)[0]
        assert torch.allclose(run(model, given), zeroed, atol=1e-5)
        assert not torch.allclose(run(model, given), run(model, images), atol=1e-2)


def test_the_order_of_the_mapping_changes_nothing(model):
    images = images_of(model.task)
    assert torch.equal(run(model, images), run(model, dict(reversed(images.items()))))


def test_the_order_of_sensors_in_the_task_changes_nothing(model):
    task = task_of(dict(reversed(SENSORS.items())))
    other = build(task).eval()
    other.load_state_dict(model.state_dict())
    images = images_of(task)
    assert torch.allclose(run(model, images), run(other, images), atol=1e-5)


def test_frames_hold_what_is_made_of_each_sensor(model):
    with torch.no_grad():
        output = model(images_of(model.task))
    assert list(output.frames) == list(SENSORS)
    assert output.align_corners
    assert {tuple(frame.low.shape[2:]) for frame in output.frames.values()} == {(16, 24)}
    assert {tuple(frame.high.shape[2:]) for frame in output.frames.values()} == {(4, 6)}


@pytest.mark.parametrize("sensors", [{"rgb": 3}, {"nir": 1}, {f"s{i}": i + 1 for i in range(6)}])
@pytest.mark.parametrize("size", [(64, 64), (32, 32), (32, 160)])
def test_any_number_of_sensors_and_any_size(sensors, size):
    model = build(task_of(sensors, size=size)).eval()
    assert run(model, images_of(model.task, batch=2)).shape == (2, 3, size[0] // 4, size[1] // 4)


def test_samples_of_a_batch_do_not_mix_though_their_regions_differ(model):
    images = images_of(model.task, batch=3)
    images["map"][1] = 77
    together = run(model, images)
    for i in range(3):
        alone = run(model, {name: image[i : i + 1] for name, image in images.items()})
        assert torch.allclose(together[i : i + 1], alone, atol=1e-5)


@pytest.mark.parametrize("regions", [True, False])
def test_gradients_reach_everything_that_trains(regions):
    model = build(task_of(regions=regions)).train()
    labels = torch.randint(0, 3, (2, *SIZE))
    ohem_cross_entropy(model(images_of(model.task, batch=2)).at(SIZE), labels).backward()
    assert all(p.requires_grad and p.grad is not None for p in model.parameters())
    still = [name for name, p in model.named_parameters() if not p.grad.any()]
    assert still == []


def test_aspp_trains_with_the_decoder(model):
    parts = model.parts()
    assert set(parts) == {"encoder", "decoder"}
    assert {model.part_of(name) for name, _ in model.pools.named_parameters(prefix="pools")} == {"decoder"}


def test_a_missing_map_of_regions_or_no_sensor_is_explained(model):
    images = images_of(model.task)
    with pytest.raises(InputError, match="the map of regions 'map' is missing"):
        model({"rgb": images["rgb"]})
    with pytest.raises(InputError, match=r"map is no sensor\n.*rgb, aolp, dolp"):
        model({"map": images["map"]})


def test_other_systems_say_that_they_have_no_use_for_regions():
    with pytest.raises(SettingsError, match=r"memorysam has no use for the map of regions 'map'\n.*data.modalities"):
        create(ModelSettings(backbone="micro"), task_of())
    two = task_of().model_copy(update={"modalities": (*task_of().modalities, Modality(name="m2", role="regions"))})
    with pytest.raises(SettingsError, match="no use for the map of regions 'm2'"):
        build(two)
    with pytest.raises(SettingsError, match="no sensor among the modalities: map"):
        build(task_of().model_copy(update={"modalities": (REGIONS,)}))


def test_filters_are_an_option_of_this_system_only():
    with pytest.raises(SettingsError, match="filters means nothing to memorysam"):
        create(ModelSettings(backbone="micro", filters=2), task_of(regions=False))


# Weights


def test_saved_and_loaded_it_says_the_same(model, tmp_path):
    weights.save(tmp_path / "model.safetensors", model)
    again, report = weights.load(tmp_path / "model.safetensors")
    assert report.new == report.unused == ()
    assert again.task == model.task
    images = images_of(model.task)
    assert torch.equal(run(again.eval(), images), run(model, images))


def test_a_checkpoint_of_other_sensors_is_refused(model, tmp_path):
    weights.save(tmp_path / "model.safetensors", model)
    for sensors in ({"rgb": 3, "aolp": 2}, {**SENSORS, "nir": 1}, {"rgb": 3, "aolp": 2, "nir": 1}):
        with pytest.raises(WeightsError, match="does not fit the model"):
            weights.load(tmp_path / "model.safetensors", task_of(sensors))


def resnet(depth=23):
    """Names and shapes of torchvision's file, without its counters, as the old one is."""
    from memorysam.models.deeplab import BACKBONES, ResNet

    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in ResNet(3, BACKBONES["resnet-101"]).state_dict().items()}
    for block in range(23, depth):
        shapes |= {name.replace("layer3.22.", f"layer3.{block}."): shapes[name] for name in shapes if "r3.22." in name}
    shapes |= {"fc.weight": (1000, 2048), "fc.bias": (1000,)}
    return {name: torch.tensor(0.25).expand(shape) for name, shape in shapes.items() if not name.endswith("tracked")}


def test_other_resnets_are_not_taken_for_resnet_101():
    whole = resnet()
    assert translate(whole).backbone == "resnet-101"
    assert translate(resnet(depth=36)) is None
    assert translate({name: tensor for name, tensor in whole.items() if "layer3.22." not in name}) is None


@pytest.mark.slow
def test_imagenets_weights_fill_the_first_colour_sensors_encoder_alone(tmp_path):
    path = tmp_path / "resnet101-5d3b4d8f.pth"
    torch.save(resnet(), path)
    settings = ModelSettings(name="mcubesnet")
    model, report = weights.load(path, task_of({"nir": 1, "rgb": 3}), settings)
    assert set(report.unused) == {"fc.weight", "fc.bias"}
    state = model.state_dict()
    colour = [name for name in state if name.startswith("encoders.rgb.")]
    assert report.loaded == len(colour) == 624
    assert set(report.new) == set(state) - set(colour)
    assert all((state[name] == 0.25).all() for name in colour if not name.endswith("tracked"))
    assert not (state["encoders.nir.layer1.0.conv1.weight"] == 0.25).any()
    with torch.device("meta"), pytest.raises(WeightsError, match=r"no sensor of three channels"):
        weights.load(path, task_of({"nir": 1}, regions=False), settings)
    damaged = resnet()
    del damaged["layer2.0.conv1.weight"]
    torch.save(damaged, path)
    with torch.device("meta"), pytest.raises(WeightsError, match=r"1 missing: encoders\.rgb\.layer2\.0\.conv1\.weight"):
        weights.load(path, task_of({"rgb": 3}), settings)
