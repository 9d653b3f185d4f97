import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from memorysam.data import decoders
from memorysam.data.readers import conform, read_image, read_label, stored_kind
from memorysam.data.tiff import _HAS_CODECS
from memorysam.errors import DataError
from memorysam.spec import Modality

RNG = np.random.default_rng(0)


def noise(height, width, channels, dtype):
    if dtype == np.float32:
        return RNG.normal(size=(height, width, channels)).astype(dtype)
    return RNG.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype=dtype, endpoint=True)


def write(path: Path, image: np.ndarray, *parameters: int) -> Path:
    """Write with OpenCV, whose order is blue first."""
    image = np.squeeze(image, 2) if image.shape[2] == 1 else image[..., [2, 1, 0, 3][: image.shape[2]]]
    assert cv2.imwrite(str(path), np.ascontiguousarray(image), list(parameters))
    return path


def png(header: tuple, *chunks: tuple[bytes, bytes]) -> bytes:
    parts = [(b"IHDR", struct.pack(">IIBBBBB", *header)), *chunks, (b"IEND", b"")]
    coded = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(coded)


def tiff(image, order="<", compression=1, predictor=1, planar=1, rows=None, tile=None, big=False, **extra) -> bytes:
    """Write `[H, W, K]` as the TIFF specification says; the table of contents comes first, the data after it."""
    height, width, channels = image.shape
    dtype = image.dtype.newbyteorder(order)
    planes = [image] if planar == 1 else [image[..., i : i + 1] for i in range(channels)]
    rows = rows or height
    steps = tile or (rows, width)
    parts = []
    for plane in planes:
        for top in range(0, height, steps[0]):
            for left in range(0, width, steps[1]):
                block = plane[top : top + steps[0], left : left + steps[1]]
                if tile:
                    pad = [(0, steps[0] - block.shape[0]), (0, steps[1] - block.shape[1]), (0, 0)]
                    block = np.pad(block, pad)
                if predictor == 2:
                    block = np.diff(block, axis=1, prepend=np.zeros_like(block[:, :1]))
                data = block.astype(dtype).tobytes()
                if predictor == 3:
                    size, samples = dtype.itemsize, block.shape[2]
                    split = np.frombuffer(block.astype(dtype.newbyteorder(">")).tobytes(), np.uint8)
                    split = split.reshape(len(block), -1, size).transpose(0, 2, 1).reshape(len(block), -1, samples)
                    data = np.diff(split, axis=1, prepend=np.zeros_like(split[:, :1])).tobytes()
                parts.append(zlib.compress(data) if compression == 8 else data)
    tags = {256: width, 257: height, 258: 8 * dtype.itemsize, 259: compression, 262: 1, 277: channels, 284: planar}
    tags |= {317: predictor, 339: 3 if dtype.kind == "f" else 1}
    tags |= {322: steps[1], 323: steps[0]} if tile else {278: rows}
    where, count = (324, 325) if tile else (273, 279)
    tags |= {where: [0] * len(parts), count: [len(part) for part in parts]} | extra.pop("tags", {})
    word, entry, begin = ("Q", 20, 16) if big else ("I", 12, 8)
    table = begin + struct.calcsize("=" + ("Q" if big else "H")) + entry * len(tags) + struct.calcsize("=" + word)
    arrays = table
    start = table + 2 * struct.calcsize("=" + word) * len(parts)
    tags[where] = [start + sum(len(p) for p in parts[:i]) for i in range(len(parts))]
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0, 16) if big else (42, 8)))  # fmt: skip  # noqa: E501
    entries, tail = b"", b""
    for tag, value in sorted(tags.items()):
        values = value if isinstance(value, list) else [value]
        packed = struct.pack(f"{order}{len(values)}{word}", *values)
        if len(values) > 1:
            tail += packed
            packed = struct.pack(order + word, arrays + len(tail) - len(packed))
        entries += struct.pack(order + "HH" + word, tag, 16 if big else 4, len(values)) + packed
    tail = tail.ljust(start - table, b"\0")
    count_of_tags = struct.pack(order + ("Q" if big else "H"), len(tags))
    return head + count_of_tags + entries + struct.pack(order + word, 0) + tail + b"".join(parts)


