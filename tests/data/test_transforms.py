import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memorysam.config import AugmentSettings
from memorysam.data.dataset import Raw
from memorysam.data.transforms import CentreCrop, Resize, ResizeAll, TrainTransform, resize_image, resize_label
from memorysam.errors import DataError
from memorysam.spec import IGNORE, Modality, camera

STILL = AugmentSettings(jitter=0, blur=0)
SIDES = st.integers(20, 120)
X, Y, IDS = Modality(name="x", fill=-9), Modality(name="y", channels=7, fill=-9), Modality(name="ids", interpolation="nearest")  # fmt: skip  # noqa: E501


def coordinates(height, width):
    """A sample whose parts tell where a pixel was: x in one, y in another, both in a third, x in the label."""
    x = np.broadcast_to(np.arange(width, dtype=np.float32), (height, width))
    y = np.broadcast_to(np.arange(height, dtype=np.float32)[:, None], (height, width))
    images = {
        "x": np.repeat(x[..., None], 3, axis=2),
        "y": np.repeat(y[..., None], 7, axis=2),
        "ids": np.stack([x, y, x + y], axis=2).astype(np.uint16),
    }
    return Raw(images, x.astype(np.uint8), "here", {"map": "1"})


def noise(height, width, channels, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if dtype == np.float32:
        return rng.normal(size=(height, width, channels)).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype=dtype, endpoint=True)


@given(SIDES, SIDES, SIDES, SIDES, st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_numbers_of_regions_stay_what_they_are_and_where_the_label_is(height, width, h, w, seed):
    regions = Modality(name="map", role="regions")
    label = np.random.default_rng(seed).choice([1, 7, 200], (height, width)).astype(np.uint8)
    raw = Raw({"map": label[..., None].copy()}, label, "here")
    strong = AugmentSettings(flip=0.5, jitter=1, blur=1)
    for transform in (TrainTransform((h, w), strong, [regions]), ResizeAll((h, w), [regions]), CentreCrop((h, w), [regions])):  # fmt: skip  # noqa: E501
        out = transform(raw, np.random.default_rng(seed))
        assert set(np.unique(out.images["map"])) <= {0, 1, 7, 200}
        assert np.array_equal(out.images["map"][..., 0], np.where(out.label == IGNORE, 0, out.label))


# Resizing


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_shape_and_type_survive(dtype, channels):
    image = noise(30, 41, channels, dtype)
    for size in ((15, 20), (13, 17), (60, 82), (64, 30), (20, 96), (30, 41), (1, 1)):
        for interpolation in ("bilinear", "nearest"):
            resized = resize_image(image, size, interpolation)
            assert resized.shape == (*size, channels)
            assert resized.dtype == dtype
            for i in range(channels):  # every channel by itself gives the same
                alone = resize_image(image[..., i : i + 1], size, interpolation)[..., 0]
                np.testing.assert_allclose(resized[..., i], alone, rtol=1e-5, atol=1e-5 if dtype == np.float32 else 1)


def test_shrinking_averages_and_does_not_alias():
    stripes = np.zeros((64, 64, 1), np.uint8)
    stripes[:, ::2] = 200
    for size in ((16, 16), (64, 16), (128, 16), (30, 30)):
        resized = resize_image(stripes, size, "bilinear")
        assert abs(float(resized.mean()) - 100) < 2
        assert resized.std() < (1 if size != (30, 30) else 20)


def test_a_constant_stays_constant():
    for dtype, value in ((np.uint8, 255), (np.uint16, 65535), (np.float32, -3.25)):
        image = np.full((23, 31, 3), value, dtype)
        for size in ((11, 60), (7, 9), (46, 62)):
            np.testing.assert_allclose(resize_image(image, size, "bilinear"), value, rtol=1e-6)


@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES))
def test_nearest_is_that_of_pixel_centres(source, target):
    label = noise(*source, 1, np.uint8)[..., 0]
    centres = [(np.arange(new) + 0.5) * old / new for new, old in zip(target, source, strict=True)]
    rows, columns = (np.floor(c + 1e-9).astype(int) for c in centres)
    np.testing.assert_array_equal(resize_label(label, target), label[rows][:, columns])


def test_nearest_agrees_with_opencv():
    label = noise(37, 53, 1, np.uint8)[..., 0]
    for height, width in ((74, 106), (16, 99), (64, 64), (21, 13)):
        theirs = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        np.testing.assert_array_equal(resize_label(label, (height, width)), theirs)


