"""Image and label files to arrays with exactly the values that are stored; anything doubtful is a `DataError`."""

import stat
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from memorysam.data.decoders import decode, kind_of
from memorysam.data.raw import Image
from memorysam.data.tiff import Unreadable
from memorysam.errors import DataError
from memorysam.spec import Modality

EXTENSIONS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF", ".npy": "NPY"}
"""Extensions of files that can be read, in small letters, and what they promise."""

_EXACT = 2**24  # whole numbers up to here are exact in float32


def read_image(path: Path) -> Image:
    """Read the stored pixels of a PNG, JPEG, TIFF or NPY file. Its content decides what it is, not its name.

    Returns:
        `[H, W, K]`, uint8, uint16 or float32, channels in the order red, green, blue, alpha. Palettes are resolved,
        other number types become float32, and a rotation noted in the file is not applied.

    Raises:
        DataError: missing, damaged, absurdly large, of a kind that cannot be read, or with NaN or infinity.
    """
    return as_stored(_load(path, indices=False), path)


def as_stored(values: NDArray[Any], path: Path) -> Image:
    """Bring the numbers of an image `[H, W, K]` to one of the three types that the rest knows, exactly.

    Raises:
        DataError: NaN, infinity, or whole numbers that are too large; `path` is named.
    """
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    if values.dtype in (np.uint8, np.uint16):
        return values
    if values.dtype.kind in "ui" and (largest := max(-int(values.min()), int(values.max()))) > _EXACT:
        raise DataError(
            f"this file holds whole numbers as large as {largest}, too large to be exact as float32",
            where=path,
            expected=f"whole numbers from {-_EXACT} to {_EXACT}",
            fix="store it as float32, or scale it down",
        )
    with np.errstate(over="ignore"):
        image = values.astype(np.float32, copy=False)
    if not (finite := np.isfinite(image)).all():
        raise DataError(
            f"{image.size - int(finite.sum())} of {image.size} values in this file are NaN or infinite",
            where=path,
            expected="finite numbers",
            fix="replace them by a number that stands for 'nothing measured', such as 0",
        )
    return image


def read_label(path: Path, channel: int | None = None) -> NDArray[Any]:
    """Read the raw values of a label file; of a palette picture, its indices.

    Args:
        path: a PNG, JPEG, TIFF or NPY file.
        channel: which channel holds the values, 0 being red; None for files with one channel.

    Returns:
        `[H, W]`, whole numbers of the stored type (int64 for whole numbers stored as floats).

    Raises:
        DataError: as for images; several channels without `channel`, no such channel, or values that are not whole.
    """
    values = _load(path, indices=True)
    channels = values.shape[2]
    if channel is None and channels > 1:
        raise DataError(
            f"this label has {channels} channels, and nothing says which one holds the classes",
            where=path,
            expected="one channel",
            fix="set `channel` of the label, 0 for the first (red) one, or save the label as grey or palette picture",
        )
    if channel is not None and channel >= channels:
        raise DataError(
            f"this label has no channel {channel}",
            where=path,
            expected=f"a channel from 0 to {channels - 1}",
            fix="correct `channel` of the label",
        )
    raw = np.ascontiguousarray(values[:, :, channel or 0])
    if raw.dtype == np.bool_:
        return raw.astype(np.uint8)
    if raw.dtype.kind != "f":
        return raw
    whole = np.isfinite(raw) & (np.abs(raw) < 2**53)
    whole[whole] = raw[whole] == np.rint(raw[whole])
    if not whole.all():
        raise DataError(
            f"{raw.size - int(whole.sum())} pixels of this label are not whole numbers, such as {raw[~whole][0]}",
            where=path,
            expected="one whole number per pixel",
            fix="save the label as 8- or 16-bit PNG, and resize labels by nearest neighbour only",
        )
    return raw.astype(np.int64)