# Round trips


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    ("extension", "dtype"),
    [("png", np.uint8), ("png", np.uint16), ("tif", np.uint8), ("tiff", np.uint16), ("tiff", np.float32)],
)
def test_image_is_what_was_written(tmp_path, extension, dtype, channels):
    image = noise(13, 17, channels, dtype)
    plain = (cv2.IMWRITE_TIFF_COMPRESSION, 1) if "tif" in extension else ()  # OpenCV 4 would write lossy LogLuv
    read = read_image(write(tmp_path / f"x.{extension}", image, *plain))
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, image)


@pytest.mark.parametrize("compression", [1, 5, 8, 32946, 32773])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiff_compressions_of_opencv(tmp_path, compression, dtype):
    image = noise(40, 23, 3, dtype)
    path = write(tmp_path / "x.tif", image, cv2.IMWRITE_TIFF_COMPRESSION, compression)
    np.testing.assert_array_equal(read_image(path), image)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_compressions_of_pillow(tmp_path, compression):
    for image in (noise(9, 11, 1, np.uint16)[..., 0], noise(9, 11, 1, np.float32)[..., 0], noise(9, 11, 3, np.uint8)):
        Image.fromarray(image).save(tmp_path / "x.tif", compression=compression)
        np.testing.assert_array_equal(read_image(tmp_path / "x.tif").squeeze(), image)


@pytest.mark.skipif(_HAS_CODECS, reason="with imagecodecs these can be read")
@pytest.mark.parametrize("channels", [4, 5])
def test_lzw_with_more_than_three_channels_names_what_is_missing(tmp_path, channels):
    (tmp_path / "x.tif").write_bytes(tiff(noise(8, 8, channels, np.uint16), compression=5))
    with pytest.raises(DataError, match="pip install imagecodecs"):
        read_image(tmp_path / "x.tif")


LAYOUTS = ({}, {"rows": 4}, {"tile": (16, 16)}, {"planar": 2, "rows": 8}, {"planar": 2, "tile": (8, 16)})


@pytest.mark.parametrize("channels", [1, 2, 4, 7, 13])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_tiff_layouts(tmp_path, channels, order, big):
    for dtype in (np.uint8, np.uint16, np.float32):
        image = noise(21, 19, channels, dtype)
        for predictor in (1,) if dtype == np.float32 else (1, 2):
            for layout in LAYOUTS:
                file = tmp_path / "x.tif"
                file.write_bytes(tiff(image, order, compression=8, predictor=predictor, big=big, **layout))
                read = read_image(file)
                assert read.dtype == dtype
                np.testing.assert_array_equal(read, image)


def test_all_16_bit_values_survive(tmp_path):
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    for name in ("x.png", "x.tif"):
        np.testing.assert_array_equal(read_image(write(tmp_path / name, every)), every)
        np.testing.assert_array_equal(read_label(tmp_path / name), every[..., 0])
    colours = np.stack([every[..., 0], every[::-1, :, 0], every[:, ::-1, 0]], axis=2)
    np.testing.assert_array_equal(read_image(write(tmp_path / "c.png", colours)), colours)