def test_nearest_makes_no_new_values():
    image = np.where(noise(20, 20, 1, np.uint16) > 30000, 65535, 1).astype(np.uint16)
    assert set(np.unique(resize_image(image, (33, 47), "nearest"))) == {1, 65535}


def test_resize_transforms():
    raw = coordinates(40, 60)
    rng = np.random.default_rng()
    images_only = Resize((32, 64), [X, Y, IDS])(raw, rng)
    assert {image.shape[:2] for image in images_only.images.values()} == {(32, 64)}
    assert images_only.label is raw.label
    everything = ResizeAll((32, 64), [X, Y, IDS])(raw, rng)
    assert everything.label.shape == (32, 64)
    assert everything.id == "here"
    assert everything.tags == {"map": "1"}
    assert set(np.unique(everything.images["ids"][..., 1])) <= set(range(40))
    unlabelled = Raw(raw.images, None, "here")
    assert ResizeAll((32, 64), [X, Y, IDS])(unlabelled, rng).label is None
    same = Resize((40, 60), [X, Y, IDS])(raw, rng)
    assert same.images["x"] is raw.images["x"]


# The training augmentation


@settings(max_examples=200, deadline=None)
@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.integers(0, 2**32 - 1))
def test_everything_stays_aligned(source, target, seed):
    transform = TrainTransform(target, STILL, [X, Y, IDS])
    result = transform(coordinates(*source), np.random.default_rng(seed))
    assert result.label.shape == target
    inside = result.label != IGNORE
    x, y, ids = (result.images[name].astype(float) for name in ("x", "y", "ids"))
    assert x.shape == (*target, 3)
    assert y.shape == (*target, 7)
    # The kept part is a rectangle at the top left; the rest is padding in every modality.
    height, width = inside.any(axis=1).sum(), inside.any(axis=0).sum()
    assert height > 0
    assert width > 0
    assert inside[:height, :width].all()
    for padded in (x, y):
        assert (padded[~inside] == -9).all()
        assert (padded[inside] > -1).all()
    assert (ids[~inside] == 0).all()
    # Within it, every modality tells of the same place, within half a pixel of the source.
    assert np.abs(x[..., 0] - result.label)[inside].max() <= 0.51
    assert np.abs(x[..., 0] - ids[..., 0])[inside].max() <= 0.51
    assert np.abs(y[..., 0] - ids[..., 1])[inside].max() <= 0.51
    assert (ids[..., 2] == ids[..., 0] + ids[..., 1])[inside].all()
    assert (ids[..., 0] == result.label)[inside].all()
    # One scale for both axes, and one direction.
    steps_x, steps_y = np.diff(x[0, :width, 0]), np.diff(y[:height, 0, 0])
    assert (steps_x >= -1e-4).all() or (steps_x <= 1e-4).all()
    assert (steps_y >= -1e-4).all()
    assert np.ptp(x[:height, :width, 0], axis=0).max() < 1e-3
    assert np.ptp(y[:height, :width, 0], axis=1).max() < 1e-3


@given(st.integers(0, 2**32 - 1))
def test_photometrics_leave_the_geometry_alone(seed):
    raw = coordinates(50, 70)
    loud = AugmentSettings(jitter=1, blur=1)
    modalities = [X, Y, IDS, camera()]
    seen = Raw({**raw.images, "rgb": noise(50, 70, 3, np.uint8)}, raw.label, raw.id)
    quiet = TrainTransform((48, 64), STILL, [X, Y, IDS])(raw, np.random.default_rng(seed))
    noisy = TrainTransform((48, 64), loud, modalities)(seen, np.random.default_rng(seed))
    np.testing.assert_array_equal(quiet.label, noisy.label)
    for name in raw.images:
        np.testing.assert_array_equal(quiet.images[name], noisy.images[name])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_flip_is_exact(dtype, channels):
    modality = Modality(name="m", channels=channels)
    image, label = noise(24, 36, channels, dtype), noise(24, 36, 1, np.uint8)[..., 0]
    raw = Raw({"m": image}, label, "x")
    whole = {"scale": (1.0, 1.0), "jitter": 0, "blur": 0}
    for probability, expected in ((0.0, slice(None)), (1.0, slice(None, None, -1))):
        transform = TrainTransform((24, 36), AugmentSettings(flip=probability, **whole), [modality])
        result = transform(raw, np.random.default_rng(1))
        np.testing.assert_array_equal(result.images["m"], image[:, expected])
        np.testing.assert_array_equal(result.label, label[:, expected])


