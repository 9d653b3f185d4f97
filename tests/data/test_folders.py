import pickle
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from memorysam.data.dataset import SegmentationDataset, fingerprint, tag_values
from memorysam.data.folders import FolderDataset
from memorysam.data.template import Folders, Template
from memorysam.errors import DataError, MemorySAMError, SettingsError
from memorysam.spec import IMAGENET

RNG = np.random.default_rng(0)
FLAT = """
    name: yard
    root: data
    modalities:
      rgb: {path: "rgb/{id}.png", mean: imagenet, std: imagenet, photometric: true}
      depth: {path: depth, channels: 1, high: 65535}
    label: {path: "labels/{id}.png", map: {0: floor, 7: wall, 255: ignore}}
    splits: {train: train.txt, val: val.txt}
    classes: {floor: [128, 64, 128], wall: [220, 20, 60]}
"""
DEEP = """
    name: town
    root: data
    modalities:
      img: {path: "img/{condition}/{split}/{map}/{frame}_rgb_front.png"}
      event: {path: "event/{condition}/{split}/{map}/{frame}_event_front.png", interpolation: nearest, resize: true}
    label: {path: "semantic/{condition}/{split}/{map}/{frame}_semantic_front.png", channel: 0,
            map: {0: ignore, 1: Building, 2: Fence, 255: ignore}}
    splits: [train, val]
    classes: [Building, Fence]
    tags: {failure: {from: map, values: [motionblur, overexposure], otherwise: none}}
"""


