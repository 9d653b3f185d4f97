"""Data that lies: files and names that are not what they seem. Training refuses it, or the doctor tells."""

import os
import struct
import sys
import unicodedata
import zlib

import cv2
import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image

from memorysam.data.check import check
from memorysam.data.dataset import SegmentationDataset
from memorysam.data.folders import FolderDataset
from memorysam.data.readers import read_image, read_label
from memorysam.errors import DataError, SettingsError

LAYOUT = {
    "name": "lies",
    "root": ".",
    "modalities": {"rgb": {"path": "rgb/{id}"}, "depth": {"path": "depth/{id}", "channels": 1, "high": 255}},
    "label": {"path": "labels/{id}"},
    "splits": {"train": "train.txt"},
    "classes": ["floor", "wall"],
}
SIZE = (6, 8)
RGBA = np.zeros((*SIZE, 4), np.uint8)
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Grüße") for form in ("NFC", "NFD"))


def write(path, values):
    """Write grey or RGB values as the extension says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, values)
    else:
        Image.fromarray(values).save(path)
    return path


def add(root, name, extension=".png"):
    """Write a sound sample."""
    write(root / "rgb" / f"{name}{extension}", np.full((*SIZE, 3), 90, np.uint8))
    write(root / "depth" / f"{name}{extension}", np.full(SIZE, 40, np.uint8))
    write(root / "labels" / f"{name}{extension}", np.eye(*SIZE, dtype=np.uint8))


def opened(root, names=("a", "b"), **changes):
    (root / "train.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    (root / "dataset.yaml").write_text(yaml.safe_dump(LAYOUT | changes))
    return FolderDataset.load(root / "dataset.yaml")


@pytest.fixture
def root(tmp_path):
    add(tmp_path, "a")
    add(tmp_path, "b")
    return tmp_path


def read_all(dataset):
    source = dataset.source("train")
    samples = SegmentationDataset(source, source.modalities)
    return [samples[i] for i in range(len(samples))]


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb(height, width):
    """A PNG of few bytes, all checksums right, that claims any number of pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def put(path, values, extension=""):
    """Another file in the place of a sound one."""
    path.unlink()
    if isinstance(values, bytes):
        path.write_bytes(values)
    else:
        write(path.with_suffix(extension), values)


def link(path, target):
    path.unlink()
    path.symlink_to(target)


# What is done to sample a, and what is said of it. In the doctor's report, the kind of problem.
UNUSABLE = "files that cannot be used"
BAD = {
    "zero bytes": (lambda root: put(root / "rgb/a.png", b""), r"empty \(0 bytes\)", UNUSABLE),
    "bomb": (lambda root: put(root / "rgb/a.png", bomb(30000, 30000)), r"30000 x 30000 pixels", UNUSABLE),
    "small bomb": (lambda root: put(root / "rgb/a.png", bomb(9000, 9000)), r"damaged", UNUSABLE),
    "label bomb": (lambda root: put(root / "labels/a.png", bomb(30000, 30000)), r"30000 x 30000 pixels", UNUSABLE),
    "text": (lambda root: put(root / "depth/a.png", b"<html>404</html>"), r"not a PNG", UNUSABLE),
    "RGBA label": (lambda root: put(root / "labels/a.png", RGBA, ".png"), "4 channels", UNUSABLE),
    "three depths": (
        lambda root: put(root / "depth/a.png", np.eye(*SIZE, dtype=np.uint8)[..., None] * np.uint8([1, 2, 3]), ".png"),
        "3 different channels",
        UNUSABLE,
    ),
    "NaN": (
        lambda root: put(root / "depth/a.png", np.array([[np.nan] * 8] + [[1.0] * 8] * 5, np.float32), ".tif"),
        r"8 of 48 values in this file are NaN or infinite",
        UNUSABLE,
    ),
    "infinity": (
        lambda root: put(root / "depth/a.png", np.full(SIZE, np.inf, np.float32), ".tif"),
        r"48 of 48 values in this file are NaN or infinite",
        UNUSABLE,
    ),
    "other size": (
        lambda root: put(root / "depth/a.png", np.zeros((3, 4), np.uint8), ".png"),
        r"depth is 3 x 4",
        "files of different size",
    ),
    "transposed": (
        lambda root: put(root / "depth/a.png", np.zeros(SIZE[::-1], np.uint8), ".png"),
        r"depth is 8 x 6",
        "files of different size",
    ),
    "negative label": (
        lambda root: put(root / "labels/a.png", np.full(SIZE, -1, np.int16), ".tif"),
        r"-1 \(48 pixels\)",
        "label values that are no class",
    ),
    "label too large": (
        lambda root: put(root / "labels/a.png", np.full(SIZE, 300, np.uint16), ".png"),
        r"300 \(48 pixels\)",
        "label values that are no class",
    ),
    "huge label": (
        lambda root: put(root / "labels/a.png", np.full(SIZE, 2**40), ".npy"),
        r"1099511627776 \(48 pixels\)",
        "label values that are no class",
    ),
    "broken label": (lambda root: put(root / "labels/a.png", np.full(SIZE, 0.5), ".npy"), "not whole", UNUSABLE),
    "link to nothing": (lambda root: link(root / "rgb/a.png", "gone.png"), "leads to nothing: gone.png", UNUSABLE),
    "device": (lambda root: link(root / "rgb/a.png", "/dev/zero"), "pipe or a device", UNUSABLE),
    "pipe": (lambda root: ((root / "rgb/a.png").unlink(), os.mkfifo(root / "rgb/a.png")), "pipe or a device", UNUSABLE),
    "folder": (
        lambda root: ((root / "rgb/a.png").unlink(), (root / "rgb/a.png").mkdir()),
        "lacks files: 1 of rgb|rgb/a",
        "missing files",
    ),
}  # fmt: skip