def test_scale_is_the_papers_for_square_sizes():
    sizes = []
    for seed in range(1000):
        raw = Raw({}, np.zeros((60, 90), np.uint8), "x")
        result = TrainTransform((64, 64), STILL, [])(raw, np.random.default_rng(seed))
        inside = result.label != IGNORE
        sizes.append(inside.any(axis=1).sum())
    assert min(sizes) in range(32, 36)  # half of the short side
    assert max(sizes) == 64
    assert 0.6 < np.mean(np.array(sizes) == 64) < 0.73  # scales of 1 to 2, of 0.5 to 2


def test_at_scale_1_a_sample_just_covers_the_size():
    whole = AugmentSettings(scale=(1.0, 1.0), jitter=0, blur=0, flip=0)
    for source, target in (((60, 90), (64, 64)), ((90, 60), (64, 128)), ((50, 200), (64, 32)), ((64, 64), (32, 96))):
        raw = Raw({}, np.zeros(source, np.uint8), "x")
        result = TrainTransform(target, whole, [])(raw, np.random.default_rng(0))
        assert (result.label == 0).all()


def test_crops_reach_every_corner():
    whole = AugmentSettings(scale=(2.0, 2.0), jitter=0, blur=0, flip=0)
    corners = set()
    for seed in range(400):
        result = TrainTransform((4, 4), whole, [X, Y, IDS])(coordinates(4, 4), np.random.default_rng(seed))
        corners.add((result.images["ids"][0, 0, 0], result.images["ids"][0, 0, 1]))
    assert {(0, 0), (2, 0), (0, 2), (2, 2)} <= corners


def test_what_is_read_is_not_changed():
    raw = Raw({"rgb": noise(30, 30, 3, np.uint8)}, np.zeros((30, 30), np.uint8), "x")
    before = raw.images["rgb"].copy()
    TrainTransform((64, 64), AugmentSettings(jitter=1, blur=1), [camera()])(raw, np.random.default_rng(0))
    np.testing.assert_array_equal(raw.images["rgb"], before)