def save(path: Path, image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def describe(folder: Path, text: str, **changes) -> Path:
    """Write a dataset.yaml; `changes` replace top-level keys, None removes them."""
    content = yaml.safe_load(textwrap.dedent(text)) | changes
    path = folder / "dataset.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}, sort_keys=False))
    return path


@pytest.fixture
def flat(tmp_path):
    """Four samples in flat folders, with lists."""
    data = tmp_path / "data"
    for i, name in enumerate(("b", "a", "d", "c")):
        save(data / "rgb" / f"{name}.png", np.full((6, 8, 3), (10, 20, i), np.uint8))
        save(data / "depth" / f"{name}.png", np.full((6, 8), 1000 * i, np.uint16))
        save(data / "labels" / f"{name}.png", RNG.choice(np.array([0, 7, 255], np.uint8), (6, 8)))
    (data / "train.txt").write_text("b\na\nd\n")
    (data / "val.txt").write_text("c\n")
    return tmp_path


@pytest.fixture
def deep(tmp_path):
    """DELIVER's layout: three samples to train on, one to validate; events at half the size."""
    for split, condition, town, frame in (
        ("train", "fog", "MAP_1_point2", "0002"),
        ("train", "cloud", "MAP_2_point1_motionblur", "0001"),
        ("train", "cloud", "MAP_2_point1_motionblur", "0000"),
        ("val", "night", "MAP_3_point1_overexposure", "0000"),
    ):
        place = f"{condition}/{split}/{town}/{frame}"
        save(tmp_path / f"data/img/{place}_rgb_front.png", np.zeros((8, 8, 4), np.uint8))
        save(tmp_path / f"data/event/{place}_event_front.png", RNG.integers(0, 255, (4, 4, 3), dtype=np.uint8))
        label = np.zeros((8, 8, 4), np.uint8)
        label[..., 2] = RNG.integers(0, 3, (8, 8))
        save(tmp_path / f"data/semantic/{place}_semantic_front.png", label)
    return tmp_path


# What works


def test_flat_folders_with_lists(flat):
    dataset = FolderDataset.load(describe(flat, FLAT))
    assert dataset.name == "yard"
    assert dataset.splits == ("train", "val")
    assert dataset.classes.names == ("floor", "wall")
    assert dataset.classes.colors == ((128, 64, 128), (220, 20, 60))
    rgb, depth = dataset.modalities
    assert (rgb.name, rgb.mean, rgb.photometric, rgb.stem) == ("rgb", IMAGENET["mean"], True, (0, 1, 2))
    assert (depth.channels, depth.high, depth.stem) == (1, 65535, "repeat")
    source = dataset.source("train")
    assert list(source.ids) == ["b", "a", "d"]  # the order of the list
    raw = source.read(2, ["depth", "rgb"])
    assert list(raw.images) == ["depth", "rgb"]
    assert raw.images["depth"].dtype == np.uint16
    assert raw.images["depth"].shape == (6, 8, 1)
    assert (raw.images["depth"] == 2000).all()
    assert (raw.images["rgb"] == [2, 20, 10]).all()  # red first
    stored = cv2.imread(str(source.files(2)["label"]), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(raw.label, np.select([stored == 0, stored == 7], [0, 1], 255))
    assert raw.label.dtype == np.uint8
    assert raw.id == "d"
    assert raw.tags == source.tags(2) == {}
    assert source.files(0) == {
        "rgb": flat / "data/rgb/b.png",
        "depth": flat / "data/depth/b.png",
        "label": flat / "data/labels/b.png",
    }


def test_deep_folders_without_lists(deep):
    dataset = FolderDataset.load(describe(deep, DEEP))
    source = dataset.source("train")
    assert list(source.ids) == [
        "cloud/MAP_2_point1_motionblur/0000",
        "cloud/MAP_2_point1_motionblur/0001",
        "fog/MAP_1_point2/0002",
    ]
    assert source.tags(0) == {"condition": "cloud", "map": "MAP_2_point1_motionblur", "failure": "motionblur"}
    assert source.tags(2) == {"condition": "fog", "map": "MAP_1_point2", "failure": "none"}
    assert tag_values(source)["failure"] == ["motionblur", "none"]
    raw = source.read(0, ["event", "img"])
    assert raw.images["event"].shape == (8, 8, 3)
    event = cv2.imread(str(source.files(0)["event"]))[..., ::-1]
    np.testing.assert_array_equal(raw.images["event"], event.repeat(2, axis=0).repeat(2, axis=1))
    assert raw.images["img"].shape == (8, 8, 3)  # alpha is dropped
    label = cv2.imread(str(source.files(0)["label"]), cv2.IMREAD_UNCHANGED)[..., 2]
    np.testing.assert_array_equal(raw.label, np.select([label == 1, label == 2], [0, 1], 255))
    assert list(dataset.source("val").ids) == ["night/MAP_3_point1_overexposure/0000"]


def test_a_source_travels_to_workers_and_feeds_a_dataset(flat):
    source = FolderDataset.load(describe(flat, FLAT)).source("train")
    again = pickle.loads(pickle.dumps(source))
    assert fingerprint(again) == fingerprint(source)
    sample = SegmentationDataset(again, again.modalities)[1]
    assert sample.images["depth"].shape == (1, 6, 8)
    assert sample.label.shape == (6, 8)


def test_some_modalities_need_only_their_files(flat):
    for file in (flat / "data/depth").iterdir():
        file.unlink()
    dataset = FolderDataset.load(describe(flat, FLAT))
    source = dataset.source("train", ["rgb"])
    assert [m.name for m in source.modalities] == ["rgb"]
    assert source.read(0, ["rgb"]).label is not None
    with pytest.raises(SettingsError, match="no modality 'depth'"):
        source.read(0, ["depth"])
    with pytest.raises(DataError, match="3 of depth"):
        dataset.source("train")


def test_without_label(flat):
    source = FolderDataset.load(describe(flat, FLAT, label=None)).source("val")
    assert source.read(0, ["rgb"]).label is None
    assert set(source.files(0)) == {"rgb", "depth"}


def test_without_names_the_label_alone_is_read(flat):
    source = FolderDataset.load(describe(flat, FLAT)).source("val")
    raw = source.read(0, [])
    assert raw.images == {}
    assert np.array_equal(raw.label, source.read(0, ["rgb"]).label)


def test_without_map_raw_values_are_ids(flat):
    for file in (flat / "data/labels").iterdir():
        save(file, RNG.choice(np.array([0, 1, 255], np.uint8), (6, 8)))
    source = FolderDataset.load(describe(flat, FLAT, label={"path": "labels"})).source("val")
    label = source.read(0, ["rgb"]).label
    np.testing.assert_array_equal(label, cv2.imread(str(source.files(0)["label"]), cv2.IMREAD_UNCHANGED))


def test_16_bit_and_wide_labels(flat):
    label = {"path": "wide", "map": {300: "floor", 65535: "wall"}}
    values = RNG.choice(np.array([300, 65535]), (6, 8))
    for dtype, extension in ((np.uint16, "png"), (np.int64, "npy"), (np.float32, "npy")):
        path = flat / f"data/wide/c.{extension}"
        if extension == "png":
            save(path, values.astype(dtype))
        else:
            path.with_suffix(".png").unlink(missing_ok=True)
            np.save(path, values.astype(dtype))
        source = FolderDataset.load(describe(flat, FLAT, label=label)).source("val")
        np.testing.assert_array_equal(source.read(0, ["rgb"]).label, values == 65535)


def test_root_comes_from_the_file_or_the_argument(flat):
    path = describe(flat, FLAT)
    assert FolderDataset.load(path).root.samefile(flat / "data")
    (flat / "data").rename(flat / "elsewhere")
    assert len(FolderDataset.load(path, flat / "elsewhere").source("train").ids) == 3
    with pytest.raises(DataError, match=r"no folder here(.|\n)*`root: data` in"):
        FolderDataset.load(path)
    with pytest.raises(DataError, match=r"no folder here(.|\n)*given"):
        FolderDataset.load(path, flat / "nowhere")
    with pytest.raises(SettingsError, match=r"nothing says where the data are(.|\n)*--root"):
        FolderDataset.load(describe(flat, FLAT, root=None))


def test_without_a_root_data_may_lie_beside_the_file(flat):
    path = describe(flat, FLAT, root=None)
    path = path.rename(flat / "data" / path.name)
    dataset = FolderDataset.load(path)
    assert dataset.root.samefile(flat / "data")
    assert len(dataset.source("train").ids) == 3


def test_lists_as_people_write_them(flat):
    (flat / "data/train.txt").write_bytes(b"\xef\xbb\xbfb.png\r\n\r\n  a  \r\nd.JPG\r\n\r\n")
    assert list(FolderDataset.load(describe(flat, FLAT)).source("train").ids) == ["b", "a", "d"]
    (flat / "data/train.txt").write_text("a.bmp\n")
    with pytest.raises(DataError, match=r"a\.bmp\.png"):
        FolderDataset.load(describe(flat, FLAT)).source("train")


def test_lists_with_several_fields(deep):
    (deep / "data/mine.txt").write_text("fog/MAP_1_point2/0002\ncloud/MAP_2_point1_motionblur/0001.png\n")
    source = FolderDataset.load(describe(deep, DEEP, splits={"train": "mine.txt"})).source("train")
    assert list(source.ids) == ["fog/MAP_1_point2/0002", "cloud/MAP_2_point1_motionblur/0001"]
    assert source.tags(1)["condition"] == "cloud"
    (deep / "data/mine.txt").write_text("MAP_1_point2/0002\n")
    with pytest.raises(DataError, match=r"line 1(.|\n)*\{condition\}/\{map\}/\{frame\}"):
        FolderDataset.load(describe(deep, DEEP, splits={"train": "mine.txt"})).source("train")


def test_listed_ids_may_lie_in_folders(flat):
    for kind in ("rgb", "depth", "labels"):
        (flat / "data" / kind / "sub").mkdir()
        (flat / "data" / kind / "c.png").rename(flat / "data" / kind / "sub" / "c.png")
    (flat / "data/val.txt").write_text("sub/c\n")
    source = FolderDataset.load(describe(flat, FLAT)).source("val")
    assert source.files(0)["depth"] == flat / "data/depth/sub/c.png"
    source.read(0, ["rgb", "depth"])


def test_any_known_extension(flat):
    (flat / "data/depth/c.png").rename(flat / "data/depth/c.PNG")
    np.save(flat / "data/depth/a.npy", np.full((6, 8), 5, np.uint16))
    (flat / "data/depth/a.png").unlink()
    (flat / "data/depth/a.txt").write_text("notes")
    dataset = FolderDataset.load(describe(flat, FLAT))
    assert dataset.source("val").files(0)["depth"].name == "c.PNG"
    assert (dataset.source("train").read(1, ["depth"]).images["depth"] == 5).all()
    save(flat / "data/depth/a.tif", np.zeros((6, 8), np.uint16))
    with pytest.raises(DataError, match=r"2 files for one sample: a\.npy, a\.tif(.|\n)*depth/\{id\}\.npy"):
        dataset.source("train")


def test_what_systems_leave_behind_is_no_sample(deep):
    folder = deep / "data/img/fog/train/MAP_1_point2"
    (folder / "._0002_rgb_front.png").write_bytes(b"resource fork")
    (folder / ".DS_Store").write_bytes(b"")
    assert len(FolderDataset.load(describe(deep, DEEP)).source("train").ids) == 3


def test_missing_partners_are_named(deep):
    missing = "semantic/fog/train/MAP_1_point2/0002_semantic_front.png"
    (deep / "data" / missing).unlink()
    with pytest.raises(DataError, match=rf"lacks files: 1 of label(.|\n)*{missing}"):
        FolderDataset.load(describe(deep, DEEP)).source("train")
    stray = deep / "data/event/sun/train/MAP_9/0007_event_front.png"
    save(stray, np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DataError, match=r"1 of img, 2 of label|2 of label, 1 of img"):
        FolderDataset.load(describe(deep, DEEP)).source("train")


def test_a_modality_beside_its_own_name(tmp_path):
    """A field may appear twice, and only whole names count."""
    for stem in ("s1/s1_01", "s1/s1_02", "s2/s2_01", "s2/s1_01"):
        save(tmp_path / f"data/rgb/{stem}.png", np.zeros((2, 2, 3), np.uint8))
    template = Template.parse("rgb/{scene}/{scene}_{n}.png", "here")
    found = list(template.find(Folders(tmp_path / "data"), {}))
    assert found == [{"scene": "s1", "n": "01"}, {"scene": "s1", "n": "02"}, {"scene": "s2", "n": "01"}]


def test_fields_end_with_the_name_of_a_folder(tmp_path):
    save(tmp_path / "rgb/a/b/x.png", np.zeros((2, 2, 3), np.uint8))
    assert list(Template.parse("rgb/{scene}/{n}.png", "here").find(Folders(tmp_path), {})) == []


# What does not


def read_first(folder, **changes):
    return FolderDataset.load(describe(folder, FLAT, **changes)).source("val").read(0, ["rgb", "depth"])


def test_values_outside_the_map_are_counted(flat):
    label = np.zeros((6, 8), np.uint8)
    label[0, :3], label[1, :2] = 9, 4
    save(flat / "data/labels/c.png", label)
    with pytest.raises(DataError, match=r"4 \(2 pixels\), 9 \(3 pixels\)(.|\n)*c\.png(.|\n)*0: floor, 7: wall, 255: ignore(.|\n)*4: ignore"):  # fmt: skip  # noqa: E501
        read_first(flat)
    (flat / "data/labels/c.png").unlink()
    np.save(flat / "data/labels/c.npy", np.array([[-1] * 8, [70000] * 8]).repeat(3, axis=0))
    with pytest.raises(DataError, match=r"-1 \(24 pixels\), 70000 \(24 pixels\)"):
        read_first(flat, label={"path": "labels"})


def test_sizes_must_agree(flat):
    save(flat / "data/depth/c.png", np.full((3, 4), 1000, np.uint16))
    with pytest.raises(DataError, match=r"depth is 3 x 4(.|\n)*depth/c\.png(.|\n)*6 x 8(.|\n)*labels/c\.png(.|\n)*resize: true"):  # fmt: skip  # noqa: E501
        read_first(flat)
    depth = {"path": "depth", "channels": 1, "high": 65535, "resize": True}
    modalities = {"depth": depth, "rgb": {"path": "rgb/{id}.png"}}
    for changes in ({}, {"label": None}):  # without a label, the size is that of an image that is not resized
        raw = read_first(flat, modalities=modalities, **changes)
        assert raw.images["depth"].shape == (6, 8, 1)
        assert (raw.images["depth"] == 1000).all()
    with pytest.raises(DataError, match=r"depth is 3 x 4(.|\n)*rgb/c\.png"):
        read_first(flat, label=None)


def test_channels_must_fit(flat):
    with pytest.raises(DataError, match=r"has 1 channel, modality 'depth' has 2"):
        read_first(flat, modalities={"rgb": {"path": "rgb/{id}"}, "depth": {"path": "depth", "channels": 2}})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("../c\n", r"'\.\./c' is not the id(.|\n)*val\.txt, line 1"),
        ("a\n/etc/passwd\n", r"line 2"),
        ("sub/../../c\n", "not the id"),
        ("a//b\n", "not the id"),
        ("C:\\x\n", "not the id"),
        ("c\na\nc.png\n", r"twice(.|\n)*line 3(.|\n)*line 1"),
        ("\n \n", r"split 'val' is empty(.|\n)*val\.txt(.|\n)*one id per line"),
        ("c\nzz\nyy\n", r"2 of rgb, 2 of depth, 2 of label(.|\n)*rgb/zz\.png(.|\n)*depth/zz\.\*"),
    ],
)
def test_wrong_lists(flat, lines, message):
    (flat / "data/val.txt").write_text(lines)
    with pytest.raises(DataError, match=message):
        FolderDataset.load(describe(flat, FLAT)).source("val")


