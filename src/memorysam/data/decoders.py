"""From the bytes of a PNG, JPEG, TIFF or NPY file to an array, or a reason why not; never to a part of a picture.

OpenCV fills what a damaged file lacks and says nothing. So the structure of a file is checked first: the checksum of
every PNG chunk up to the last, the segments of a JPEG up to its end marker, the extent of every TIFF strip.
"""

import io
import re
import struct
import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from memorysam.data.tiff import Unreadable, check_size, decode_tiff

# Or OpenCV prints its own warnings between ours. The function has moved between versions 4 and 5.
(cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel)(0)

DEFLATE = 1032
"""Most bytes that a byte of deflated data can stand for; a file that claims more is refused before memory is taken."""

_SAMPLES = {2: 3, 4: 2, 6: 4}  # by colour type of PNG, where it is not one
_JPEG = 16 * 512  # pixels per byte: a bit for each block of 64, subsampled by 16 at most

_MAGIC = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "NPY": (b"\x93NUMPY",),
}


def kind_of(head: bytes) -> str | None:
    """Return PNG, JPEG, TIFF or NPY by the first bytes of a file, or None. A file's name does not count."""
    return next((kind for kind, magics in _MAGIC.items() if head.startswith(magics)), None)


def decode(data: bytes, indices: bool) -> NDArray[Any]:
    """Decode a file into `[H, W, K]`, channels in the order red, green, blue, alpha, with the stored values.

    Args:
        data: the whole file.
        indices: give the indices of a palette picture (`K = 1`) instead of its colours.

    Raises:
        Unreadable: damaged, absurdly large, or nothing of these four.
    """
    if not data:
        raise Unreadable("this file is empty (0 bytes)")
    kind = kind_of(data)
    if kind == "PNG":
        return _decode_png(data, indices)
    if kind == "JPEG":
        return _decode_jpeg(data)
    if kind == "TIFF":
        return decode_tiff(data, indices)
    if kind == "NPY":
        return _decode_npy(data)
    raise Unreadable("this is not a PNG, JPEG, TIFF or NPY file, whatever its name says", "convert it to one of these")


def _decode_png(data: bytes, indices: bool) -> NDArray[Any]:
    chunks = _png_chunks(data)
    name, start, end = chunks[0]
    if name != b"IHDR" or end - start != 25:
        raise Unreadable("this PNG file does not begin with a header")
    width, height, depth, colour = struct.unpack_from(">IIBB", data, start + 8)
    check_size(height, width)
    packed = sum(b - a for name, a, b in chunks if name == b"IDAT")
    if height * width * depth * _SAMPLES.get(colour, 1) > 8 * DEFLATE * packed:
        raise Unreadable("this PNG file is damaged: it is too short for the pixels that its header claims")
    palette = colour == 3
    header = data[start:end]
    if palette:
        header = _as_grey(header)  # the same samples without their colour table are the indices
    # Only what makes the picture reaches the decoder: no colour profile to complain about, no rotation, no animation.
    wanted = (b"IDAT", b"IEND")
    image = _opencv(b"".join([data[:8], header, *(data[a:b] for name, a, b in chunks if name in wanted)]))
    if image.shape[:2] != (height, width):
        raise Unreadable("this PNG file does not hold as many pixels as its header says")
    if depth < 8 and (colour == 0 or palette):
        image //= 255 // (2**depth - 1)  # OpenCV spreads 1, 2 and 4 bits over 0..255
    if palette and not indices:
        return _coloured(image, next((data[a + 8 : b - 4] for name, a, b in chunks if name == b"PLTE"), b""))
    return image[:, :, ::3] if colour == 4 else image  # grey with alpha arrives as four channels


def _coloured(indices: NDArray[Any], palette: bytes) -> NDArray[Any]:
    """Look colours up. A decoder would show black where the palette has no such colour."""
    if len(palette) % 3 or int(indices.max()) >= len(palette) // 3:
        raise Unreadable("this PNG file is damaged: its palette lacks a colour")
    colours: NDArray[Any] = np.frombuffer(palette, np.uint8).reshape(-1, 3)[indices[:, :, 0]]
    return colours