def test_the_generator_decides_everything():
    raw = Raw({"rgb": noise(30, 40, 3, np.uint8)}, noise(30, 40, 1, np.uint8)[..., 0], "x")
    transform = TrainTransform((32, 32), AugmentSettings(jitter=1, blur=1), [camera()])
    one, two = (transform(raw, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one.images["rgb"], two.images["rgb"])
    np.testing.assert_array_equal(one.label, two.label)
    other = transform(raw, np.random.default_rng(6))
    assert not np.array_equal(one.images["rgb"], other.images["rgb"])


def still_crop(**photometric):
    return AugmentSettings(scale=(1.0, 1.0), flip=0, **photometric)


@pytest.mark.parametrize(("dtype", "high"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_jitter_follows_its_formula(dtype, high, channels):
    modality = Modality(name="m", channels=channels, high=high, photometric=True)
    image = (np.random.default_rng(0).random((20, 20, channels)) * high).astype(dtype)
    result = TrainTransform((20, 20), still_crop(jitter=1, blur=0), [modality])(
        Raw({"m": image}, None, "x"), np.random.default_rng(3)
    )
    draws = np.random.default_rng(3).random(9)
    brightness, contrast, saturation = 0.5 + draws[5:8]
    luma = np.array([0.299, 0.587, 0.114]) if channels == 3 else np.full(channels, 1 / channels)
    expected = np.clip(image.astype(float) * brightness, 0, high)
    middle = (expected @ luma).mean()
    expected = np.clip(middle + (expected - middle) * contrast, 0, high)
    if channels == 3:
        grey = (expected @ luma)[..., None]
        expected = np.clip(grey + (expected - grey) * saturation, 0, high)
    assert result.images["m"].dtype == dtype
    np.testing.assert_allclose(result.images["m"], expected, atol=2 if dtype != np.float32 else 1e-5)


def test_jitter_of_a_sensor_with_an_offset_of_its_own_is_a_contrast_about_its_median():
    modality = Modality(name="m", channels=1, high=65535, zero="median", photometric=True)
    image = np.random.default_rng(0).integers(30000, 50000, (21, 21, 1)).astype(np.uint16)
    result = TrainTransform((21, 21), still_crop(jitter=1, blur=0), [modality])(
        Raw({"m": image}, None, "x"), np.random.default_rng(3)
    ).images["m"]
    contrast = 0.5 + np.random.default_rng(3).random(9)[6]
    middle = np.median(image)
    np.testing.assert_allclose(result, middle + (image - middle) * contrast, atol=1)
    assert np.median(result) == middle


def test_blur_is_a_3x3_gaussian():
    image = np.zeros((21, 21, 3), np.float32)
    image[10, 10] = 1
    result = TrainTransform((21, 21), still_crop(jitter=0, blur=1), [camera()])(
        Raw({"rgb": image}, None, "x"), np.random.default_rng(0)
    )
    weights = np.exp(-(np.array([-1, 0, 1]) ** 2) / (2 * 0.8**2))
    weights /= weights.sum()
    np.testing.assert_allclose(result.images["rgb"][9:12, 9:12, 0], np.outer(weights, weights), atol=1e-6)
    assert result.images["rgb"].sum() == pytest.approx(3)
    for channels in (1, 7):
        modality = Modality(name="m", channels=channels, photometric=True)
        raw = Raw({"m": noise(21, 21, channels, np.uint8)}, None, "x")
        blurred = TrainTransform((21, 21), still_crop(jitter=0, blur=1), [modality])(raw, np.random.default_rng(0))
        assert blurred.images["m"].std() < 0.8 * raw.images["m"].std()


def test_probabilities_are_kept():
    raw = Raw({"rgb": noise(8, 8, 3, np.uint8)}, None, "x")
    for photometric in ({"jitter": 0.2, "blur": 0}, {"jitter": 0, "blur": 0.2}):
        transform = TrainTransform((8, 8), still_crop(**photometric), [camera()])
        changed = [
            not np.array_equal(transform(raw, np.random.default_rng((7, seed))).images["rgb"], raw.images["rgb"])
            for seed in range(1000)
        ]
        assert 0.16 < np.mean(changed) < 0.24


def test_padding_takes_the_fill_of_each_modality():
    modalities = [Modality(name="a", fill=7), Modality(name="b", channels=1, fill=65535, high=65535)]
    raw = Raw({"a": noise(20, 20, 3, np.uint8), "b": noise(20, 20, 1, np.uint16)}, np.zeros((20, 20), np.uint8), "x")
    half = AugmentSettings(scale=(0.5, 0.5))
    result = TrainTransform((32, 32), half, modalities)(raw, np.random.default_rng(0))
    assert (result.images["a"][16:] == 7).all()
    assert (result.images["b"][:, 16:] == 65535).all()
    assert (result.label == IGNORE).sum() == 32 * 32 - 16 * 16
    for fill in (-1, 0.5, 256):
        wrong = [Modality(name="a", fill=fill), modalities[1]]
        with pytest.raises(DataError, match=rf"fill value {float(fill)} of modality 'a' does not fit its uint8 files"):
            TrainTransform((32, 32), half, wrong)(raw, np.random.default_rng(0))


def test_files_of_different_size_are_refused():
    raw = Raw({"rgb": noise(20, 20, 3, np.uint8)}, np.zeros((20, 21), np.uint8), "frame 3")
    with pytest.raises(DataError, match=r"rgb \(20, 20\), label \(20, 21\)(.|\n)*frame 3"):
        TrainTransform((32, 32), STILL, [camera()])(raw, np.random.default_rng(0))


def test_one_pixel_and_long_strips():
    for source in ((1, 1), (1, 50), (50, 1), (3, 200)):
        for seed in range(5):
            result = TrainTransform((32, 64), STILL, [X, Y, IDS])(coordinates(*source), np.random.default_rng(seed))
            assert {image.shape[:2] for image in result.images.values()} == {(32, 64)}
            assert (result.label != IGNORE).any()


@pytest.mark.parametrize(
    ("source", "size", "columns"), [((24, 40), (24, 32), slice(4, 36)), ((24, 33), (24, 32), slice(0, 32))]
)
def test_centre_crop_cuts_evenly_where_nothing_is_to_be_scaled(source, size, columns):
    rng = np.random.default_rng(0)
    image, label = rng.integers(0, 255, (*source, 3), np.uint8), rng.integers(0, 9, source).astype(np.uint8)
    result = CentreCrop(size, [Modality(name="m")])(Raw({"m": image}, label, "x"), rng)
    assert np.array_equal(result.images["m"], image[:, columns])
    assert np.array_equal(result.label, label[:, columns])


def test_centre_crop_scales_until_the_size_is_covered():
    label = np.zeros((20, 40), np.uint8)
    label[:, 10:30] = 1  # the middle half
    image = np.repeat(label[..., None] * 200, 3, axis=2)
    result = CentreCrop((40, 40), [Modality(name="m")])(Raw({"m": image}, label, "x"), np.random.default_rng(0))
    assert result.label.shape == (40, 40)
    assert (result.label == 1).all()
    assert (result.images["m"][:, 2:-2] == 200).all()
