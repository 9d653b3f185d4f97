"""From a checkpoint and files, or arrays, to label maps at the size of the images."""

import itertools
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel

import memorysam
from memorysam.config import EvaluateSettings, ModelSettings
from memorysam.errors import DataError, InputError, WeightsError
from memorysam.models import sam2_sizes, weights
from memorysam.models.factory import create
from memorysam.predict import match, predict_files
from memorysam.spec import Modality, Task, as_classes, camera

CLASSES = {"road": (128, 64, 128), "car": (0, 0, 142), "sky": (70, 130, 180), "pole": (153, 153, 153)}
SIZES = [(1024, 1224), (97, 131), (64, 96), (33, 40)]
METHODS = ["resize", "native", "windows"]


def make_model(size=(64, 96), **settings):
    torch.manual_seed(2)
    modalities = (
        camera("rgb"),
        Modality(name="depth", channels=1, high=65535),
        Modality(name="thermal", channels=1, low=-10, high=40),
    )
    task = Task(modalities=modalities, classes=as_classes(CLASSES), image_size=size)
    return create(ModelSettings(backbone="micro", lora_rank=2, **settings), task)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    weights.save(path, make_model())
    return path


@pytest.fixture(scope="module")
def predictor(checkpoint):
    return memorysam.load(checkpoint, device="cpu", verbose=False)


@pytest.fixture(scope="module")
def large_predictor(tmp_path_factory):
    """One whose windows are not too many for a large image."""
    path = tmp_path_factory.mktemp("model") / "large.safetensors"
    weights.save(path, make_model((512, 640)))
    return memorysam.load(path, device="cpu", verbose=False)


def scene(height, width, seed=0):
    """Stored values of the three sensors: blobs, so that interpolation leaves something to see."""
    rng = np.random.default_rng(seed)

    def blobs(channels, low, high, kind):
        coarse = rng.uniform(low, high, (8, 10, channels)).astype(np.float32)
        return cv2.resize(coarse, (width, height)).reshape(height, width, channels).astype(kind)

    return {
        "rgb": blobs(3, 0, 255, np.uint8),
        "depth": blobs(1, 0, 65535, np.uint16),
        "thermal": blobs(1, -10, 40, np.float32),
    }


def write(folder, images, stem="a"):
    files = {"rgb": folder / f"{stem}.png", "depth": folder / f"{stem}_d.png", "thermal": folder / f"{stem}.npy"}
    cv2.imwrite(str(files["rgb"]), images["rgb"][:, :, ::-1])
    cv2.imwrite(str(files["depth"]), images["depth"])
    np.save(files["thermal"], images["thermal"])
    return files


@pytest.mark.parametrize("method", METHODS)
def test_files_and_arrays_give_the_same(predictor, tmp_path, method):
    images = scene(97, 131)
    files, settings = write(tmp_path, images), EvaluateSettings(method=method)
    ours, theirs = predictor.predict(files, settings), predictor.predict(images, settings)
    assert np.array_equal(ours.probabilities, theirs.probabilities)
    assert np.array_equal(ours.labels, theirs.labels)
    assert np.array_equal(ours.picture, theirs.picture)
    words = predictor.predict({name: str(path) for name, path in files.items()}, settings)
    assert np.array_equal(words.probabilities, ours.probabilities)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("method", METHODS)
def test_the_answer_has_the_size_of_the_images_and_is_a_distribution(predictor, large_predictor, method, size):
    model = large_predictor if size[0] > 1000 else predictor
    images = scene(*size)
    if method == "native" and size[0] > 1000:
        images = {"rgb": images["rgb"]}  # memory attention over so many places would take its time
    found = model.predict(images, EvaluateSettings(method=method))
    assert found.labels.shape == size
    assert found.labels.dtype == np.uint8
    assert found.probabilities.shape == (4, *size)
    assert np.abs(found.probabilities.sum(axis=0) - 1).max() < 1e-5
    assert found.confidence.shape == size
    assert (found.confidence > 1 / 4).all()
    assert (found.confidence <= 1).all()
    assert np.array_equal(found.labels, found.probabilities.argmax(axis=0))
    assert found.overlay.shape == found.picture.shape == (*size, 3)


