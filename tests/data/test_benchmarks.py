"""The published data sets, on tiny copies with their real folder names, bit depths and quirks."""

import shutil

import numpy as np
import pytest

from memorysam.config import AugmentSettings, DataSettings, packaged
from memorysam.data.catalog import open_dataset
from memorysam.data.check import check
from memorysam.data.dataset import normalise
from memorysam.data.folders import FolderDataset
from memorysam.data.transforms import TrainTransform, mirror
from memorysam.errors import DataError

from . import fakes


def load(name, root):
    return open_dataset(DataSettings(dataset=name, root=root), (32, 32))


@pytest.fixture(scope="module")
def deliver(tmp_path_factory):
    # A root that holds the words by which others tell conditions and splits apart.
    root = tmp_path_factory.mktemp("rain_train_sun") / "eventlowres" / "DELIVER"
    return root, fakes.write_deliver(root)


@pytest.fixture(scope="module")
def mcubes(tmp_path_factory):
    root = tmp_path_factory.mktemp("multimodal_dataset")
    return root, fakes.write_mcubes(root)


def test_deliver_is_read_to_the_values_written(deliver):
    root, content = deliver
    dataset = load("deliver", root)
    assert dataset.usual == ("rgb", "depth", "event", "lidar")
    assert len(dataset.classes) == 25
    for split in ("train", "val", "test"):
        source = dataset.source(split)
        assert sorted(source.ids) == sorted(name for s, name in content if s == split)
        for index, name in enumerate(source.ids):
            raw, written = source.read(index, dataset.usual), content[split, name]
            for kind in ("rgb", "depth", "lidar"):
                assert np.array_equal(raw.images[kind], written[kind][..., :3])
            stored = written["label"][..., 0]
            assert np.array_equal(raw.label, np.where(stored == 0, 255, np.where(stored == 255, 255, stored - 1)))
            event = written["event"]
            scale = len(stored) // len(event)
            assert np.array_equal(raw.images["event"], event.repeat(scale, axis=0).repeat(scale, axis=1))


def test_deliver_tells_conditions_and_failures_by_parts_of_the_path(deliver):
    root, _ = deliver
    source = load("deliver", root).source("val")
    tags = [source.tags(i) for i in range(len(source.ids))]
    for condition in fakes.CONDITIONS:
        chosen = [name for name, tag in zip(source.ids, tags, strict=True) if tag["condition"] == condition]
        assert len(chosen) == len(fakes.FAILURES)
        assert all(name.startswith(f"{condition}/") for name in chosen)
    for failure in fakes.FAILURES[1:]:
        chosen = [name for name, tag in zip(source.ids, tags, strict=True) if tag["failure"] == failure[1:]]
        assert len(chosen) == len(fakes.CONDITIONS)
        assert all(failure in name.split("/")[1] for name in chosen)
    assert sum(tag["failure"] == "none" for tag in tags) == len(fakes.CONDITIONS)


def test_raw_depth_is_there_for_those_who_ask(tmp_path):
    content = fakes.write_deliver(tmp_path, raw_depth=True)
    dataset = load("deliver", tmp_path)
    source = dataset.source("val", ["rgb", "raw_depth"])
    raw = source.read(0, ["raw_depth"])
    assert np.array_equal(raw.images["raw_depth"], content["val", source.ids[0]]["raw_depth"])
    assert check(dataset).modalities["raw_depth"].files == len(content)