def test_jpeg_in_colour_and_grey(tmp_path):
    colour = np.full((16, 24, 3), (200, 30, 90), np.uint8)
    read = read_image(write(tmp_path / "x.jpg", colour, cv2.IMWRITE_JPEG_QUALITY, 100))
    assert np.abs(read.astype(int) - colour).max() <= 3  # red is red, not blue
    assert read_image(write(tmp_path / "g.jpeg", colour[..., :1])).shape == (16, 24, 1)
    write(tmp_path / "p.jpg", noise(40, 40, 3, np.uint8), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert read_image(tmp_path / "p.jpg").shape == (40, 40, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_npy(tmp_path, dtype):
    image = noise(5, 6, 9, dtype)
    for name, stored in (("c", image), ("f", np.asfortranarray(image)), ("b", image.astype(image.dtype.newbyteorder(">")))):  # fmt: skip  # noqa: E501
        np.save(tmp_path / f"{name}.npy", stored)
        read = read_image(tmp_path / f"{name}.npy")
        assert read.dtype == dtype
        np.testing.assert_array_equal(read, image)
    np.save(tmp_path / "flat.npy", image[..., 0])
    np.testing.assert_array_equal(read_image(tmp_path / "flat.npy"), image[..., :1])


def test_other_number_types_become_float32(tmp_path):
    for dtype in (np.int16, np.int32, np.uint32, np.float16, np.float64):
        values = np.array([[3, 7], [1000, 2000]]).astype(dtype)
        np.save(tmp_path / "x.npy", values)
        read = read_image(tmp_path / "x.npy")
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read[..., 0], values.astype(np.float32))
    np.save(tmp_path / "x.npy", np.array([[True, False]]))
    assert read_image(tmp_path / "x.npy").dtype == np.uint8
    np.save(tmp_path / "x.npy", np.array([[2**24 + 1]]))
    with pytest.raises(DataError, match="16777217"):
        read_image(tmp_path / "x.npy")


def test_grey_with_alpha_has_two_channels(tmp_path):
    image = noise(4, 5, 2, np.uint8)
    Image.fromarray(image, "LA").save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), image)


def test_what_a_png_says_besides_does_not_matter(tmp_path, capfd):
    image = noise(6, 6, 3, np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    extras = [(b"iCCP", b"x\0\0nonsense"), (b"tRNS", bytes(6)), (b"eXIf", b"MM\0*\0\0\0\x08"), (b"tEXt", b"a\0b")]
    path = tmp_path / "x.png"
    path.write_bytes(png((6, 6, 8, 2, 0, 0, 0), *extras, (b"IDAT", zlib.compress(rows))))
    np.testing.assert_array_equal(read_image(path), image)
    assert capfd.readouterr() == ("", "")


# Labels


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_labels_give_indices(tmp_path, bits):
    indices = RNG.integers(0, 2**bits, (7, 9), dtype=np.uint8)
    picture = Image.fromarray(indices).copy()
    picture.putpalette(RNG.integers(0, 256, 768, dtype=np.uint8).tobytes())
    picture.save(tmp_path / "x.png", bits=bits, transparency=0)
    assert (tmp_path / "x.png").read_bytes()[24:26] == bytes([bits, 3])
    np.testing.assert_array_equal(read_label(tmp_path / "x.png"), indices)
    colours = np.asarray(Image.open(tmp_path / "x.png").convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), colours)
    picture.save(tmp_path / "x.tif")
    np.testing.assert_array_equal(read_label(tmp_path / "x.tif"), indices)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bit_grey_keeps_its_values(tmp_path, bits):
    values = RNG.integers(0, 2**bits, (5, 16), dtype=np.uint8)
    packed = np.packbits(np.unpackbits(values[..., None], axis=2)[..., 8 - bits :].reshape(5, -1), axis=1)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    (tmp_path / "x.png").write_bytes(png((16, 5, bits, 0, 0, 0, 0), (b"IDAT", zlib.compress(rows))))
    np.testing.assert_array_equal(read_label(tmp_path / "x.png"), values)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png")[..., 0], values)


def test_label_channel(tmp_path):
    image = noise(4, 5, 3, np.uint8)
    path = write(tmp_path / "x.png", image)
    np.testing.assert_array_equal(read_label(path, channel=0), image[..., 0])
    np.testing.assert_array_equal(read_label(path, channel=2), image[..., 2])
    with pytest.raises(DataError, match=r"3 channels(.|\n)*set `channel`"):
        read_label(path)
    with pytest.raises(DataError, match=r"no channel 3(.|\n)*0 to 2"):
        read_label(path, channel=3)


def test_labels_of_other_types(tmp_path):
    path = tmp_path / "x.npy"
    for values in (np.array([[-1, 70000]], np.int64), np.array([[True, False]]), np.array([[1.0, 255.0]])):
        np.save(path, values)
        read = read_label(path)
        assert read.dtype.kind in "ui"
        np.testing.assert_array_equal(read, values)
    np.save(path, np.array([[1.0, 2.5, np.nan, 1e300]]))
    with pytest.raises(DataError, match=r"3 pixels of this label are not whole numbers, such as 2.5"):
        read_label(path)


# Channels