@pytest.mark.parametrize("method", METHODS)
def test_any_subset_of_the_modalities_will_do(predictor, method):
    images = scene(70, 90)
    answers = [
        predictor.predict({name: images[name] for name in subset}, EvaluateSettings(method=method)).probabilities
        for size in (1, 2, 3)
        for subset in itertools.combinations(images, size)
    ]
    assert len(answers) == 7
    assert all(not np.array_equal(a, b) for a, b in itertools.combinations(answers, 2))


def test_the_order_in_which_images_are_given_does_not_matter(predictor):
    images = scene(70, 90)
    frames = []
    handle = predictor.model.register_forward_pre_hook(lambda _, inputs: frames.append(list(inputs[0])))
    answers = [predictor.predict({n: images[n] for n in order}) for order in itertools.permutations(images)]
    handle.remove()
    assert frames == [["rgb", "depth", "thermal"]] * 6
    for answer in answers[1:]:
        assert np.array_equal(answer.probabilities, answers[0].probabilities)
        assert np.array_equal(answer.picture, answers[0].picture)


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.int64, np.uint32, np.float64])
def test_the_type_of_an_array_does_not_matter_its_values_do(predictor, kind):
    depth = scene(70, 90)["depth"]
    expected = predictor.predict({"depth": depth.astype(np.float32)})
    found = predictor.predict({"depth": depth.astype(kind)})
    assert np.abs(found.probabilities - expected.probabilities).max() < 1e-4
    flat = predictor.predict({"depth": depth[:, :, 0].astype(kind)})
    assert np.array_equal(flat.probabilities, found.probabilities)


def test_half_precision_arrays_are_taken(predictor):
    thermal = scene(70, 90)["thermal"].astype(np.float16)
    expected = predictor.predict({"thermal": thermal.astype(np.float32)})
    assert np.array_equal(predictor.predict({"thermal": thermal}).probabilities, expected.probabilities)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_array_with_nan_or_infinity_is_refused_like_a_file(predictor, tmp_path, value):
    thermal = scene(70, 90)["thermal"]
    thermal[3, 4] = value
    np.save(tmp_path / "a.npy", thermal)
    for given in (tmp_path / "a.npy", thermal):
        with pytest.raises(DataError, match="NaN or infinite"):
            predictor.predict({"thermal": given})


def test_an_alpha_channel_is_dropped(predictor):
    rgb = scene(70, 90)["rgb"]
    with_alpha = np.concatenate([rgb, np.full((70, 90, 1), 9, np.uint8)], axis=2)
    assert np.array_equal(predictor.predict({"rgb": with_alpha}).labels, predictor.predict({"rgb": rgb}).labels)


def test_an_unknown_modality_is_an_error_that_suggests_the_nearest(predictor):
    with pytest.raises(InputError, match=r"no modality 'dept'(.|\n)*did you mean 'depth'"):
        predictor.predict({"dept": np.zeros((64, 96), np.uint16)})


def test_no_image_is_an_error(predictor):
    with pytest.raises(InputError, match="no image was given"):
        predictor.predict({})


def test_images_of_different_sizes_are_an_error_that_names_both(predictor, tmp_path):
    files = write(tmp_path, scene(64, 96))
    with pytest.raises(DataError, match="different sizes: rgb 64x96, depth 64x95") as error:
        predictor.predict({"rgb": files["rgb"], "depth": np.zeros((64, 95), np.uint16)})
    assert str(files["rgb"]) in str(error.value)


@pytest.mark.parametrize(
    ("name", "array", "error", "words"),
    [
        ("rgb", np.zeros((1, 64, 96, 3), np.uint8), InputError, r"array of shape \[1, 64, 96, 3\]"),
        ("rgb", np.zeros(64, np.uint8), InputError, r"array of shape \[64\]"),
        ("rgb", np.full((64, 96, 3), "x"), InputError, "type <U1"),
        ("rgb", np.zeros((3, 64, 96), np.uint8), DataError, "96 channels, modality 'rgb' has 3"),
        ("depth", np.zeros((64, 96, 5), np.uint16), DataError, "5 channels, modality 'depth' has 1"),
    ],
)
def test_an_array_that_is_no_such_image_is_an_error(predictor, name, array, error, words):
    with pytest.raises(error, match=words):
        predictor.predict({name: array})


