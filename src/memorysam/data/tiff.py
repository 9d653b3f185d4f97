"""TIFF files with any number of channels; OpenCV and Pillow stop at four.

Strips and tiles, channels together or in planes, 8 to 64 bits, both byte orders, BigTIFF; uncompressed, deflate, LZW
or PackBits, with or without predictor. That is what scientific software writes; anything else is named and refused.
"""

import struct
import zlib
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_PIXELS = 178_956_970
"""Largest picture that is opened: a header that promises more is damaged or an attack on the memory."""

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_CHANNELS, _ROWS, _PLANAR, _PREDICTOR = 277, 278, 284, 317
_STRIPS, _TILES = (273, 279), (324, 325)  # offsets, byte counts
_TILE_WIDTH, _TILE_HEIGHT, _FORMAT, _SUBFILE, _FILL_ORDER = 322, 323, 339, 254, 266
_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_DEFLATE, _LZW, _PACKBITS = (8, 32946), 5, 32773
_PALETTE = 3

Tags = Mapping[int, tuple[int, ...]]


class Unreadable(Exception):  # noqa: N818
    """Why bytes are no picture, and what to do; the reader adds the file's name."""

    def __init__(
        self, what: str, fix: str = "get another copy of the file, or take its sample out of the data"
    ) -> None:
        super().__init__(what)
        self.what, self.fix = what, fix


def check_size(height: int, width: int, channels: int = 1) -> None:
    """Refuse a picture without pixels or with absurdly many, before any memory is taken.

    Raises:
        Unreadable: the size is not one of a picture.
    """
    if height < 1 or width < 1 or channels < 1:
        raise Unreadable(f"this file holds {height} x {width} pixels of {channels} channels: nothing")
    if height * width > MAX_PIXELS or height * width * channels > 4 * MAX_PIXELS:
        raise Unreadable(
            f"this file claims {height} x {width} pixels of {channels} channels; at most {MAX_PIXELS} are opened",
            "cut it into smaller pictures, or get another copy if the size is wrong",
        )


def decode_tiff(data: bytes, indices: bool) -> NDArray[Any]:
    """Decode the one picture in a TIFF file into `[H, W, K]`, with its stored type and values.

    Args:
        data: the whole file.
        indices: accept a picture with a colour table and give its indices.

    Raises:
        Unreadable: damaged, or of a kind that is not supported.
    """
    try:
        tags = _picture(data)
        return _pixels(data, tags, "<" if data[:2] == b"II" else ">", indices)
    except (struct.error, IndexError, KeyError, OverflowError):
        raise Unreadable("this TIFF file is cut off or damaged: its table of contents is not whole") from None


