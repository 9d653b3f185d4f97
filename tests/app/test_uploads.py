"""Files that a browser sent are read, or refused in words."""

import cv2
import numpy as np
import pytest

from memorysam.app import uploads
from memorysam.errors import DataError, InputError
from memorysam.spec import Modality, Task, as_classes

from .conftest import images, task


@pytest.fixture
def sent(tmp_path):
    """A folder of uploads with one file for each sensor."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    stored = images()
    cv2.imwrite(str(folder / "a b.png"), stored["colour"][:, :, ::-1])
    cv2.imwrite(str(folder / "deep.tiff"), stored["range"])
    np.save(folder / "bands.npy", stored["bands"])
    return folder


def test_sixteen_bits_and_many_bands_arrive_as_they_were_stored(sent):
    files = {"range": sent / "deep.tiff", "colour": sent / "a b.png", "bands": sent / "bands.npy"}
    name, found = uploads.read_uploads(files, sent, task())
    assert name == "a_b"
    assert list(found) == ["colour", "range", "bands"]
    for modality, stored in images().items():
        assert found[modality].dtype == stored.dtype
        assert np.array_equal(found[modality], stored)


def test_any_subset_will_do_but_not_none(sent):
    name, found = uploads.read_uploads({"colour": None, "range": str(sent / "deep.tiff")}, sent, task())
    assert (name, list(found)) == ("deep", ["range"])
    with pytest.raises(InputError, match="no image was chosen"):
        uploads.read_uploads({"colour": None}, sent, task())


def test_files_outside_the_folder_are_not_opened(sent, tmp_path):
    outside = tmp_path / "secret.png"
    cv2.imwrite(str(outside), images()["colour"])
    (sent / "link.png").symlink_to(outside)
    for path in (outside, sent / ".." / "secret.png", sent / "link.png", "/etc/passwd", sent, sent / "none.png"):
        with pytest.raises(DataError, match="no file that was uploaded") as caught:
            uploads.read_uploads({"colour": path}, sent, task())
        assert str(tmp_path) not in str(caught.value)
    inside = sent / "x" / ".." / "a b.png"
    (sent / "x").mkdir()
    with pytest.raises(DataError, match="no file that was uploaded"):
        uploads.read_uploads({"colour": inside}, sent, task())


def test_a_damaged_file_is_named_with_its_sensor_and_without_its_folder(sent):
    (sent / "broken.png").write_bytes((sent / "a b.png").read_bytes()[:200])
    with pytest.raises(DataError) as caught:
        uploads.read_uploads({"colour": sent / "broken.png"}, sent, task())
    assert "colour: broken.png" in str(caught.value)
    assert str(sent) not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: values[:, :, :2], "2 channels"),
        (lambda values: np.where(values > 39, np.nan, values), "NaN"),
        (lambda values: values[:20], "different sizes"),
    ],
    ids=["channels", "nan", "size"],
)
def test_what_does_not_fit_is_told(sent, change, words):
    np.save(sent / "other.npy", change(images()["bands"]).astype(np.float32))
    with pytest.raises(DataError, match=words):
        uploads.read_uploads({"colour": sent / "a b.png", "bands": sent / "other.npy"}, sent, task())


def test_an_image_too_large_to_be_held_is_refused_before_the_model_sees_it(sent, monkeypatch):
    monkeypatch.setattr(uploads, "LARGEST", 50 * 81 * 3 - 1)
    with pytest.raises(InputError, match="more than this page can hold"):
        uploads.read_uploads({"range": sent / "deep.tiff"}, sent, task())


def test_a_map_of_regions_is_asked_for(sent):
    regions = Modality(name="map", role="regions")
    wants = Task(modalities=(*task().modalities, regions), classes=as_classes(["a", "b"]), image_size=(64, 96))
    with pytest.raises(InputError, match="map of regions is missing: map"):
        uploads.read_uploads({"colour": sent / "a b.png"}, sent, wants)
    with pytest.raises(InputError, match="no image was chosen"):
        uploads.read_uploads({"map": sent / "deep.tiff"}, sent, wants)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "passwd"),
        ("..", "image"),
        ("C:\\a\\b.png", "b"),
        ("<b>.png", "b"),
        ("x" * 99 + ".png", "x" * 60),
    ],
)
def test_names_of_files_to_write_are_harmless(name, safe):
    assert uploads.safe_stem(name) == safe
