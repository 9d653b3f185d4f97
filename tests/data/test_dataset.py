import numpy as np
import pytest

from memorysam.data.dataset import normalise
from memorysam.spec import Modality


def see(values, **fields):
    image = np.asarray(values)
    return normalise(image, Modality(name="m", channels=image.shape[2], **fields)).numpy()


def test_a_range_becomes_0_to_1_and_then_statistics_apply():
    image = np.array([[[10], [20], [30]]], np.uint8)
    assert see(image, low=10, high=30).ravel().tolist() == [0, 0.5, 1]
    assert np.allclose(see(image, low=10, high=30, mean=(0.5,), std=(0.25,)).ravel(), [-2, 0, 2])


def test_statistics_may_differ_by_channel():
    image = np.full((2, 2, 3), 255, np.uint8)
    assert np.allclose(see(image, mean=(0, 0.5, 1), std=(1, 0.5, 2))[:, 0, 0], [1, 1, 0])


@pytest.mark.parametrize(("dtype", "largest"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_the_range_of_the_stored_type(dtype, largest):
    assert np.allclose(see(np.array([[[0], [largest]]], dtype), high="type").ravel(), [0, 1])


def test_an_offset_of_its_own_is_taken_from_each_image_and_channel():
    rng = np.random.default_rng(0)
    image = rng.integers(1000, 2000, (9, 11, 2)).astype(np.uint16)
    shifted = image + np.array([300, 5000], np.uint16)
    ours, theirs = (see(i, high=65535, zero="median", std=(0.1,)) for i in (image, shifted))
    assert np.allclose(ours, theirs, atol=1e-6)
    assert np.allclose(np.median(ours, axis=(1, 2)), 0, atol=1e-6)
