"""Other decoders of the same files, to compare with: a reading of the PNG specification, NumPy, Pillow, libtiff."""

import io
import struct
import warnings
import zlib

import cv2
import numpy as np
from PIL import Image

from .images import _ADAM7

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


class Damaged(Exception):  # noqa: N818
    """An oracle's word that a file is damaged."""


def read_png(data: bytes, indices: bool) -> np.ndarray:
    """Return `[H, W, K]` of a PNG, slowly and by the book; palettes resolved unless `indices`.

    Raises:
        Damaged: a checksum is wrong, or anything is missing.
    """
    chunks: list[tuple[bytes, bytes]] = []
    at = 8
    while not chunks or chunks[-1][0] != b"IEND":
        if at + 12 > len(data):
            raise Damaged("cut off")
        (length,) = struct.unpack_from(">I", data, at)
        content = data[at + 8 : at + 8 + length]
        crc = data[at + 8 + length : at + 12 + length]
        if len(crc) < 4 or struct.unpack(">I", crc)[0] != zlib.crc32(data[at + 4 : at + 8] + content):
            raise Damaged("checksum")
        chunks.append((data[at + 4 : at + 8], content))
        at += 12 + length
    if chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise Damaged("header")
    width, height, depth, colour, *_, interlace = struct.unpack(">IIBBBBB", chunks[0][1])
    packed = b"".join(content for name, content in chunks if name == b"IDAT")
    rows = _inflate(packed)
    if colour not in CHANNELS:
        raise Damaged("colour type")
    samples = CHANNELS[colour]
    image = np.zeros((height, width, samples), np.uint16 if depth == 16 else np.uint8)
    for x, y, dx, dy in _ADAM7 if interlace else ((0, 0, 1, 1),):
        wide, high = -(-(width - x) // dx), -(-(height - y) // dy)
        if wide > 0 and high > 0:
            line = (wide * samples * depth + 7) // 8
            if len(rows) < high * (line + 1):
                raise Damaged("rows are missing")
            part = _unfilter(rows[: high * (line + 1)], high, line, max(1, samples * depth // 8))
            image[y::dy, x::dx] = _unpack(part, depth, wide, samples)
            rows = rows[high * (line + 1) :]
    if colour == 3 and not indices:
        palette = next((content for name, content in chunks if name == b"PLTE"), b"")
        colours = np.frombuffer(palette[: len(palette) // 3 * 3], np.uint8).reshape(-1, 3)
        if image.size and int(image.max()) >= len(colours):
            raise Damaged("a colour that the palette lacks")
        return colours[image[..., 0]]
    return image


def _inflate(packed: bytes) -> bytes:
    """Return what can be had of a stream; its head and its own checksum do not matter, rows that are missing do."""
    try:
        return zlib.decompressobj().decompress(packed, 2**24)
    except zlib.error:
        rows, stream = b"", zlib.decompressobj(-15)
        for i in range(2, len(packed)):
            try:
                rows += stream.decompress(packed[i : i + 1], 2**24)
            except zlib.error:
                break
        return rows


def _unfilter(rows: bytes, high: int, line: int, step: int) -> np.ndarray:
    above = bytearray(line)
    done = []
    for at in range(0, high * (line + 1), line + 1):
        kind, row = rows[at], bytearray(rows[at + 1 : at + 1 + line])
        for i in range(line):
            left = row[i - step] if i >= step else 0
            corner = above[i - step] if i >= step else 0
            if kind == 1:
                row[i] = (row[i] + left) & 255
            elif kind == 2:
                row[i] = (row[i] + above[i]) & 255
            elif kind == 3:
                row[i] = (row[i] + (left + above[i]) // 2) & 255
            elif kind == 4:
                guess = left + above[i] - corner
                near = min((left, above[i], corner), key=lambda value, guess=guess: abs(guess - value))
                row[i] = (row[i] + near) & 255
            elif kind:
                raise Damaged("filter")
        done.append(bytes(row))
        above = row
    return np.frombuffer(b"".join(done), np.uint8).reshape(high, line)


def _unpack(rows: np.ndarray, depth: int, wide: int, samples: int) -> np.ndarray:
    high = len(rows)
    if depth == 16:
        return rows.copy().view(">u2").astype(np.uint16).reshape(high, wide, samples)
    if depth == 8:
        return rows.reshape(high, wide, samples)
    bits = np.unpackbits(rows, axis=1).reshape(high, -1, depth)
    return (bits * (1 << np.arange(depth - 1, -1, -1, dtype=np.uint8))).sum(axis=2, dtype=np.uint8)[:, :wide, None]


def read_npy(data: bytes) -> np.ndarray:
    """Return what NumPy reads."""
    image = np.load(io.BytesIO(data), allow_pickle=False)
    return image if image.ndim == 3 else image[:, :, None]


def read_jpeg(data: bytes) -> np.ndarray | None:
    """Return what Pillow reads, None if it does not."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            pixels = np.asarray(image)
    except Exception:  # noqa: BLE001
        return None
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def read_tiff(data: bytes) -> list[np.ndarray]:
    """Return what libtiff makes of a TIFF, once through OpenCV and once through Pillow, as far as they do."""
    found = []
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is not None and (image.ndim == 2 or image.shape[2] == 3):
        found.append(image[:, :, None] if image.ndim == 2 else image[:, :, ::-1])
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=["TIFF"]) as picture:
            pixels = np.asarray(picture)
    except Exception:  # noqa: BLE001
        return found
    return [*found, pixels if pixels.ndim == 3 else pixels[:, :, None]]