def conform(image: Image, modality: Modality, path: Path) -> Image:
    """Bring what a file holds to what its modality says: its channels, no holes, whole numbers of regions.

    Channels are changed only where that loses nothing but an alpha channel.

    Args:
        image: `[H, W, K]`.
        modality: says how many channels there should be, and what stands for a hole.
        path: for the message.

    Raises:
        DataError: the channels of the two do not fit, nothing was measured at all, or a region has a broken number.
    """
    image = _conform_channels(image, modality, path)
    if modality.role == "regions" and image.dtype.kind == "f" and (broken := image != np.rint(image)).any():
        raise DataError(
            f"{int(broken.sum())} pixels of this map of regions are not whole numbers, such as {image[broken][0]:g}",
            where=path,
            expected="the number of its region at every pixel",
            fix="save it as 8- or 16-bit PNG, and resize it by nearest neighbour only",
        )
    return image if modality.holes is None else _fill_holes(image, modality.holes, path)


def _fill_holes(image: Image, values: tuple[float, float], path: Path) -> Image:
    """Give pixels whose channels all lie in `values` the values of the nearest pixel of which that is not so."""
    holes = ((image >= values[0]) & (image <= values[1])).all(axis=2)
    if not holes.any():
        return image
    if holes.all():
        raise DataError(
            f"nothing was measured in this file: all of it lies in {list(values)}", where=path, fix="leave it out"
        )
    _, nearest = cv2.distanceTransformWithLabels(
        holes.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    # Labels number the measured pixels from 1, in an order of OpenCV's own.
    order = np.empty(int(nearest.max()) + 1, np.intp)
    order[nearest[~holes]] = np.flatnonzero(~holes)
    flat = image.reshape(-1, image.shape[2])
    filled: Image = flat[order[nearest.ravel()]].reshape(image.shape)
    return filled


def _conform_channels(image: Image, modality: Modality, path: Path) -> Image:
    have, want = image.shape[2], modality.channels
    if have == want:
        return image
    if (have, want) in ((4, 3), (2, 1)):
        return image[:, :, :want]
    if (have, want) == (1, 3):
        return np.repeat(image, 3, axis=2)
    if (have, want) == (3, 1):
        if (image == image[:, :, :1]).all():
            return image[:, :, :1]
        raise DataError(
            f"this file has 3 different channels, modality {modality.name!r} has 1",
            where=path,
            expected="1 channel, or 3 equal ones",
            fix=f"set `channels: 3` for {modality.name}, or save its files with one channel",
        )
    raise DataError(
        f"this file has {have} channel{'s' * (have > 1)}, modality {modality.name!r} has {want}",
        where=path,
        expected=f"{want} channel{'s' * (want > 1)}",
        fix=f"set `channels: {have}` for {modality.name} if that is what its files hold, or correct its path",
    )


def stored_kind(path: Path) -> str | None:
    """Return PNG, JPEG, TIFF or NPY by the content of a file, None for anything else and for what cannot be read."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return kind_of(file.read(8))
    except OSError:
        return None


def _load(path: Path, indices: bool) -> NDArray[Any]:
    """Read and decode a file into `[H, W, K]`."""
    try:
        if stat.S_IFMT(path.stat().st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
            raise Unreadable("this is a pipe or a device, not a file")  # which may never end
        return decode(path.read_bytes(), indices)
    except FileNotFoundError:
        what, fix = "there is no such file", "correct the path, or bring the file"
        if path.is_symlink():
            what, fix = f"this link leads to nothing: {path.readlink()}", "correct the link, or bring its file"
    except OSError as error:
        what, fix = f"this file cannot be read: {error.strerror}", "see to it that this user may read it"
    except Unreadable as error:
        what, fix = error.what, error.fix
    except MemoryError:
        what, fix = "this file holds more than fits into memory", "cut it into smaller pictures"
    raise DataError(what, where=path, expected="a whole PNG, JPEG, TIFF or NPY file", fix=fix)