def test_unusable_lists(flat):
    dataset = FolderDataset.load(describe(flat, FLAT))
    (flat / "data/val.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"cannot be read(.|\n)*val\.txt"):
        dataset.source("val")
    (flat / "data/val.txt").unlink()
    with pytest.raises(DataError, match=r"no such list of ids(.|\n)*val\.txt"):
        dataset.source("val")


def test_splits_and_modalities_that_are_not_there(flat, deep):
    dataset = FolderDataset.load(describe(flat, FLAT))
    with pytest.raises(SettingsError, match=r"no split 'vel'(.|\n)*did you mean 'val'"):
        dataset.source("vel")
    with pytest.raises(SettingsError, match=r"no modality 'deph'(.|\n)*did you mean 'depth'"):
        dataset.source("val", ["deph"])
    dataset = FolderDataset.load(describe(deep, DEEP, splits=["train", "test"]))
    with pytest.raises(DataError, match=r"'test' is empty(.|\n)*img/\{condition\}/test/\{map\}/\{frame\}_rgb"):
        dataset.source("test")


def test_a_folder_that_cannot_be_read(flat, monkeypatch):
    def forbidden(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", forbidden)
    with pytest.raises(DataError, match="folder cannot be read: Permission denied"):
        FolderDataset.load(describe(flat, FLAT)).source("val")


BAD = [
    (FLAT, {"colours": {}}, "unknown setting 'colours'"),
    (FLAT, {"modalities": {}}, "modalities"),
    (FLAT, {"modalities": None}, "'modalities' is missing"),
    (FLAT, {"modalities": {"rgb": {"pth": "rgb"}}}, r"(.|\n)*modalities.rgb(.|\n)*"),
    (FLAT, {"modalities": {"rgb": {"path": "rgb", "chanels": 3}}}, "'chanels'(.|\n)*modalities.rgb(.|\n)*'channels'"),
    (FLAT, {"modalities": {"rgb": {"path": "rgb", "name": "x"}}}, "named by its key"),
    (FLAT, {"modalities": {"label": {"path": "rgb"}}}, "not 'label'"),
    (FLAT, {"modalities": {"RGB": {"path": "rgb"}}}, "wrong value 'RGB'"),
    (FLAT, {"modalities": {"rgb": {"path": "../rgb"}}}, "below the root"),
    (FLAT, {"modalities": {"rgb": {"path": "/rgb/{id}.png"}}}, "below the root"),
    (FLAT, {"modalities": {"rgb": {"path": "C:/rgb"}}}, "below the root"),
    (FLAT, {"modalities": {"rgb": {"path": ""}}}, "below the root"),
    (FLAT, {"modalities": {"rgb": {"path": "rgb/*.png"}}}, "not a template(.|\n)*no \\*"),
    (FLAT, {"modalities": {"rgb": {"path": "rgb/{Id}.png"}}}, "not a template"),
    (FLAT, {"modalities": {"rgb": {"path": "rgb/{id}.bmp"}}}, r"extension '\.bmp'"),
    (FLAT, {"modalities": {"rgb": {"path": "rgb/{split}.png"}}, "label": None}, "no field that tells"),
    (FLAT, {"modalities": {"rgb": {"path": "rgb/{scene}/{id}.png"}}}, "rgb and label(.|\n)*same fields: scene"),
    (FLAT, {"label": {"path": "labels", "map": {0: "flor"}}}, "raw value 0(.|\n)*label.map(.|\n)*did you mean 'floor'"),
    (FLAT, {"label": {"path": "labels", "map": {70000: "floor"}}}, "70000"),
    (FLAT, {"label": {"path": "labels", "chanel": 0}}, "'chanel'(.|\n)*label(.|\n)*'channel'"),
    (FLAT, {"label": {"path": "labels", "channel": -1}}, "channel"),
    (FLAT, {"classes": ["floor", "floor"]}, "twice: floor"),
    (FLAT, {"classes": ["floor", "ignore"]}, "cannot be called 'ignore'"),
    (FLAT, {"classes": {"floor": [1, 2], "wall": [1, 2, 3]}}, r"'floor' has the colour \[1, 2\]"),
    (FLAT, {"classes": {"floor": [1, 2, 300], "wall": [1, 2, 3]}}, "0 to 255"),
    (FLAT, {"classes": {"floor": [1, 2, 3]}}, "at least 2"),
    (FLAT, {"classes": {"floor": [1, 2, 3], False: [1, 2, 3]}}, r"not names(.|\n)*quotes"),
    (FLAT, {"classes": 5}, "not names"),
    (FLAT, {"splits": {}}, "splits are"),
    (FLAT, {"splits": {"train": None}}, "splits are"),
    (FLAT, {"splits": 5}, "splits are"),
    (FLAT, {"splits": ["train"]}, r"no field \{split\}"),
    (DEEP, {"splits": ["train", "train"]}, "each given once"),
    (DEEP, {"splits": ["../train"]}, "names of folders"),
    (DEEP, {"tags": {"failure": {"from": "mep", "values": ["x"]}}}, r"tags.failure(.|\n)*did you mean 'map'"),
    (DEEP, {"tags": {"map": {"from": "frame", "values": ["x"]}}}, "name of a field"),
    (DEEP, {"tags": {"failure": {"from": "map", "values": []}}}, "tags.failure"),
    (DEEP, {"tags": {"failure": {"values": ["x"]}}}, "'from' is missing"),
]


@pytest.mark.parametrize(("text", "changes", "message"), BAD)
def test_what_is_wrong_with_a_dataset_file_is_said(tmp_path, text, changes, message):
    (tmp_path / "data").mkdir()
    with pytest.raises(SettingsError, match=message) as caught:
        FolderDataset.load(describe(tmp_path, text, **changes))
    assert "dataset.yaml" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 6


def test_every_error_survives_the_way_out_of_a_worker(flat):
    (flat / "data/rgb/c.png").write_bytes(b"")
    with pytest.raises(MemorySAMError) as caught:
        read_first(flat)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_potholes(shared, tmp_path):
    text = """
        name: potholes
        modalities:
          rgb: {path: "rgb/{id}.jpg", mean: imagenet, std: imagenet, photometric: true}
          disparity: {path: disparity, channels: 1, high: 65535}
        label: {path: "labels/{id}.png", map: {0: road, 1: pothole, 255: ignore}}
        splits: {train: train.txt, val: val.txt}
        classes: {road: [128, 64, 128], pothole: [220, 20, 60]}
    """
    dataset = FolderDataset.load(describe(tmp_path, text), shared / "data" / "potholes")
    assert [len(dataset.source(split).ids) for split in dataset.splits] == [57, 9]
    raw = dataset.source("val").read(0, ["disparity"])
    assert raw.images["disparity"].dtype == np.uint16
    assert set(np.unique(raw.label)) == {0, 1}