def test_check_data_compares_deliver_with_the_published_counts(deliver):
    root, content = deliver
    report = check(load("deliver", root))
    assert report.clean, report.text()
    assert report.modalities["raw_depth"].files == 0
    test = report.published["test"]
    assert test["samples"] == (30, 1897)
    assert test["condition cloud"] == (6, 379)
    assert test["failure lidarjitter"] == (5, 99)
    assert sum(said for what, (_, said) in test.items() if what.startswith("failure")) == 1897
    assert sum(said for what, (_, said) in test.items() if what.startswith("condition")) == 1897
    assert "differs" in report.text()
    assert report.as_dict()["published"]["train"]["samples"] == {"here": len(content) // 3, "published": 3983}


def test_deliver_damage_is_reported_with_the_file(tmp_path):
    fakes.write_deliver(tmp_path)
    victim = sorted((tmp_path / "lidar" / "fog" / "val").glob("*/*.png"))[0]
    victim.write_bytes(victim.read_bytes()[:-20])
    gone = sorted((tmp_path / "hha" / "sun" / "test").glob("*/*.png"))[0]
    gone.unlink()
    report = check(load("deliver", tmp_path))
    text = report.text()
    assert not report.clean
    assert str(victim.relative_to(tmp_path)) in text
    assert str(gone.relative_to(tmp_path)) in text


@pytest.mark.parametrize("wide", [True, False], ids=["16-bit", "8-bit"])
def test_mcubes_is_read_to_the_values_written(tmp_path, wide):
    content = fakes.write_mcubes(tmp_path, wide)
    dataset = load("mcubes", tmp_path)
    assert len(dataset.classes) == 20
    for split in ("train", "val", "test"):
        source = dataset.source(split)
        assert list(source.ids) == [name for name in content if split in name]
        for index, name in enumerate(source.ids):
            raw, written = source.read(index, dataset.usual), {k: v[:, 192:] for k, v in content[name].items()}
            assert np.array_equal(raw.images["rgb"], written["polL_color"])
            assert raw.images["rgb"].dtype == (np.uint16 if wide else np.uint8)
            assert np.array_equal(raw.images["nir"][..., 0], written["NIR_warped"])
            assert np.array_equal(raw.images["dolp"][..., 0], written["polL_dolp"].astype(np.float32))
            sin_cos = np.stack([written["polL_aolp_sin"], written["polL_aolp_cos"]], axis=2).astype(np.float32)
            assert np.array_equal(raw.images["aolp"], sin_cos)
            assert np.array_equal(raw.label, written["GT"])


def test_mcubes_is_normalised_as_published(mcubes):
    root, content = mcubes
    dataset = load("mcubes", root)
    source = dataset.source("train")
    raw, written = source.read(0, dataset.usual), content[source.ids[0]]
    see = {m.name: normalise(raw.images[m.name], m).numpy() for m in source.modalities}
    assert np.allclose(see["nir"][0], written["NIR_warped"][:, 192:] / 65535, atol=1e-6)
    assert np.allclose(see["aolp"][0], written["polL_aolp_sin"][:, 192:], atol=1e-6)
    assert np.allclose(see["aolp"][1], written["polL_aolp_cos"][:, 192:], atol=1e-6)
    assert np.allclose(see["dolp"][0], written["polL_dolp"][:, 192:], atol=1e-6)
    red = (written["polL_color"][:, 192:, 0] / 65535 - 0.485) / 0.229
    assert np.allclose(see["rgb"][0], red, atol=1e-5)
    assert next(m for m in dataset.modalities if m.name == "aolp").stem == (0, 1, 0)


def test_mcubes_regions_are_there_for_those_who_ask_with_their_numbers(mcubes):
    root, content = mcubes
    dataset = load("mcubes", root)
    assert dataset.usual == ("rgb", "aolp", "dolp", "nir")
    source = dataset.source("val", ["rgb", "regions"])
    raw, written = source.read(0, ["regions", "rgb"]), content[source.ids[0]]["SSmask"][:, 192:]
    assert np.array_equal(raw.images["regions"][..., 0], written)
    seen = normalise(raw.images["regions"], next(m for m in source.modalities if m.name == "regions"))
    assert np.array_equal(seen[0].numpy(), written)


def test_check_data_takes_regions_for_numbers_and_does_not_miss_them(tmp_path):
    fakes.write_mcubes(tmp_path)
    report = check(load("mcubes", tmp_path))
    assert report.clean, report.text()
    assert (report.modalities["regions"].low, report.modalities["regions"].high) == (0, 9)
    assert not any(line.startswith("regions") for line in report.advice)
    shutil.rmtree(tmp_path / "SSmask")
    assert check(load("mcubes", tmp_path)).clean


def test_invalid_near_infrared_loses_its_label_on_request_and_only_where_it_is_used(mcubes):
    root, content = mcubes
    dataset = load("mcubes", root)
    name = dataset.source("test").ids[0]
    label, mask = content[name]["GT"][:, 192:], content[name]["NIR_warped_mask"][:, 192:] > 0
    masked = dataset.source("test", ignore_invalid=True)
    assert np.array_equal(masked.read(0, ["rgb", "nir"]).label, np.where(mask, 255, label))
    assert np.array_equal(masked.read(0, ["rgb"]).label, label)
    assert np.array_equal(dataset.source("test").read(0, ["rgb", "nir"]).label, label)
    without = dataset.source("test", ["rgb", "aolp"], ignore_invalid=True)
    assert np.array_equal(without.read(0, ["rgb", "aolp"]).label, label)


@pytest.mark.parametrize(("angle", "choice"), [("doubled", "sin"), ("single", "cos"), ("centred", "sin")])
def test_check_data_says_which_sign_a_mirror_changes(tmp_path, angle, choice):
    fakes.write_mcubes(tmp_path, angle=angle)
    report = check(load("mcubes", tmp_path))
    assert report.clean, report.text()
    (note,) = [note for note in report.notes if note.startswith("aolp")]
    assert f"`mirror: {choice}`" in note


def test_mirroring_an_orientation_is_what_a_mirrored_scene_would_have_given():
    """Of a scene mirrored in the world, the angle image is the mirrored one with phi -> -phi."""
    phi = np.random.default_rng(3).uniform(0, np.pi, (6, 8))
    for stored, choice in ((2 * phi, "sin"), (phi, "cos")):
        image = np.stack([np.sin(stored), np.cos(stored)], axis=2).astype(np.float32)
        there = -2 * phi[:, ::-1] if choice == "sin" else np.pi - phi[:, ::-1]
        expected = np.stack([np.sin(there), np.cos(there)], axis=2)
        modality = aolp(choice)
        assert np.allclose(mirror(image, modality), expected, atol=1e-6)
        assert np.array_equal(mirror(image, aolp("none")), image[:, ::-1])


def test_training_mirrors_the_angle_only_on_request(mcubes):
    root, _ = mcubes
    dataset = load("mcubes", root)
    raw = dataset.source("train").read(0, ["aolp"])
    settings = AugmentSettings(scale=(1, 1), flip=1, jitter=0, blur=0)
    size = raw.label.shape
    for choice, channel in (("none", None), ("sin", 0), ("cos", 1)):
        out = TrainTransform(size, settings, [aolp(choice)])(raw, np.random.default_rng(0)).images["aolp"]
        expected = raw.images["aolp"][:, ::-1].copy()
        if channel is not None:
            expected[..., channel] *= -1
        assert np.array_equal(out, expected)


def test_values_without_a_sign_cannot_be_mirrored():
    with pytest.raises(DataError, match="no sign"):
        mirror(np.zeros((4, 4, 2), np.uint8), aolp("sin"))


def aolp(choice):
    dataset = FolderDataset.load(packaged("datasets")["mcubes"], root=fakes.Path(__file__).parent)
    return next(m for m in dataset.modalities if m.name == "aolp").model_copy(update={"mirror": choice})


def test_mcubes_damage_is_reported_with_the_file(tmp_path):
    fakes.write_mcubes(tmp_path)
    np.save(tmp_path / "polL_aolp_cos" / "outscenetrain_0001.npy", np.zeros((10, 220)))
    (tmp_path / "NIR_warped_mask" / "outsceneval_0000.png").write_bytes(b"")
    (tmp_path / "polL_dolp" / "outscenetest_0001.npy").unlink()
    text = check(load("mcubes", tmp_path)).text()
    for name in ("polL_aolp_cos/outscenetrain_0001.npy", "NIR_warped_mask/outsceneval_0000.png",
                 "polL_dolp/outscenetest_0001.npy"):  # fmt: skip
        assert name in text


def test_a_crop_that_leaves_nothing_is_explained(tmp_path):
    fakes.write_mcubes(tmp_path, width=150)
    with pytest.raises(DataError, match="leaves nothing of it"):
        load("mcubes", tmp_path).source("train").read(0, ["rgb"])


def test_mfnet_is_read_to_the_values_written(tmp_path):
    content = fakes.write_mfnet(tmp_path)
    dataset = load("mfnet", tmp_path)
    assert check(dataset).clean
    assert dataset.classes.names[0] == "unlabeled"
    for split, count in {"train": 2, "val": 1, "test": 2}.items():
        source = dataset.source(split)
        assert len(source.ids) == count
        for index, name in enumerate(source.ids):
            raw = source.read(index, dataset.usual)
            assert np.array_equal(raw.images["rgb"], content[name]["rgb"])
            assert np.array_equal(raw.images["thermal"][..., 0], content[name]["ther"])
            assert np.array_equal(raw.label, content[name]["labels"])


def test_a_colour_image_with_thermal_in_its_alpha_channel_is_not_taken_for_thermal(tmp_path):
    content = fakes.write_mfnet(tmp_path)
    both = np.dstack([content["00003N"]["rgb"], content["00003N"]["ther"]])
    fakes.put(tmp_path / "ther" / "00003N.png", both)
    report = check(load("mfnet", tmp_path))
    assert not report.clean
    assert "ther/00003N.png" in report.text()
    with pytest.raises(DataError, match="4 channels"):
        load("mfnet", tmp_path).source("train").read(1, ["thermal"])


def test_nyuv2_is_read_to_the_values_written(tmp_path):
    content = fakes.write_nyuv2(tmp_path)
    dataset = load("nyuv2", tmp_path)
    assert check(dataset).clean
    assert len(dataset.classes) == 40
    for split in ("train", "test"):
        source = dataset.source(split)
        for index, name in enumerate(source.ids):
            raw, written = source.read(index, dataset.usual), content[name]
            assert np.array_equal(raw.images["rgb"], written["RGB"])
            assert np.array_equal(raw.images["depth"], written["HHA"])
            stored = written["Label"]
            assert np.array_equal(raw.label, np.where((stored == 0) | (stored == 255), 255, stored - 1))


def test_muses_is_read_to_the_values_written(tmp_path):
    content = fakes.write_muses(tmp_path)
    dataset = load("muses", tmp_path)
    report = check(dataset)
    assert report.clean, report.text()
    assert report.tags["val"]["weather"] == dict.fromkeys(("clear", "fog", "rain", "snow"), 2)
    assert len(dataset.classes) == 19
    modalities = {m.name: m for m in dataset.modalities}
    for split in ("train", "val"):
        source = dataset.source(split)
        assert len(source.ids) == 8
        for index, name in enumerate(source.ids):
            raw, written = source.read(index, dataset.usual), content[split, name]
            for kind in dataset.usual:
                assert np.array_equal(raw.images[kind], written[kind])
            assert np.array_equal(raw.label, written["label"])
    see = normalise(raw.images["lidar"], modalities["lidar"]).numpy()
    assert np.allclose(see[2] * 200, written["lidar"][..., 2] / 150 - 100, atol=0.01)  # metres
    assert np.allclose(see[:, (written["lidar"] == 15000).all(axis=2)], 0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "write", "file"),
    [
        ("mfnet", fakes.write_mfnet, "ther/00006N.png"),
        ("nyuv2", fakes.write_nyuv2, "HHA/3.jpg"),
        ("muses", fakes.write_muses, "projected_to_rgb/radar/val/snow/night/REC0003_frame_000001_radar.png"),
    ],
)
def test_a_damaged_copy_is_reported_with_the_file(tmp_path, name, write, file):
    write(tmp_path)
    data = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(data[: len(data) // 2])
    report = check(load(name, tmp_path))
    assert not report.clean
    assert file in report.text()
