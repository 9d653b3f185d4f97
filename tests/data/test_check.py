import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from memorysam.data.check import check
from memorysam.data.folders import FolderDataset

LAYOUT = {
    "name": "yard",
    "root": ".",
    "modalities": {
        "rgb": {"path": "rgb/{id}.png"},
        "depth": {"path": "depth", "channels": 1, "high": 65535},
    },
    "label": {"path": "labels/{id}.png", "map": {0: "floor", 7: "wall", 8: "roof", 255: "ignore"}},
    "splits": {"train": "train.txt", "val": "val.txt"},
    "classes": ["floor", "wall", "roof"],
}


def save(path: Path, image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def load(folder: Path, **changes) -> FolderDataset:
    (folder / "dataset.yaml").write_text(yaml.safe_dump(LAYOUT | changes, sort_keys=False))
    return FolderDataset.load(folder / "dataset.yaml")


@pytest.fixture
def yard(tmp_path):
    """Five samples without a fault; class roof is only in val."""
    for i, name in enumerate("abcde"):
        save(tmp_path / f"rgb/{name}.png", np.full((6, 8, 3), 40 * i + 5, np.uint8))
        save(tmp_path / f"depth/{name}.png", np.full((6, 8), 15000 * i, np.uint16))
        label = np.zeros((6, 8), np.uint8)
        label[0] = 8 if name == "e" else 7
        label[1, 0] = 255
        save(tmp_path / f"labels/{name}.png", label)
    (tmp_path / "train.txt").write_text("a\nb\nc\n")
    (tmp_path / "val.txt").write_text("d\ne\n")
    return tmp_path


def test_a_clean_set(yard):
    seen = []
    report = check(load(yard), lambda done, total: seen.append((done, total)))
    assert report.clean
    assert seen[-1] == (15, 15)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert report.splits == {"train": 3, "val": 2}
    depth = report.modalities["depth"]
    assert (depth.files, depth.low, depth.high, depth.outside) == (5, 0, 60000, 0)
    assert (dict(depth.sizes), dict(depth.types), dict(depth.channels)) == ({"6 x 8": 5}, {"uint16": 5}, {1: 5})
    assert {raw: (f.name, f.pixels, f.images) for raw, f in report.label.items()} == {
        0: ("floor", 5 * 39, 5),
        7: ("wall", 4 * 8, 4),
        8: ("roof", 8, 1),
        255: ("ignore", 5, 5),
    }
    assert report.notes == ["classes that never occur in train: roof"]
    assert report.advice == []
    text = report.text()
    assert "nothing wrong" in text.splitlines()[0]
    assert "train: 3" in text
    content = json.loads(json.dumps(report.as_dict()))
    assert content["clean"] is True
    assert content["modalities"]["rgb"]["max"] == 165
    assert content["label"]["8"] == {"class": "roof", "pixels": 8, "images": 1}


def test_everything_that_is_wrong_is_listed_at_once(yard):
    (yard / "rgb/a.png").write_bytes((yard / "rgb/a.png").read_bytes()[:-20])
    (yard / "depth/b.png").unlink()
    (yard / "labels/c.png").write_bytes(b"")
    label = np.full((6, 8), 3, np.uint8)
    label[0] = 9
    save(yard / "labels/d.png", label)
    save(yard / "depth/e.png", np.zeros((3, 4), np.uint16))
    save(yard / "depth/d.png", np.zeros((6, 8, 3), np.uint16) + np.arange(3, dtype=np.uint16))
    (yard / "val.txt").write_text("d\ne\na\n")
    report = check(load(yard))
    assert not report.clean
    assert report.problems == {
        "missing files": ["depth/b.* (depth)"],
        "samples in several splits": ["rgb/a.png: train, val"],
        "files that cannot be used": [
            "rgb/a.png: this PNG file is cut off or damaged: a part reaches beyond the end of the file",
            "labels/c.png: this file is empty (0 bytes)",
            "depth/d.png: this file has 3 different channels, modality 'depth' has 1",
            "rgb/a.png: this PNG file is cut off or damaged: a part reaches beyond the end of the file",
        ],
        "label values that are no class": ["labels/d.png: 3 (40 pixels), 9 (8 pixels)"],
        "files of different size": ["depth/e.png: the files of a sample have different sizes: depth is 3 x 4"],
    }
    assert (report.label[9].name, report.label[9].images) == (None, 1)
    text = report.text()
    assert text.index("missing files (1)") < text.index("samples\n") < text.index("? no class")
    assert "8 problems" in text.splitlines()[0]


def test_many_problems_are_counted(yard):
    names = [f"m{i}" for i in range(50)]
    (yard / "val.txt").write_text("\n".join(names))
    report = check(load(yard))
    assert len(report.problems["missing files"]) == 150
    text = report.text()
    assert "missing files (150)" in text
    assert "and 130 more" in text
    assert text.count("m4") <= 3
    assert len(report.as_dict()["problems"]["missing files"]) == 150


def test_ranges_that_do_not_fit(yard):
    modalities = {"rgb": {"path": "rgb", "high": 100}, "depth": {"path": "depth", "channels": 1}}
    report = check(load(yard, modalities=modalities))
    assert not report.clean
    assert report.problems["values outside the declared range"][:2] == [
        "depth/b.png: 15000 to 15000, declared 0 to 255",
        "depth/c.png: 30000 to 30000, declared 0 to 255",
    ]
    assert report.modalities["depth"].outside / report.modalities["depth"].values == pytest.approx(0.8)
    rgb, depth = report.advice
    assert "rgb: 40 %" in rgb
    assert "high: 255" in rgb
    assert "80 %" in depth
    assert "high: 65535" in depth
    modalities["rgb"]["high"] = 1e5
    modalities["depth"]["zero"] = "median"  # then there is no fixed range
    report = check(load(yard, modalities=modalities))
    assert report.clean
    assert len(report.advice) == 1
    assert "rgb: the values reach 165, far from high: 100000" in report.advice[0]


def test_floats_outside_the_range_are_a_hint_only(yard):
    for name in "abcde":
        (yard / f"depth/{name}.png").unlink()
        np.save(yard / f"depth/{name}.npy", np.linspace(-1, 2, 48, dtype=np.float32).reshape(6, 8))
    report = check(load(yard, modalities={"depth": {"path": "depth", "channels": 1, "high": 1}}))
    assert report.clean
    assert report.modalities["depth"].as_dict()["outside"] == pytest.approx(2 / 3)
    assert "low: -1, high: 2" in report.advice[0]


def test_files_that_are_not_what_they_are_called(yard):
    (yard / "rgb/a.png").unlink()
    save(yard / "a.jpg", np.zeros((6, 8, 3), np.uint8))
    (yard / "a.jpg").rename(yard / "rgb/a.png")
    report = check(load(yard))
    assert report.clean
    assert "files that are not what their names say, 1: rgb/a.png holds a JPEG" in report.notes


def test_samples_in_no_split_and_lists_that_are_not_there(yard):
    (yard / "train.txt").write_text("a\n")
    report = check(load(yard))
    assert report.clean
    assert "samples on the disk that are in no split, 2: b, c" in report.notes
    (yard / "train.txt").unlink()
    report = check(load(yard))
    assert report.problems == {"splits that cannot be used": ["train: train.txt: there is no such list of ids"]}
    assert report.splits == {"val": 2}


def test_tags_are_counted_and_labels_may_be_absent(tmp_path):
    for split, town, frame in (("train", "cloud", "1"), ("train", "cloud", "2"), ("train", "fog_blur", "1")):
        save(tmp_path / f"img/{split}/{town}/{frame}.png", np.zeros((4, 4, 3), np.uint8))
    dataset = load(
        tmp_path,
        modalities={"rgb": {"path": "img/{split}/{map}/{frame}.png"}},
        label=None,
        splits=["train", "val"],
        tags={"failure": {"from": "map", "values": ["blur"]}},
    )
    report = check(dataset)
    assert report.tags == {"train": {"map": {"cloud": 2, "fog_blur": 1}, "failure": {"blur": 1, "none": 2}}}
    assert list(report.problems) == ["splits that cannot be used"]
    assert not any("never occur" in note for note in report.notes)
    assert report.label == {}
    text = report.text()
    assert "failure: blur 1, none 2" in text
    assert "label" not in text


def test_nothing_could_be_read(yard):
    for file in (yard / "rgb").iterdir():
        file.write_bytes(b"")
    report = check(load(yard))
    assert len(report.problems["files that cannot be used"]) == 5
    assert report.modalities["rgb"].as_dict()["min"] is None
    assert "rgb" in report.text()


def test_potholes_are_clean(shared, tmp_path):
    layout = LAYOUT | {
        "root": str(shared / "data" / "potholes"),
        "modalities": {"rgb": {"path": "rgb"}, "disparity": {"path": "disparity", "channels": 1, "high": 65535}},
        "label": {"path": "labels", "map": {0: "road", 1: "pothole"}},
        "classes": ["road", "pothole"],
    }
    report = check(load(tmp_path, **layout))
    assert report.clean
    assert report.notes == report.advice == []
    assert report.splits == {"train": 57, "val": 9}
    share = report.label[1].pixels / (report.label[0].pixels + report.label[1].pixels)
    assert 0.03 < share < 0.05