def test_a_missing_file_is_an_error_that_names_it(predictor, tmp_path):
    with pytest.raises(DataError, match=r"no such file(.|\n)*none\.png"):
        predictor.predict({"rgb": tmp_path / "none.png"})


def test_shares_add_up_and_the_largest_comes_first(predictor):
    found = predictor.predict(scene(70, 90))
    shares = found.shares()
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    ids = {name: i for i, name in enumerate(CLASSES)}
    for name, share in shares.items():
        assert share == pytest.approx((found.labels == ids[name]).mean())
    assert len(shares) == len(np.unique(found.labels)) > 1


def test_what_is_saved_reads_back_equal(predictor, tmp_path):
    found = predictor.predict(scene(70, 90))
    files = found.save(tmp_path / "new" / "folder", "a", probabilities=True)
    assert {kind: path.name for kind, path in files.items()} == {
        "labels": "a_labels.png",
        "overlay": "a_overlay.png",
        "probabilities": "a_probabilities.npy",
    }
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == {path.name for path in files.values()}
    assert np.array_equal(cv2.imread(str(files["labels"]), cv2.IMREAD_UNCHANGED), found.labels)
    assert np.array_equal(cv2.imread(str(files["overlay"]))[:, :, ::-1], found.overlay)
    stored = np.load(files["probabilities"])
    assert np.array_equal(stored, found.probabilities.astype(np.float16))
    assert found.save(str(tmp_path), "b").keys() == {"labels", "overlay"}


def test_the_overlay_shows_the_classes_colours(predictor):
    found = predictor.predict(scene(70, 90))
    for i, colour in enumerate(CLASSES.values()):
        chosen = found.labels == i
        expected = 0.55 * np.array(colour) + 0.45 * found.picture[chosen]
        assert np.abs(found.overlay[chosen] - expected).max(initial=0) <= 1


def test_folders_are_matched_by_name(predictor, tmp_path):
    for name in ("rgb", "depth"):
        (tmp_path / name).mkdir()
    for i, stem in enumerate(("b", "a")):
        images = scene(40, 50, seed=i)
        cv2.imwrite(str(tmp_path / "rgb" / f"{stem}.png"), images["rgb"])
        cv2.imwrite(str(tmp_path / "depth" / f"{stem}.tif"), images["depth"])
    inputs = {"depth": tmp_path / "depth", "rgb": tmp_path / "rgb"}
    results = predict_files(predictor, inputs, tmp_path / "out")
    assert [result["name"] for result in results] == ["a", "b"]
    for result in results:
        stem = result["name"]
        alone = predictor.predict(
            {"rgb": tmp_path / "rgb" / f"{stem}.png", "depth": tmp_path / "depth" / f"{stem}.tif"}
        )
        assert result["size"] == [40, 50]
        assert result["shares"] == alone.shares()
        assert np.array_equal(cv2.imread(result["files"]["labels"], cv2.IMREAD_UNCHANGED), alone.labels)
    (tmp_path / "depth" / "a.tif").unlink()
    with pytest.raises(DataError, match=r"1 files have no partner(.|\n)*depth.a\.\*"):
        match(inputs)
    with pytest.raises(DataError, match="files and folders are mixed"):
        match({"rgb": tmp_path / "rgb" / "a.png", "depth": tmp_path / "depth"})


def test_it_is_called_like_the_model(predictor):
    images = {"rgb": torch.randn(2, 3, 64, 96), "thermal": torch.randn(2, 1, 64, 96)}
    with torch.no_grad():
        ours, theirs = predictor(images), predictor.model(images)
    assert ours.logits.shape == (2, 4, 16, 24)
    assert torch.equal(ours.logits, theirs.logits)
    assert predictor.task is predictor.model.task
    assert predictor.parts().keys() == predictor.model.parts().keys()
    with pytest.raises(AttributeError, match="no_such_thing"):
        predictor.no_such_thing  # noqa: B018


