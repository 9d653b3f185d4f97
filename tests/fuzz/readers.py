"""Checks of everything that reads pictures and labels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from memorysam.data.dataset_file import LabelMap
from memorysam.data.readers import as_stored, read_image, read_label
from memorysam.errors import DataError

from . import oracles
from .engine import Target, Wrong
from .images import MAKERS

_MAP = LabelMap({0: 0, 1: 1, 2: 255, 7: 2, 300: 1, 65535: 0}, {0: "a", 1: "b", 2: "ignore", 7: "c"}, None)


def _try(read: Callable[..., np.ndarray], *words: object) -> np.ndarray | None:
    """Return what a reader returns, None if it says no in words for people."""
    try:
        return read(*words)
    except DataError as error:
        if not (error.where and error.what and error.fix):
            raise Wrong(f"a message that does not say where or what to do: {error}") from None
        return None


def _same(ours: np.ndarray, theirs: np.ndarray, tolerance: int = 0) -> None:
    if ours.shape != theirs.shape:
        raise Wrong(f"shape {ours.shape} instead of {theirs.shape}")
    if tolerance:
        good = np.abs(ours.astype(int) - theirs.astype(int)).max(initial=0) <= tolerance
    else:
        good = np.array_equal(ours, theirs)
    if not good:
        raise Wrong(f"other values: {ours.ravel()[:12]} instead of {theirs.ravel()[:12]}")


def _is_image(image: np.ndarray) -> None:
    if image.ndim != 3 or image.dtype not in (np.uint8, np.uint16, np.float32) or not image.size:
        raise Wrong(f"{image.shape} {image.dtype} is no image")
    if not np.isfinite(image).all():
        raise Wrong("NaN or infinity")


def _is_label(label: np.ndarray, path: Path) -> None:
    if label.ndim != 2 or label.dtype.kind not in "ui":
        raise Wrong(f"{label.shape} {label.dtype} is no label")
    ids = _try(_MAP.apply, label, path)
    known = all(int(value) in _MAP.ids for value in np.unique(label))
    if (ids is not None) != known:
        raise Wrong("a label with values outside the map was taken, or one with values inside it was not")
    if ids is not None and [_MAP.ids[int(value)] for value in label.ravel()] != ids.ravel().tolist():
        raise Wrong("other class ids")


def check_png(data: bytes, folder: Path) -> bool | str:
    """Refused, or what the specification says."""
    path = folder / "x.png"
    path.write_bytes(data)
    image, label = _try(read_image, path), _try(read_label, path, 0)
    for ours, indices in ((image, False), (label, True)):
        if ours is None or not data.startswith(b"\x89PNG\r\n\x1a\n"):
            continue
        try:
            theirs = oracles.read_png(data, indices)
        except oracles.Damaged as error:
            raise Wrong(f"a damaged PNG was read ({'label' if indices else 'image'}): {error}") from None
        _same(ours if ours.ndim == 3 else ours[..., None], theirs if ours.ndim == 3 else theirs[..., :1])
    return _verdict(image, label, path, "sure")


def check_jpeg(data: bytes, folder: Path) -> bool | str:
    """Refused, or what Pillow reads, nearly: the two may be built with another libjpeg."""
    path = folder / "x.jpg"
    path.write_bytes(data)
    image, label = _try(read_image, path), _try(read_label, path, 0)
    theirs = oracles.read_jpeg(data) if image is not None and data.startswith(b"\xff\xd8\xff") else None
    if image is not None and theirs is not None and theirs.shape == image.shape:
        _same(image, theirs, 4)
        return _verdict(image, label, path, "sure")
    return _verdict(image, label, path)


def check_tiff(data: bytes, folder: Path) -> bool | str:
    """Refused, or what libtiff reads where it does."""
    path = folder / "x.tif"
    path.write_bytes(data)
    image, label = _try(read_image, path), _try(read_label, path, 0)
    others = [] if image is None else oracles.read_tiff(data)
    theirs = [other for other in others if other.shape == image.shape and other.any()]
    if theirs:
        if not any(_equal_or_negative(image, other) for other in theirs):
            raise Wrong(f"other values: {image.ravel()[:12]} instead of {theirs[0].ravel()[:12]}")
        return _verdict(image, label, path, "sure")
    return _verdict(image, label, path)


def _equal_or_negative(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether both are the same, or one shows what it reads as a negative, as is meant by `white is zero`."""
    most = 0 if ours.dtype.kind == "f" else int(np.iinfo(ours.dtype).max)
    if ours.dtype == np.float32 and theirs.dtype.kind == "u":  # whole numbers with a sign, which they do without
        theirs = theirs.view(theirs.dtype.str.replace("u", "i"))
    if ours.dtype == np.float32 and theirs.dtype.str[1:] == "i4" and np.array_equal(ours.view(theirs.dtype), theirs):
        return True  # Pillow before 13 reads floats so, where the entry that says so is no SHORT
    return np.array_equal(ours, theirs) or (most > 0 and np.array_equal(most - ours, theirs))


def check_npy(data: bytes, folder: Path) -> bool | str:
    """Refused, or what NumPy reads."""
    path = folder / "x.npy"
    path.write_bytes(data)
    image, label = _try(read_image, path), _try(read_label, path, 0)
    if data.startswith(b"\x93NUMPY"):
        if image is not None:
            theirs = oracles.read_npy(data)
            _same(image, as_stored(theirs, path))
        if label is not None:
            _same(label.astype(np.float64), oracles.read_npy(data)[..., 0].astype(np.float64))
    return _verdict(image, label, path, "sure")


def _verdict(image: np.ndarray | None, label: np.ndarray | None, path: Path, how: bool | str = True) -> bool | str:
    if image is not None:
        _is_image(image)
    if label is not None:
        _is_label(label, path)
    return how if image is not None or label is not None else False


TARGETS = {
    "png": Target(MAKERS["png"], check_png, "png"),
    "jpeg": Target(MAKERS["jpeg"], check_jpeg, "jpg"),
    "tiff": Target(MAKERS["tiff"], check_tiff, "tif"),
    "npy": Target(MAKERS["npy"], check_npy, "npy"),
}