def test_conform():
    path = Path("x.png")
    grey, colour = Modality(name="g", channels=1), Modality(name="c")
    for given, modality, expected in (
        (4, colour, [0, 1, 2]),
        (2, grey, [0]),
        (1, colour, [0, 0, 0]),
        (3, colour, [0, 1, 2]),
        (1, grey, [0]),
    ):
        image = noise(3, 4, given, np.uint16)
        np.testing.assert_array_equal(conform(image, modality, path), image[..., expected])
    equal = np.repeat(noise(3, 4, 1, np.uint8), 3, axis=2)
    np.testing.assert_array_equal(conform(equal, grey, path), equal[..., :1])
    with pytest.raises(DataError, match=r"3 different channels, modality 'g' has 1(.|\n)*channels: 3"):
        conform(noise(3, 4, 3, np.uint8), grey, path)
    for given, modality in ((2, colour), (4, grey), (7, colour), (3, Modality(name="m", channels=7))):
        with pytest.raises(DataError, match=rf"has {given} channels, .* has {modality.channels}(.|\n)*fix"):
            conform(noise(3, 4, given, np.uint8), modality, path)


# Damage


def small_files(folder: Path) -> list[Path]:
    image = noise(8, 8, 3, np.uint8)
    wide = noise(8, 8, 1, np.uint16)
    files = [write(folder / "rgb.png", image), write(folder / "wide.png", wide), write(folder / "x.jpg", image)]
    files.append(write(folder / "progressive.jpg", image, cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
    numbers = (1, 5, 8, 32773)
    files += [write(folder / f"cv{n}.tif", wide, cv2.IMWRITE_TIFF_COMPRESSION, n) for n in numbers]
    layouts = {"plain": {}, "strips": {"rows": 3}, "deflate": {"compression": 8}, "big": {"big": True}}
    for name, options in layouts.items():
        files.append(folder / f"{name}.tif")
        files[-1].write_bytes(tiff(noise(8, 8, 5, np.uint16), **options))
    np.save(folder / "x.npy", wide)
    Image.fromarray(image[..., 0]).quantize(8).save(folder / "palette.png")
    return [*files, folder / "x.npy", folder / "palette.png"]


@pytest.fixture
def held():
    """A file whose content is set without writing it: thousands of writes are slow."""

    class Held(type(Path())):
        content = b""

        def read_bytes(self):
            return bytes(Held.content)

    def hold(content) -> Path:
        Held.content = content
        return Held("held")

    return hold


def test_truncation_at_every_length(tmp_path, held):
    for file in small_files(tmp_path):
        whole, data = read_image(file), file.read_bytes()
        readable, told = 0, set()
        for length in range(len(data)):
            cut = held(data[:length])
            try:
                read = read_image(cut)
            except DataError as error:
                told.add((error.where is cut, bool(error.expected), bool(error.fix)))
            else:
                readable += 1
                np.testing.assert_array_equal(read, whole, file.name)
        assert told == {(True, True, True)}, file.name
        assert readable <= 4, file.name  # bytes of padding at the end may be missing


def test_every_flipped_byte_of_a_png_is_found(tmp_path, held):
    data = write(tmp_path / "x.png", noise(8, 8, 3, np.uint8)).read_bytes()
    for position in range(len(data)):
        broken = bytearray(data)
        broken[position] ^= 0x10
        with pytest.raises(DataError):
            read_image(held(broken))


def test_flipped_bytes_never_crash(tmp_path, held):
    for file in small_files(tmp_path):
        data = file.read_bytes()
        for position in range(0, len(data), 3):
            broken = bytearray(data)
            broken[position] ^= RNG.integers(1, 256)
            path = held(broken)
            try:
                read_image(path)
                read_label(path, channel=0)
            except DataError:
                pass


def test_a_tiff_with_changed_deflate_data_is_damaged(tmp_path):
    data = bytearray(tiff(noise(8, 8, 1, np.uint8), compression=8))
    data[-20] ^= 1
    (tmp_path / "x.tif").write_bytes(data)
    with pytest.raises(DataError, match="damaged"):
        read_image(tmp_path / "x.tif")


def bad_files(folder: Path):
    header = (2, 2, 8, 0, 0, 0, 0)
    good = (b"IDAT", zlib.compress(b"\0\1\2\0\3\4"))
    yield "empty.png", b"", r"empty \(0 bytes\)"
    yield "words.png", b"hello", "not a PNG, JPEG, TIFF or NPY file"
    yield "bomb.png", png((30000, 30000, 8, 2, 0, 0, 0), good), "30000 x 30000"
    yield "none.png", png((0, 2, 8, 0, 0, 0, 0), good), "2 x 0 pixels"
    yield "short.png", png(header, (b"IDAT", zlib.compress(b"\0\1\2"))), "damaged"
    yield "headless.png", png(header, good)[:8] + png(header, good)[33:], "begin with a header"
    jpeg = write(folder / "_.jpg", noise(8, 8, 3, np.uint8)).read_bytes()
    frame = jpeg.index(b"\xff\xc0")
    yield "bomb.jpg", jpeg[: frame + 5] + b"\xff\xff\xff\xff" + jpeg[frame + 9 :], "65535 x 65535"
    yield "inks.jpg", jpeg[: frame + 9] + b"\4" + jpeg[frame + 10 :], "4 channels of 8 bits"
    yield "blank.jpg", b"\xff\xd8\xff\xd9", "no picture"
    image = noise(4, 4, 3, np.uint8)
    yield "bomb.tif", tiff(image, tags={256: 30000, 257: 30000}), "30000 x 30000"
    yield "ink.tif", tiff(image, tags={262: 5}), "no plain grey"
    yield "jpeg.tif", tiff(image, tags={259: 7}), "JPEG"
    yield "bits.tif", tiff(image, tags={258: 12}), "12 bits"
    yield "tree.tif", tiff(image, tags={317: 9}), "does not hold|damaged"
    yield "parts.tif", tiff(image, tags={278: 1}), "not as many parts"
    yield "little.tif", tiff(image, tags={279: 3}), "damaged"
    yield "tags.tif", b"II*\0" + struct.pack("<IHI", 8, 0, 0), "damaged|several pages|0 x 0"
    yield "loop.tif", b"II*\0" + struct.pack("<IHI", 8, 0, 8), "damaged|several pages|0 x 0"
    frames = [Image.fromarray(image), Image.fromarray(image)]
    frames[0].save(folder / "_.tif", save_all=True, append_images=frames[1:])
    yield "pages.tif", (folder / "_.tif").read_bytes(), "several pages"
    for name, values, message in (
        ("object", np.array([[{}]]), "not numbers"),
        ("text", np.array([["a"]]), "not numbers"),
        ("line", np.arange(3), r"shape \(3,\)"),
        ("nothing", np.zeros((0, 3)), "0 x 3"),
        ("nan", np.array([[1.0, np.nan], [np.inf, 0]]), "2 of 4 values"),
        ("huge", np.array([[1e300]]), "1 of 1 values"),
    ):
        np.save(folder / "_.npy", values)
        yield f"{name}.npy", (folder / "_.npy").read_bytes(), message
    np.save(folder / "_.npy", np.zeros((2, 2)))
    npy = (folder / "_.npy").read_bytes()
    yield "version.npy", npy[:6] + b"\7" + npy[7:], "version"
    yield "header.npy", npy.replace(b"'shape'", b"'shope'"), "header"
    yield "bomb.npy", npy.replace(b"(2, 2), }      ", b"(200000, 3000),"), "header|200000"
    yield "more.npy", npy + b"\0", "33 bytes of values instead of 32"


def test_bad_files_are_named(tmp_path, capfd):
    for name, data, message in bad_files(tmp_path):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=message) as caught:
            read_image(tmp_path / name)
        assert caught.value.where == tmp_path / name
        assert caught.value.expected
        assert caught.value.fix
    assert capfd.readouterr().out == ""


def test_missing_and_forbidden_files(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="no such file"):
        read_image(tmp_path / "x.png")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_image(tmp_path)
    path = write(tmp_path / "x.png", noise(2, 2, 1, np.uint8))

    def forbidden(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(DataError, match="Permission denied"):
        read_label(path)


def test_content_counts_and_not_the_name(tmp_path):
    image = noise(4, 4, 3, np.uint8)
    write(tmp_path / "x.png", image).rename(tmp_path / "x.jpg")
    np.testing.assert_array_equal(read_image(tmp_path / "x.jpg"), image)
    assert stored_kind(tmp_path / "x.jpg") == "PNG"
    (tmp_path / "y.png").write_bytes(b"hello")
    assert stored_kind(tmp_path / "y.png") is None


def test_bytes_after_the_end_do_no_harm(tmp_path):
    image = noise(8, 8, 3, np.uint8)
    for name in ("x.png", "x.jpg"):
        path = write(tmp_path / name, image)
        before = read_image(path)
        path.write_bytes(path.read_bytes() + b"\0\0padding")
        np.testing.assert_array_equal(read_image(path), before)


def test_a_decoder_that_gives_up_is_reported(tmp_path, monkeypatch):
    path = write(tmp_path / "x.png", noise(4, 4, 1, np.uint8))
    monkeypatch.setattr(decoders.cv2, "imdecode", lambda *_: None)
    with pytest.raises(DataError, match="cannot be decoded"):
        read_image(path)


def test_real_files(shared):
    folder = shared / "data" / "potholes"
    rgb = read_image(folder / "rgb" / "d1_01.jpg")
    disparity = read_image(folder / "disparity" / "d1_01.png")
    label = read_label(folder / "labels" / "d1_01.png")
    assert (rgb.dtype, disparity.dtype, label.dtype) == (np.uint8, np.uint16, np.uint8)
    assert rgb.shape[:2] == disparity.shape[:2] == label.shape
    assert rgb.shape[2] == 3
    assert disparity.max() > 255
    assert (disparity % 16 == 0).all()
    assert set(np.unique(label)) == {0, 1}


def test_holes_take_the_value_of_the_nearest_pixel_that_was_measured(tmp_path):
    image = np.random.default_rng(2).integers(1000, 2000, (9, 13, 1)).astype(np.uint16)
    holes = np.random.default_rng(3).random((9, 13)) < 0.4
    image[holes] = np.random.default_rng(4).integers(0, 10, (int(holes.sum()), 1))
    filled = conform(image, Modality(name="d", channels=1, holes=(0, 10)), tmp_path / "d.png")
    assert np.array_equal(filled[~holes], image[~holes])
    measured = np.argwhere(~holes)
    for y, x in np.argwhere(holes):
        distance = np.hypot(*(measured - (y, x)).T)
        # OpenCV's distances are approximate: any of the nearest few will do.
        near = {int(image[tuple(p)][0]) for p in measured[distance < distance.min() + 0.3]}
        assert int(filled[y, x, 0]) in near


def test_numbers_of_regions_must_be_whole(tmp_path):
    regions = Modality(name="map", role="regions")
    for whole in (np.array([[[0], [9]]], np.uint8), np.array([[[0], [700]]], np.uint16), np.array([[[-1.0], [3.0]]])):
        image = whole.astype(np.float32) if whole.dtype.kind == "f" else whole
        assert np.array_equal(conform(image, regions, tmp_path), whole)
    with pytest.raises(DataError, match=r"1 pixels of this map of regions are not whole numbers, such as 2\.5"):
        conform(np.array([[[2.5], [3.0]]], np.float32), regions, tmp_path)


def test_without_holes_an_image_is_left_alone_and_one_of_holes_alone_is_refused(tmp_path):
    modality = Modality(name="d", channels=1, holes=(0, 0))
    image = np.full((4, 5, 1), 7, np.uint16)
    assert conform(image, modality, tmp_path / "d.png") is image
    with pytest.raises(DataError, match="nothing was measured"):
        conform(np.zeros((4, 5, 1), np.uint16), modality, tmp_path / "d.png")


def test_a_pixel_is_a_hole_if_all_of_its_channels_are(tmp_path):
    image = np.full((3, 3, 2), 5, np.uint8)
    image[0, 0] = (0, 5)
    image[2, 2] = (0, 0)
    filled = conform(image, Modality(name="d", channels=2, holes=(0, 0)), tmp_path / "d.png")
    assert filled[0, 0].tolist() == [0, 5]
    assert filled[2, 2].tolist() == [5, 5]
