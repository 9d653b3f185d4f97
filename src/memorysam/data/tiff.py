"""TIFF files with any number of channels, through `tifffile`.

LZW and other compressions need the `imagecodecs` package there, which is large; grey and RGB pictures, the usual case,
go through OpenCV where it is missing.
"""

import importlib.util
import io
import logging
import os
from itertools import islice
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from memorysam.errors import SettingsError

# Or its warnings about damage, which is reported here, go to the screen.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

MAX_PIXELS = 178_956_970
"""Largest picture that is opened: a header that promises more is damaged or an attack on the memory."""
LIMIT = "MEMORYSAM_MAX_PIXELS"
"""Variable of the environment that says another number."""

_PLAIN = (0, 1, 2)  # white is zero, black is zero, RGB
_PALETTE = 3
_UNPACKED_BY_TIFFFILE = (1, 8, 32946, 32773)  # none, deflate (two numbers for it), PackBits
_OPENCV_CHANNELS = (1, 3)  # it multiplies colours by alpha where there are four
_PAGES = 64  # with thumbnails and overviews
_LAYOUT = frozenset((256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 322, 323, 324, 325, 339))
"""Tags without which values cannot be found or understood. Where they have no whole numbers, decoders differ."""
_WHOLE = (1, 3, 4, 16)  # bytes, 16, 32, 64 bits, without sign
_HEADER = 8  # bytes before which no part can lie
_HAS_CODECS = importlib.util.find_spec("imagecodecs") is not None


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
        SettingsError: the environment holds a limit that is no number.
    """
    most = _limit()
    if height < 1 or width < 1 or channels < 1:
        raise Unreadable(f"this file holds {height} x {width} pixels of {channels} channels: nothing")
    if height * width > most or height * width * channels > 4 * most:
        raise Unreadable(
            f"this file claims {height} x {width} pixels of {channels} channels; at most {most} are opened",
            f"cut it into smaller pictures, get another copy if the size is wrong, or set {LIMIT} to more",
        )


def _limit() -> int:
    words = os.environ.get(LIMIT, "")
    if words and not (words.isascii() and words.isdigit() and int(words)):
        raise SettingsError(f"wrong value {words!r}", where=LIMIT, expected="a number of pixels")
    return int(words) if words else MAX_PIXELS


def decode_tiff(data: bytes, indices: bool) -> NDArray[Any]:
    """Decode the one picture in a TIFF file into `[H, W, K]`, with its stored type and values.

    Args:
        data: the whole file.
        indices: accept a picture with a colour table and give its indices.

    Raises:
        Unreadable: damaged, or of a kind that is not supported.
    """
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = _only_page(file)
            _check(page, len(data), indices)
            image = _pixels(page, data)
    except (Unreadable, SettingsError):
        raise
    except Exception as error:  # noqa: BLE001  a damaged file can make a parser stumble anywhere
        raise Unreadable(f"this TIFF file is cut off or damaged: {str(error).splitlines()[0] or type(error)}") from None
    if image.shape != (page.imagelength, page.imagewidth, page.samplesperpixel) or image.dtype != page.dtype:
        raise Unreadable("this TIFF file does not hold the picture that its header says")
    return image


def _only_page(file: tifffile.TiffFile) -> tifffile.TiffPage:
    """Return the only full picture; thumbnails, overviews and masks do not count."""
    pages = (page for page in islice(file.pages, _PAGES) if not page.subfiletype & 0b101)
    found = list(islice(pages, 2))  # a damaged table of contents can run in circles
    if len(found) != 1:
        raise Unreadable(
            f"this TIFF file holds {'several' if found else 'no'} pages, one is expected",
            "save the channels of a picture as one page",
        )
    return found[0]


def _check(page: tifffile.TiffPage, length: int, indices: bool) -> None:
    """Refuse what cannot be read as plain values, and a file that does not hold all of its strips or tiles."""
    check_size(page.imagelength, page.imagewidth, page.samplesperpixel)
    palette = page.photometric == _PALETTE and indices and page.samplesperpixel == 1
    if page.photometric not in _PLAIN and not palette:
        raise Unreadable("this TIFF file stores no plain grey, RGB or band values", "save it as grey, RGB or bands")
    if page.dtype is None or page.dtype.kind not in "uif" or page.bitspersample != 8 * page.dtype.itemsize:
        raise Unreadable(
            f"this TIFF file stores samples of {page.bitspersample} bits in a way that cannot be read",
            "save it with 8 or 16 bits or as float32",
        )
    offsets, counts, other = (324, 325, 273) if page.is_tiled else (273, 279, 324)
    typed = all(tag.dtype in _WHOLE for tag in page.tags if tag.code in _LAYOUT)
    one = offsets in page.tags and counts in page.tags and other not in page.tags
    if not typed or not one or page.planarconfig not in (1, 2):
        raise Unreadable("this TIFF file is damaged: what it says of its layout is no layout, or two at once")
    ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
    enough = page.compression != 1 or sum(page.databytecounts) >= page.nbytes
    # What lies at 0 would be taken for a part that was left out, and filled with zeros.
    empty = min(page.databytecounts) < 1 or min(page.dataoffsets) < _HEADER
    if not len(ends) == page.tags[offsets].count == int(np.prod(page.chunked)) or empty or not enough:
        raise Unreadable("this TIFF file is damaged: it has not as many parts or bytes as its size needs")
    if max(ends) > length:
        raise Unreadable("this TIFF file is cut off: a part reaches beyond the end of the file")


def _pixels(page: tifffile.TiffPage, data: bytes) -> NDArray[Any]:
    """Return `[H, W, K]`, red first."""
    if _HAS_CODECS or (page.compression in _UNPACKED_BY_TIFFFILE and page.predictor in (1, 2)):
        return _channels_last(page.asarray(), page.axes)
    if page.samplesperpixel not in _OPENCV_CHANNELS or page.photometric == _PALETTE:
        raise Unreadable(
            f"this TIFF file has {page.samplesperpixel} channels and is compressed by {page.compression.name} with "
            f"predictor {page.predictor.name}",
            "save it uncompressed or with deflate, or run: pip install imagecodecs",
        )
    image: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise Unreadable("this TIFF file is damaged, or compressed in a way that cannot be read")
    return image[:, :, None] if image.ndim == 2 else np.ascontiguousarray(image[:, :, ::-1])


def _channels_last(image: NDArray[Any], axes: str) -> NDArray[Any]:
    if axes == "YX":
        return image[:, :, None]
    if axes in ("YXS", "SYX"):
        return image if axes == "YXS" else np.ascontiguousarray(image.transpose(1, 2, 0))
    raise Unreadable(f"this TIFF file has axes {axes}, not height, width and channels", "save it as one flat picture")
