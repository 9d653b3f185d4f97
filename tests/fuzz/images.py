"""Tiny picture files of every kind that can be read, and changes to their structure."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
from PIL import Image

from ..data.test_readers import png, tiff
from .mutate import NUMBERS, mutate, number

_SIZES = {"B": 1, "H": 2, "I": 4, "Q": 8}


def _noise(height: int, width: int, channels: int, dtype: type) -> np.ndarray:
    generator = np.random.default_rng(height * 64 + width * 8 + channels)
    if dtype == np.float32:
        return generator.normal(size=(height, width, channels)).astype(dtype)
    return generator.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype=dtype)


def _saved(image: np.ndarray, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, **options)
    return stream.getvalue()


def _written(image: np.ndarray, suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, image, list(options))[1].tobytes()


def raw_png(depth: int, colour: int, interlace: int = 0, width: int = 5, height: int = 4) -> bytes:
    """Return a PNG of any legal kind, with a different filter in each row."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    generator = np.random.default_rng(depth * 8 + colour)
    passes = _ADAM7 if interlace else ((0, 0, 1, 1),)
    rows = b""
    for x, y, dx, dy in passes:
        wide, high = -(-(width - x) // dx), -(-(height - y) // dy)
        if wide > 0 and high > 0:
            line = (wide * samples * depth + 7) // 8
            rows += b"".join(bytes([i % 5]) + generator.bytes(line) for i in range(high))
    palette = [(b"PLTE", generator.bytes(3 * min(2**depth, 256)))] if colour == 3 else []
    return png((width, height, depth, colour, 0, 0, interlace), *palette, (b"IDAT", zlib.compress(rows)))


_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
KINDS = (
    (1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2), (1, 3), (2, 3), (4, 3), (8, 3), (8, 4), (16, 4), (8, 6),
    (16, 6),
)  # fmt: skip


@cache
def pngs() -> tuple[bytes, ...]:
    """Return seeds."""
    plain = tuple(raw_png(depth, colour) for depth, colour in KINDS)
    return plain + tuple(raw_png(depth, colour, 1) for depth, colour in ((8, 2), (16, 0), (2, 3), (1, 0)))


@cache
def jpegs() -> tuple[bytes, ...]:
    """Return seeds."""
    grey, colour = _noise(9, 10, 1, np.uint8)[..., 0], _noise(17, 12, 3, np.uint8)
    return (
        _saved(grey, "JPEG"),
        _saved(colour, "JPEG"),
        _saved(colour, "JPEG", progressive=True),
        _saved(colour, "JPEG", subsampling=0),
        _saved(grey, "JPEG", optimize=True),
        _written(colour, ".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
        _saved(colour, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0"),
    )


@cache
def tiffs() -> tuple[bytes, ...]:
    """Return seeds."""
    seeds = [tiff(_noise(5, 6, k, dtype)) for k in (1, 3, 5) for dtype in (np.uint8, np.uint16, np.float32)]
    wide = _noise(6, 5, 2, np.uint16)
    deflated = {"compression": 8}
    layouts = ({"order": ">"}, {"big": True}, {"rows": 2}, deflated, {**deflated, "predictor": 2}, {"tile": (16, 16)},
               {"planar": 2, "rows": 3}, {"planar": 2, "tile": (8, 16), **deflated})  # fmt: skip
    seeds += [tiff(wide, **more) for more in layouts]
    colour, grey = _noise(7, 6, 3, np.uint8), _noise(5, 6, 1, np.uint8)[..., 0]
    numbers, names = (1, 5, 8, 32773, 32946), (None, "tiff_lzw", "packbits", "tiff_adobe_deflate")
    seeds += [_written(colour, ".tif", cv2.IMWRITE_TIFF_COMPRESSION, number) for number in numbers]
    return (*seeds, *(_saved(grey, "TIFF", compression=name) for name in names))


@cache
def npys() -> tuple[bytes, ...]:
    """Return seeds."""
    seeds = []
    for dtype in ("u1", "<u2", ">u2", "i1", "<i2", "<i4", "<i8", "<u4", "<u8", "<f2", "<f4", ">f4", "<f8", "?", "<f16"):
        values = np.arange(12).reshape(3, 4).astype(dtype)
        for array in (values, np.asfortranarray(values), values.reshape(3, 2, 2)):
            stream = io.BytesIO()
            np.lib.format.write_array(stream, array)
            seeds.append(stream.getvalue())
    stream = io.BytesIO()
    np.lib.format.write_array(stream, values, version=(2, 0))
    return (*seeds, stream.getvalue())


def chunks_of(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return names and contents of the chunks of a PNG that is whole."""
    found, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def make_png(rng: random.Random) -> bytes:
    """Return a PNG with changes, most of them below checksums that are right."""
    data = rng.choice(pngs())
    if rng.random() < 0.25:
        return mutate(rng, data, pngs())
    chunks = chunks_of(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(chunks))
        name, content = chunks[at]
        kind = rng.randrange(8)
        if kind == 0:
            chunks[at] = name, mutate(rng, content)
        elif kind == 1:
            chunks.insert(rng.randrange(len(chunks) + 1), rng.choice(chunks_of(rng.choice(pngs()))))
        elif kind == 2 and len(chunks) > 1:
            del chunks[at]
        elif kind == 3:
            chunks[at] = bytes(rng.choice(b"IDATPLEHRtNSgMA") for _ in range(4)), content
        elif kind == 4 and name == b"IHDR" and len(content) >= 13:
            field = rng.randrange(7)
            values = list(struct.unpack(">IIBBBBB", content[:13]))
            small = (1, 2, 3, 4, 5, 6, 7, 8, 9, 16)
            values[field] = (
                rng.choice(small) if rng.random() < 0.7 else rng.choice(NUMBERS) % 2 ** (32 if field < 2 else 8)
            )
            chunks[at] = name, struct.pack(">IIBBBBB", *values)
        elif name == b"IDAT":
            chunks[at] = name, _repacked(rng, content)
        elif kind == 5:
            cut = rng.randrange(len(content) + 1)
            chunks[at : at + 1] = [(name, content[:cut]), (name, content[cut:])]
    return data[:8] + b"".join(_chunk(name, content) for name, content in chunks)


def _repacked(rng: random.Random, content: bytes) -> bytes:
    """Return compressed rows, changed before or after they are compressed."""
    try:
        rows = zlib.decompress(content)
    except zlib.error:
        return mutate(rng, content)
    kind = rng.randrange(4)
    if kind == 0:
        return zlib.compress(rows[: rng.randrange(len(rows) + 1)])
    if kind == 1:
        return zlib.compress(mutate(rng, rows), rng.randrange(10))
    if kind == 2:
        return zlib.compress(rows) + bytes(rng.randrange(256) for _ in range(rng.randrange(8)))
    packer = zlib.compressobj(rng.randrange(10), zlib.DEFLATED, rng.choice((9, 15, -15, 31)))
    return packer.compress(rows) + packer.flush(rng.choice((zlib.Z_FINISH, zlib.Z_SYNC_FLUSH)))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def make_jpeg(rng: random.Random) -> bytes:
    """Return a JPEG with changes to its bytes or its segments."""
    data = rng.choice(jpegs())
    if rng.random() < 0.3:
        return mutate(rng, data, jpegs())
    parts = _segments(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(parts))
        kind = rng.randrange(7)
        if kind == 0:
            parts[at] = mutate(rng, parts[at], most=2)
        elif kind == 1:
            parts.insert(rng.randrange(len(parts)), rng.choice(_segments(rng.choice(jpegs()))))
        elif kind == 2 and len(parts) > 1:
            del parts[at]
        elif kind == 3 and len(parts[at]) > 4:
            parts[at] = parts[at][:2] + number(rng, ">H") + parts[at][4:]
        elif kind == 4 and len(parts[at]) > 9 and parts[at][1] in (0xC0, 0xC1, 0xC2):
            where = rng.choice((4, 5, 6, 7, 8, 9, 10, 11, 12))
            parts[at] = parts[at][:where] + bytes([rng.choice((0, 1, 2, 3, 4, 8, 12, 255))]) + parts[at][where + 1 :]
        elif kind == 5:
            parts[at] = (
                parts[at][:1]
                + bytes([rng.choice((0xC0, 0xC2, 0xC4, 0xC9, 0xD0, 0xD9, 0xDA, 0xDB, 0xDD, 0xE1))])
                + parts[at][2:]
            )
        else:
            body = bytearray(parts[at])
            if len(body) > 6:
                body[rng.randrange(4, len(body))] ^= 1 << rng.randrange(8)
            parts[at] = bytes(body)
    return b"".join(parts)


def _segments(data: bytes) -> list[bytes]:
    """Return the parts of a JPEG, each beginning with its marker."""
    parts, at = [data[:2]], 2
    while at < len(data) - 1:
        end = at + 2 if data[at + 1] == 0xD9 else at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        while end < len(data) - 1 and not (data[end] == 0xFF and data[end + 1] not in (0, *range(0xD0, 0xD8))):
            end += 1
        parts.append(data[at:end])
        at = end
    return parts


_TAGS = (
    254, 256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 320, 322, 324, 325, 338, 339, 330, 347, 42113, 34665,
)  # fmt: skip


def make_tiff(rng: random.Random) -> bytes:
    """Return a TIFF with changes to its bytes or to the entries of its table."""
    data = bytearray(rng.choice(tiffs()))
    if rng.random() < 0.25:
        return mutate(rng, bytes(data), tiffs())
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    word, entry, count = ("Q", 20, "Q") if big else ("I", 12, "H")
    (table,) = struct.unpack_from(order + word, data, 8 if big else 4)
    (tags,) = struct.unpack_from(order + count, data, table)
    begin = table + _SIZES[count]
    for _ in range(rng.randint(1, 3)):
        at = begin + entry * rng.randrange(tags)
        kind = rng.randrange(7)
        if kind == 0:
            struct.pack_into(order + "H", data, at, rng.choice((*_TAGS, rng.randrange(65536))))
        elif kind == 1:
            struct.pack_into(order + "H", data, at + 2, rng.choice((0, 1, 2, 3, 4, 5, 7, 9, 11, 12, 13, 16, 18, 65535)))
        elif kind == 2:
            struct.pack_into(order + word, data, at + 4, rng.choice(NUMBERS) % 2 ** (8 * _SIZES[word]))
        elif kind in (3, 4):
            small = rng.random() < 0.6
            value = (
                rng.choice((0, 1, 2, 3, 4, 5, 6, 8, 16, 32, 64))
                if small
                else rng.choice(NUMBERS) % 2 ** (8 * _SIZES[word])
            )
            struct.pack_into(order + word, data, at + 4 + _SIZES[word], value)
        elif kind == 5:
            other = begin + entry * rng.randrange(tags)
            data[at : at + entry] = data[other : other + entry]
        else:
            struct.pack_into(
                order + word, data, begin + entry * tags, rng.choice((0, 8, 16, table, len(data) - 1, 2**31))
            )
    return mutate(rng, bytes(data), most=1) if rng.random() < 0.1 else bytes(data)


_OLD = (
    "3", "4", "2", "(", ")", "'", "False", "True", "shape", "descr", "fortran_order", ",", "<", "|", "f", "i", "u", "8",
    "{", "}", ":",
)  # fmt: skip


def make_npy(rng: random.Random) -> bytes:
    """Return an NPY with changes to its bytes or to the words of its header."""
    data = rng.choice(npys())
    if rng.random() < 0.3:
        return mutate(rng, data, npys())
    wide = data[6] > 1
    begin = 12 if wide else 10
    end = begin + int.from_bytes(data[8:begin], "little")
    header = data[begin:end].decode()
    for _ in range(rng.randint(1, 2)):
        old = rng.choice(_OLD)
        new = rng.choice(_PIECES)
        at = header.find(old)
        header = header[:at] + new + header[at + len(old) :] if at >= 0 else header + new
    text = header.encode()
    if rng.random() < 0.5:
        return data[:8] + len(text).to_bytes(begin - 8, "little") + text + data[end:]
    return data[:begin] + text + data[end:]


_PIECES = (
    "", "0", "1", "2", "3", "12", "-1", "4294967296", "9223372036854775807", "99999999999999999999", "1e3", "1.0",
    "True", "None", "(", ")", "((((", "'", "O", "V8", "U4", "M8", "c8", "f", "i", "u", "b", "?", "S1", "(2,)f4",
    "f4,f4", "<", ">", "=", "|", "[('a','<f4')]", "__import__('os').system('touch canary')", "lambda: 0", "2**63",
    "-" * 500, "(" * 300, "b'<f4'", "L", "\0", "{}", ", 'x': 1", "'" * 3, "0x4", "3_0", "f2", "f16", "g", "i8", "#",
    "\n",
)  # fmt: skip
MAKERS: dict[str, Callable[[random.Random], bytes]] = {
    "png": make_png,
    "jpeg": make_jpeg,
    "tiff": make_tiff,
    "npy": make_npy,
}