def test_predicting_leaves_the_mode_as_it_was(checkpoint):
    ours = memorysam.load(checkpoint, device="cpu", verbose=False)
    assert not ours.model.training
    expected = ours.predict(scene(70, 90)).probabilities
    ours.model.train()
    assert np.array_equal(ours.predict(scene(70, 90)).probabilities, expected), "no dropout in a prediction"
    assert ours.model.training


def test_the_mode_comes_back_after_an_error_too(checkpoint):
    ours = memorysam.load(checkpoint, device="cpu", verbose=False)
    ours.model.train()

    def fail(*_):
        raise RuntimeError("out of memory")

    ours.model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        ours.predict(scene(70, 90))
    assert ours.model.training


def test_a_checkpoint_carries_all_that_is_needed(checkpoint, capsys):
    loaded = memorysam.load(checkpoint)
    assert "memorysam checkpoint, micro" in capsys.readouterr().out
    assert loaded.task == make_model().task
    for size, expected in [((96, 64), (96, 64)), (128, (128, 128))]:
        assert memorysam.load(str(checkpoint), verbose=False, image_size=size).task.image_size == expected
    assert capsys.readouterr().out == ""


def test_what_agrees_with_the_checkpoint_may_be_said_again(checkpoint):
    images = scene(70, 90)
    plain = memorysam.load(checkpoint, verbose=False)
    again = memorysam.load(checkpoint, verbose=False, modalities=["rgb", "depth", "thermal"], classes=list(CLASSES))
    assert again.task.modalities == plain.task.modalities
    assert again.task.classes.names == plain.task.classes.names
    assert np.array_equal(again.predict(images).labels, plain.predict(images).labels)


@pytest.mark.parametrize(
    "given",
    [
        {"classes": ["road", "car", "sky"]},
        {"classes": ["car", "road", "sky", "pole"]},
        {"modalities": ["rgb", "depth", "lidar"]},
        {"modalities": [{"name": "rgb"}, {"name": "depth", "channels": 1, "high": 1000}]},
    ],
    ids=["fewer-classes", "other-order", "unknown-modality", "other-range"],
)
def test_what_contradicts_the_checkpoint_is_refused(checkpoint, given):
    with pytest.raises(WeightsError):
        memorysam.load(checkpoint, verbose=False, **given)


def test_one_setting_given_leaves_the_others_as_the_checkpoint_has_them(tmp_path):
    path = tmp_path / "model.safetensors"
    weights.save(path, make_model(object_gate=True, prototypes="off"))
    carried = weights.read_about(path)["model"]
    assert carried["residual"] is True
    assert memorysam.load(path, verbose=False, residual=False).model.settings() == {**carried, "residual": False}


@pytest.mark.slow
def test_for_a_file_that_says_nothing_names_are_enough(tmp_path):
    """They stand for what `spec.as_modality` says; mappings say more."""
    Sam2VideoModel(sam2_sizes.configuration(sam2_sizes.BACKBONES["sam2.1-tiny"], 3, 0.1)).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"give modalities=\[...\], classes=\[...\] and image_size"):
        memorysam.load(tmp_path, verbose=False)
    depth = {"name": "depth", "channels": 1, "high": 65535}
    loaded = memorysam.load(
        tmp_path, verbose=False, modalities=["rgb", "nir", depth], classes=["a", "b", "c"], image_size=64
    )
    assert loaded.task == Task(
        modalities=(camera("rgb"), Modality(name="nir"), Modality(**depth)),
        classes=as_classes(["a", "b", "c"]),
        image_size=(64, 64),
    )
    assert loaded.model.sam2.name == "sam2.1-tiny"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux to see its own memory")
@pytest.mark.parametrize("method", METHODS)
def test_predicting_again_and_again_does_not_grow(predictor, method):
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    settings = EvaluateSettings(method=method)
    for i in range(50):  # what is allocated once
        predictor.predict(scene(40 + i % 7, 50 + i % 5), settings)
    before = resident()
    for i in range(300):
        predictor.predict(scene(40 + i % 7, 50 + i % 5), settings)
    assert resident() - before < 30