def _png_chunks(data: bytes) -> list[tuple[bytes, int, int]]:
    """Return name, start and end of each chunk up to IEND, all checksums verified."""
    chunks: list[tuple[bytes, int, int]] = []
    position, view = 8, memoryview(data)
    while not chunks or chunks[-1][0] != b"IEND":
        if position + 12 > len(data):
            raise Unreadable("this PNG file is cut off: its end is missing")
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 12 + length
        if end > len(data):
            raise Unreadable("this PNG file is cut off or damaged: a part reaches beyond the end of the file")
        if zlib.crc32(view[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise Unreadable("this PNG file is damaged: a checksum does not match")
        chunks.append((data[position + 4 : position + 8], position, end))
        position = end
    return chunks


def _as_grey(header: bytes) -> bytes:
    """Return an IHDR chunk with the colour type set to grey."""
    body = header[4:17] + b"\0" + header[18:21]
    return header[:4] + body + struct.pack(">I", zlib.crc32(body))


# Any marker but a stuffed zero, a fill byte and a restart; in compressed data there is none before its end.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _decode_jpeg(data: bytes) -> NDArray[Any]:
    position, scans, frame = 2, 0, None
    while True:
        match = _MARKER.search(data, position)
        if match is None:
            raise Unreadable("this JPEG file is cut off: its end marker is missing")
        marker = data[match.start() + 1]
        if marker == 0xD9:
            break
        start = match.end()
        end = start + int.from_bytes(data[start : start + 2], "big")
        if end < start + 2 or end > len(data):
            raise Unreadable("this JPEG file is cut off or damaged: a part reaches beyond the end of the file")
        if marker in _FRAMES and end >= start + 8:
            frame = struct.unpack_from(">BHHB", data, start + 2)
        scans += marker == 0xDA
        position = end
    if frame is None or not scans:
        raise Unreadable("this JPEG file is damaged: it holds no picture")
    depth, height, width, channels = frame
    check_size(height, width)
    if height * width > _JPEG * len(data):
        raise Unreadable("this JPEG file is damaged: it is too short for the pixels that its header claims")
    if depth != 8 or channels not in (1, 3):
        raise Unreadable(
            f"this JPEG file has {channels} channels of {depth} bits; grey or RGB of 8 bits can be read",
            "save it as RGB, or as PNG or TIFF",
        )
    image = _opencv(data)
    if image.shape != (height, width, channels):
        raise Unreadable("this JPEG file does not hold the picture that its header says")
    return image


def _decode_npy(data: bytes) -> NDArray[Any]:
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = read_header[version](stream)
    except KeyError:
        raise Unreadable(
            "this NPY file has another format version than 1.0 or 2.0", "save it with numpy.save"
        ) from None
    except Exception:  # noqa: BLE001  NumPy raises whatever its parser of Python literals met
        raise Unreadable("the header of this NPY file is damaged") from None
    if dtype.kind not in "buif":
        raise Unreadable(f"this NPY file holds {dtype}, not numbers", "save an array of integers or floats")
    if len(shape) not in (2, 3):
        raise Unreadable(f"this NPY file holds an array of shape {shape}", "save it as [H, W] or [H, W, channels]")
    check_size(*shape)
    size, have = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize, len(data) - stream.tell()
    if size != have:
        raise Unreadable(f"this NPY file is cut off or damaged: {have} bytes of values instead of {size}")
    values = np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape, order="F" if fortran else "C")
    values = values.astype(dtype.newbyteorder("="), order="C")  # a copy: what frombuffer gives cannot be written to
    return values if values.ndim == 3 else values[:, :, None]


def _opencv(data: bytes) -> NDArray[Any]:
    """Decode into `[H, W, K]`, red first. OpenCV's own order is blue first, and it drops a single channel's axis."""
    try:
        image: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None:
        raise Unreadable("this file is damaged: it cannot be decoded")
    if image.ndim == 2:
        return image[:, :, None]
    result: NDArray[Any] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    return result
