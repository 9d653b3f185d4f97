"""Properties of readers that hold for whatever is drawn, a few hundred at a time."""

import contextlib
import struct
import zlib

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from memorysam.config import RunSettings
from memorysam.data.dataset_file import LabelMap
from memorysam.data.decoders import decode
from memorysam.data.split_index import index_split
from memorysam.data.template import Folders, Template
from memorysam.data.tiff import Unreadable
from memorysam.errors import DataError, SettingsError
from memorysam.strict import build, read_yaml

from ..data.test_readers import png, tiff
from . import oracles
from .images import KINDS

FEW = settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NUMBERS = st.sampled_from([np.uint8, np.uint16, np.int8, np.int16, np.int32, np.float16, np.float32, np.float64])
WORD = st.text(st.characters(exclude_characters="/\\{}*?", exclude_categories=["C", "Z"]), min_size=1, max_size=8)


@FEW
@given(st.sampled_from(KINDS), st.integers(1, 9), st.integers(1, 9), st.sampled_from([0, 1]), st.randoms())
def test_png_is_read_as_the_specification_says(kind, width, height, interlace, rng):
    depth, colour = kind
    rows = rng.randbytes(4000)
    rows = bytes(value % 5 if at % 7 == 0 else value for at, value in enumerate(rows))
    palette = [(b"PLTE", rng.randbytes(3 * 2**depth))] if colour == 3 else []
    data = png((width, height, depth, colour, 0, 0, interlace), *palette, (b"IDAT", zlib.compress(rows)))
    for indices in (False, True):
        try:
            expected = oracles.read_png(data, indices)
        except oracles.Damaged:  # a row's filter that is none
            with pytest.raises(Unreadable):
                decode(data, indices)
        else:
            np.testing.assert_array_equal(decode(data, indices), expected)


@FEW
@given(st.data(), NUMBERS, st.sampled_from("<>"), st.booleans())
def test_npy_is_read_as_it_was_written(data, dtype, order, fortran):
    values = data.draw(arrays(np.dtype(dtype).newbyteorder(order), array_shapes(min_dims=2, max_dims=3, max_side=5)))
    header = {"descr": values.dtype.str, "fortran_order": fortran, "shape": values.shape}
    text = repr(header).encode() + b"\n"
    packed = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + values.tobytes("F" if fortran else "C")
    read = decode(packed, indices=False)
    np.testing.assert_array_equal(read.reshape(values.shape), values)
    assert read.dtype == np.dtype(dtype)


@FEW
@given(
    st.data(),
    st.sampled_from([np.uint8, np.uint16, np.float32]),
    st.sampled_from("<>"),
    st.integers(1, 4),
    st.booleans(),
)
def test_tiff_is_read_as_it_was_written(data, dtype, order, rows, separate):
    image = data.draw(
        arrays(
            dtype,
            array_shapes(min_dims=3, max_dims=3, max_side=6),
            elements={"allow_nan": False} if dtype == np.float32 else None,
        )
    )
    assume(image.shape[0] * image.shape[2] > 1)  # the writer has a list of parts where there is one
    packed = tiff(image, order, rows=min(rows, image.shape[0]), planar=1 + separate)
    np.testing.assert_array_equal(decode(packed, indices=False), image)


@FEW
@given(st.dictionaries(st.integers(0, 65535), st.sampled_from([0, 1, 2, 255]), min_size=1, max_size=8), st.data())
def test_a_label_map_is_a_look_up(ids, data):
    dtype = data.draw(st.sampled_from([np.uint8, np.uint16, np.int16, np.int64, np.uint64]))
    raw = data.draw(arrays(dtype, (2, 3)))
    raw = np.where(raw % 2 == 0, np.array(list(ids), np.int64)[raw.astype(np.int64) % len(ids)].astype(dtype), raw)
    label_map = LabelMap(ids, dict.fromkeys(ids, "name"), None)
    if all(int(value) in ids for value in raw.ravel()):
        assert label_map.apply(raw, "x").ravel().tolist() == [ids[int(value)] for value in raw.ravel()]
    else:
        with pytest.raises(DataError, match="no class"):
            label_map.apply(raw, "x")


SIGNS = ["a", "b:", "-", "[", "]", "{", "}", ",", "&", "*", "!", "'", '"', "#", "|", ">", "%", "@", "\n", "  "]


@FEW
@given(text=st.one_of(st.text(max_size=60), st.lists(st.sampled_from(SIGNS), max_size=20).map("".join)))
def test_any_text_is_a_mapping_or_refused(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(SettingsError):
        assert isinstance(read_yaml(path), dict)


@FEW
@given(
    train=st.fixed_dictionaries(
        {},
        optional={
            "lr": st.floats(1e-9, 1e3),
            "epochs": st.integers(1, 10**6),
            "dice": st.floats(0, 1),
            "clip": st.none() | st.floats(1e-6, 1e6),
            "class_weights": st.lists(st.floats(0.001, 1e6), max_size=4),
            "lr_factors": st.dictionaries(WORD, st.floats(1e-3, 1e3), max_size=3),
        },
    )
)
def test_settings_that_are_written_are_read_again(tmp_path, train):
    first = build(RunSettings, {"train": train}, "x")
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(first.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    assert build(RunSettings, read_yaml(path), path) == first


@FEW
@given(st.lists(WORD, min_size=1, max_size=4), st.sampled_from(["_", "-", " x ", ".."]))
def test_what_fills_a_template_is_found_again(words, between):
    assume(not any(between in word or word.startswith(".") or word.endswith(".") for word in words))
    assume(not words[0].startswith("~") and ":" not in words[0])
    names = "abcd"[: len(words)]
    template = Template.parse("images/" + between.join(f"{{{name}}}" for name in names) + ".png", "x")
    values = dict(zip(names, words, strict=True))
    folders = Folders.__new__(Folders)
    file = template.fill(values).removeprefix("images/")
    assume(len(file.encode()) < 200 and not file.startswith("."))
    folders._files = {"images": {file.removesuffix(".png"): [file]}}
    folders._folders = {"": ["images"], "images": []}
    folders._read = lambda folder: None
    folders.root = None
    found = list(template.find(folders, {}))
    assert len(found) == 1
    assert template.fill(found[0]) == template.fill(values)


@FEW
@given(ids=st.lists(WORD, min_size=1, max_size=6))
def test_a_list_gives_each_id_once_in_its_order_or_is_refused(tmp_path, ids):
    (tmp_path / "x.txt").write_text("\n".join(ids) + "\n", encoding="utf-8")
    templates = {"rgb": Template.parse("rgb/{id}.png", "x")}
    try:
        index = index_split(tmp_path, "train", "x.txt", templates, ("id",), {})
    except DataError:  # twice, or no name of a file
        assume(False)
    else:
        assert len(index.ids) == len(set(ids)) == len(ids)
        assert all(word.startswith(id_) for word, id_ in zip(ids, index.ids, strict=True))
        assert len(index.missing) == len(ids)