@pytest.mark.parametrize("lie", BAD)
def test_a_file_that_lies_is_refused_and_the_doctor_names_it(root, lie, fault):
    do, words, kind = BAD[lie]
    do(root)
    dataset = opened(root)
    with fault("bad file"), pytest.raises(DataError, match=words) as caught:
        read_all(dataset)
    assert "/a." in str(caught.value)
    with fault("bad file"):
        report = check(dataset)
        assert set(report.problems) == {kind}
        (line,) = report.problems[kind]
        assert "/a." in line


def test_a_bomb_is_refused_before_anything_is_decoded_and_the_limit_can_be_set(tmp_path, monkeypatch, fault):
    path = tmp_path / "a.png"
    path.write_bytes(bomb(30000, 30000))

    def decoded(*_):
        raise AssertionError("memory for the pixels was taken")

    with fault("bad file"):
        monkeypatch.setattr(cv2, "imdecode", decoded)
        with pytest.raises(DataError, match=r"at most 178956970 are opened(.|\n)*MEMORYSAM_MAX_PIXELS"):
            read_image(path)
    with fault("bad file"):  # as little data cannot be as many pixels, whatever the limit
        monkeypatch.setenv("MEMORYSAM_MAX_PIXELS", "1000000000")
        with pytest.raises(DataError, match="too short"):
            read_image(path)
    monkeypatch.undo()
    write(path, np.zeros((*SIZE, 3), np.uint8))
    for extension in (".png", ".npy", ".tif"):
        write(tmp_path / f"b{extension}", np.zeros((*SIZE, 3), np.uint8))
        monkeypatch.setenv("MEMORYSAM_MAX_PIXELS", "48")
        assert read_image(tmp_path / f"b{extension}").shape == (*SIZE, 3)
        monkeypatch.setenv("MEMORYSAM_MAX_PIXELS", "47")
        with pytest.raises(DataError, match="at most 47 are opened"):
            read_image(tmp_path / f"b{extension}")
        monkeypatch.setenv("MEMORYSAM_MAX_PIXELS", "many")
        with pytest.raises(SettingsError, match=r"'many'(.|\n)*MEMORYSAM_MAX_PIXELS"):
            read_image(tmp_path / f"b{extension}")


def test_kinds_of_png_that_hold_the_same_give_the_same(root):
    """A palette picture or one with alpha stands for its colours; as a label, a palette picture for its indices."""
    indices = np.arange(48, dtype=np.uint8).reshape(SIZE) % 4
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [9, 8, 7]], np.uint8)
    picture = Image.fromarray(indices, "P")
    picture.putpalette(colours.tobytes())
    picture.save(root / "palette.png")
    assert (read_image(root / "palette.png") == colours[indices]).all()
    assert (read_label(root / "palette.png") == indices).all()
    alpha = np.dstack([colours[indices], indices * 60])
    Image.fromarray(alpha, "RGBA").save(root / "rgb/a.png")
    sample = read_all(opened(root))[0]
    assert (sample.images["rgb"].numpy().transpose(1, 2, 0) * 255).round().tolist() == colours[indices].tolist()


def test_sixteen_bits_where_eight_are_declared_are_told_by_the_doctor(root):
    put(root / "depth/a.png", np.full(SIZE, 5000, np.uint16), ".png")
    report = check(opened(root))
    assert report.problems == {
        "values outside the declared range": ["depth/a.png: 5000 to 5000, declared 0 to 255"],
    }
    put(root / "depth/a.png", np.full(SIZE, 200, np.uint16), ".png")
    report = check(opened(root))
    assert report.clean
    assert dict(report.modalities["depth"].types) == {"uint8": 1, "uint16": 1}


def test_images_of_one_pixel_are_images(root):
    for name in ("a", "b"):
        write(root / "rgb" / f"{name}.png", np.zeros((1, 1, 3), np.uint8))
        write(root / "depth" / f"{name}.png", np.zeros((1, 1), np.uint8))
        write(root / "labels" / f"{name}.png", np.zeros((1, 1), np.uint8))
    dataset = opened(root)
    assert read_all(dataset)[0].images["rgb"].shape == (3, 1, 1)
    assert check(dataset).clean