def _picture(data: bytes) -> Tags:
    """Return the tags of the only full picture; thumbnails, overviews and masks do not count."""
    order, big = ("<" if data[:2] == b"II" else ">"), data[2:4] in (b"+\0", b"\0+")
    (offset,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    pages: list[Tags] = []
    seen: set[int] = set()
    while offset and offset not in seen:
        seen.add(offset)
        tags, offset = _page(data, offset, order, big)
        if not tags.get(_SUBFILE, (0,))[0] & 0b101:
            pages.append(tags)
    if len(pages) != 1:
        raise Unreadable(
            f"this TIFF file holds {len(pages)} pages, one is expected", "save the channels of a picture as one page"
        )
    return pages[0]


def _page(data: bytes, offset: int, order: str, big: bool) -> tuple[Tags, int]:
    """Return the integer tags of the page at `offset`, and where the next page is."""
    count_type, entry, inline, word = ("Q", 20, 8, "Q") if big else ("H", 12, 4, "I")
    (count,) = struct.unpack_from(order + count_type, data, offset)
    position = offset + struct.calcsize(count_type)
    tags: dict[int, tuple[int, ...]] = {}
    for at in range(position, min(position + count * entry, len(data)), entry):
        tag, kind = struct.unpack_from(order + "HH", data, at)
        (values,) = struct.unpack_from(order + word, data, at + 4)
        if kind not in _INTEGERS:
            continue
        where = at + entry - inline
        if values * struct.calcsize(_INTEGERS[kind]) > inline:
            (where,) = struct.unpack_from(order + word, data, where)
        if values > len(data):
            raise IndexError
        tags[tag] = struct.unpack_from(f"{order}{values}{_INTEGERS[kind]}", data, where)
    (following,) = struct.unpack_from(order + word, data, position + count * entry)
    return tags, following


def _pixels(data: bytes, tags: Tags, order: str, indices: bool) -> NDArray[Any]:
    """Decode all strips or tiles and put them in their places."""
    height, width, channels = tags[_HEIGHT][0], tags[_WIDTH][0], tags.get(_CHANNELS, (1,))[0]
    check_size(height, width, channels)
    dtype = _dtype(tags, indices, channels).newbyteorder(order)  # type: ignore[arg-type]
    planes = channels if tags.get(_PLANAR, (1,))[0] == 2 else 1
    samples = channels // planes
    tiled = _TILE_WIDTH in tags
    if tiled:
        block_height, block_width = tags[_TILE_HEIGHT][0], tags[_TILE_WIDTH][0]
    else:
        block_height, block_width = min(tags.get(_ROWS, (height,))[0], height), width
    check_size(block_height, block_width, samples)
    offsets, counts = (tags[tag] for tag in (_TILES if tiled else _STRIPS))
    across, down = -(-width // block_width), -(-height // block_height)
    if not len(offsets) == len(counts) == across * down * planes:
        raise Unreadable("this TIFF file is damaged: it has not as many parts as its size needs")
    image = np.empty((height, width, channels), dtype.newbyteorder("="))
    for number, (offset, count) in enumerate(zip(offsets, counts, strict=True)):
        plane, place = divmod(number, across * down)
        top, left = place // across * block_height, place % across * block_width
        rows = block_height if tiled else min(block_height, height - top)
        if offset + count > len(data):
            raise Unreadable("this TIFF file is cut off: a part reaches beyond the end of the file")
        packed = data[offset : offset + count]
        raw = _unpack(packed, tags.get(_COMPRESSION, (1,))[0], rows, block_width * samples * dtype.itemsize)
        block = _undo_predictor(raw, tags.get(_PREDICTOR, (1,))[0], (rows, block_width, samples), dtype)
        target = image[top : top + rows, left : left + block_width, plane * samples : (plane + 1) * samples]
        target[:] = block[: target.shape[0], : target.shape[1]]
    return image


def _dtype(tags: Tags, indices: bool, channels: int) -> np.dtype[Any]:
    """Return the type of a sample, after refusing what cannot be read as plain values."""
    bits, formats = set(tags.get(_BITS, (1,))), set(tags.get(_FORMAT, (1,)))
    photometric = tags.get(_PHOTOMETRIC, (1,))[0]
    if photometric > _PALETTE or (photometric == _PALETTE and not (indices and channels == 1)):
        raise Unreadable("this TIFF file stores no plain grey, RGB or band values", "save it as grey, RGB or bands")
    letter = {1: "u", 2: "i", 3: "f", 4: "u"}.get(min(formats)) if len(formats) == 1 else None
    bit = min(bits) if len(bits) == 1 else 0
    odd = tags.get(_FILL_ORDER, (1,))[0] != 1
    if odd or letter is None or bit not in ((16, 32, 64) if letter == "f" else (8, 16, 32, 64)):
        raise Unreadable(
            f"this TIFF file stores samples of {sorted(bits)} bits in a way that cannot be read",
            "save it with 8 or 16 bits or as float32",
        )
    return np.dtype(f"{letter}{bit // 8}")


def _unpack(packed: bytes, compression: int, rows: int, row_bytes: int) -> bytes:
    """Return the `rows * row_bytes` bytes of one strip or tile."""
    size = rows * row_bytes
    if compression == 1:
        raw = packed
    elif compression in _DEFLATE:
        inflate = zlib.decompressobj()
        try:
            raw = inflate.decompress(packed, size + 1)
        except zlib.error:
            raise Unreadable("this TIFF file is damaged: its compressed data do not unpack") from None
        if not inflate.eof:
            raise Unreadable("this TIFF file is damaged: its compressed data do not end where they should")
    elif compression in (_LZW, _PACKBITS):
        raw = _unpack_with_opencv(packed, compression, rows, row_bytes)
    else:
        raise Unreadable(
            f"this TIFF file is compressed in a way (number {compression}) that cannot be read",
            "save it uncompressed, or with deflate or LZW",
        )
    if len(raw) < size:
        raise Unreadable(f"this TIFF file is damaged: a part holds {len(raw)} bytes instead of {size}")
    return raw[:size]


def _unpack_with_opencv(packed: bytes, compression: int, rows: int, row_bytes: int) -> bytes:
    """Unpack LZW or PackBits by showing the bytes to OpenCV as a grey picture of one strip."""
    tags = {_WIDTH: row_bytes, _HEIGHT: rows, _BITS: 8, _COMPRESSION: compression, _PHOTOMETRIC: 1, _STRIPS[0]: 8}
    tags |= {_CHANNELS: 1, _ROWS: rows, _STRIPS[1]: len(packed)}
    packed += b"\0" * (len(packed) % 2)  # the table must begin at an even place
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    head = b"II*\0" + struct.pack("<I", 8 + len(packed))
    file = head + packed + struct.pack("<H", len(tags)) + table + bytes(4)
    try:
        image = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None or image.shape != (rows, row_bytes):
        raise Unreadable("this TIFF file is damaged: its compressed data do not unpack")
    return bytes(image.tobytes())


def _undo_predictor(raw: bytes, predictor: int, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return `[rows, width, samples]`; with a predictor, what is stored are differences along the row."""
    rows, width, samples = shape
    if predictor == 1:
        return np.frombuffer(raw, dtype).reshape(shape)
    if predictor == 2:
        bits = np.frombuffer(raw, np.dtype(f"u{dtype.itemsize}").newbyteorder(dtype.byteorder)).reshape(shape)
        native = bits.astype(bits.dtype.newbyteorder("="))
        return np.cumsum(native, axis=1, dtype=native.dtype).view(dtype.newbyteorder("="))
    if predictor == 3 and dtype.kind == "f":
        # All first bytes of a row come first, then all second bytes; the differences run over the whole row.
        shuffled = np.frombuffer(raw, np.uint8).reshape(rows, dtype.itemsize * width, samples)
        parts = np.cumsum(shuffled, axis=1, dtype=np.uint8).reshape(rows, dtype.itemsize, width * samples)
        values = np.ascontiguousarray(parts.transpose(0, 2, 1)).view(dtype.newbyteorder(">"))
        return values.reshape(shape)
    raise Unreadable(f"this TIFF file has a predictor (number {predictor}) that cannot be read", "save it without one")