def test_a_wrong_extension_does_no_harm_and_is_noted(root):
    Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(root / "x.jpg")
    (root / "x.jpg").rename(root / "rgb/a.png")
    dataset = opened(root)
    assert read_all(dataset)[0].images["rgb"].shape == (3, *SIZE)
    assert any("rgb/a.png holds a JPEG" in note for note in check(dataset).notes)


NAMES = [
    "with space", "Grüße", "quote\"s'", "comma,semi;", "percent%s {id}", "日本", "-dash", "a.b", "[x]", "tab\tin",
    "line\u2028end",
]  # fmt: skip


@pytest.mark.parametrize("listed", [True, False])
def test_names_are_whatever_a_file_system_takes(tmp_path, listed):
    names = [*NAMES, *([] if listed else ["new\nline", " led", "\u2028"])]
    folders = {
        "splits": ["train"],
        "modalities": {"rgb": {"path": "{split}/rgb/{id}"}},
        "label": {"path": "{split}/labels/{id}"},
    }
    for name in names:
        add(tmp_path if listed else tmp_path / "train", name)
    dataset = opened(tmp_path, names, **({} if listed else folders))
    assert sorted(sample.id for sample in read_all(dataset)) == sorted(names)
    assert check(dataset).clean


@pytest.mark.parametrize(
    "line", ["../a", "sub/../../a", "/etc/passwd", "~/a", "C:\\a", "a\0b", "..", ".", "sub/./a", "a//b"]
)
def test_an_id_in_a_list_does_not_leave_the_root(root, line):
    dataset = opened(root, [line])
    with pytest.raises(DataError, match=r"is not the id of a sample(.|\n)*train\.txt, line 1"):
        dataset.source("train")
    assert set(check(dataset).problems) == {"splits that cannot be used"}


@pytest.mark.parametrize(
    "path", ["../rgb/{id}.png", "/rgb/{id}.png", "rgb/../../{id}.png", "~/{id}.png", "C:/{id}.png"]
)
def test_a_path_in_a_dataset_file_does_not_leave_the_root(root, path):
    with pytest.raises(SettingsError, match="does not lie below the root"):
        opened(root, modalities={"rgb": {"path": path}})


def test_names_that_differ_in_case_are_two_samples_here_and_noted(root):
    add(root, "A")
    if len(list((root / "rgb").iterdir())) < 3:
        pytest.skip("this file system takes both for one")
    dataset = opened(root, ["a", "A"])
    assert [sample.id for sample in read_all(dataset)] == ["a", "A"]
    (note,) = (note for note in check(dataset).notes if "one on other systems" in note)
    assert note.endswith("1: 'A' = 'a'")


@pytest.mark.parametrize(
    ("name", "listed"),
    [("Frame", "frame"), ("frame", "FRAME"), (COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)],
    ids=["capital file", "capital list", "NFC file", "NFD file"],
)
@pytest.mark.parametrize("extension", ["", ".png"])
def test_a_list_with_names_that_only_look_like_those_of_the_files_is_told_so(tmp_path, name, listed, extension):
    add(tmp_path, name)
    if (tmp_path / "rgb" / f"{listed}.png").exists():
        pytest.skip("this file system takes both for one")
    modalities = {"rgb": {"path": f"rgb/{{id}}{extension}"}}
    dataset = opened(tmp_path, [listed], modalities=modalities)
    with pytest.raises(DataError) as caught:
        dataset.source("train")
    assert f"but there is {name}.png" in caught.value.where
    assert all(f"but there is {name}.png" in line for line in check(dataset).problems["missing files"])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_of_bytes_that_are_no_characters_is_told(tmp_path):
    add(tmp_path / "train", "a")
    (tmp_path / "train/rgb/a.png").rename(tmp_path / "train/rgb" / os.fsdecode(b"\xff.png"))
    changes = {"splits": ["train"], "modalities": {"rgb": {"path": "{split}/rgb/{id}"}}, "label": None}
    with pytest.raises(DataError, match=r"not UTF-8: '\\udcff'"):
        opened(tmp_path, **changes).source("train")


def test_links_are_followed_and_those_that_leave_the_root_are_noted(root, tmp_path_factory):
    elsewhere = write(tmp_path_factory.mktemp("elsewhere") / "x.png", np.full((*SIZE, 3), 7, np.uint8))
    link(root / "rgb/a.png", elsewhere)
    link(root / "rgb/b.png", "../x.png")
    write(root / "x.png", np.full((*SIZE, 3), 8, np.uint8))
    dataset = opened(root)
    assert [round(float(sample.images["rgb"].max()) * 255) for sample in read_all(dataset)] == [7, 8]
    report = check(dataset)
    assert report.clean
    (note,) = (note for note in report.notes if "outside the root" in note)
    assert note.endswith(f"1: rgb/a.png -> {elsewhere}")


def test_a_link_to_itself_is_told_and_does_not_hide_the_others(root, fault):
    with fault("bad file"):
        link(root / "rgb/a.png", "a.png")
        report = check(opened(root))
        assert [line.split(":")[0].split(" (")[0] for lines in report.problems.values() for line in lines] == [
            "rgb/a.png"
        ]
        with pytest.raises(DataError, match=r"rgb/a"):
            read_all(opened(root))
