"""Files that a browser sent: none is opened that does not lie where uploads lie."""

import re
from collections.abc import Mapping
from pathlib import Path

from memorysam.data.raw import Image
from memorysam.data.readers import conform, read_image
from memorysam.errors import DataError, InputError, listing
from memorysam.spec import Task

LARGEST = 512 * 2**20
"""Numbers in the probabilities of one image; they are held in memory, several times."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


def checked(path: str | Path, folder: Path) -> Path:
    """Return the path of an upload without links.

    Raises:
        DataError: it has `..` in it, or does not lie in `folder`.
    """
    given = Path(path)
    real = given.resolve()
    if ".." in given.parts or not real.is_relative_to(folder.resolve()) or not real.is_file():
        raise DataError("this is no file that was uploaded", where=given.name, fix="choose the file again on this page")
    return real


def safe_stem(name: str) -> str:
    """Return a name for files that are made of it: letters, digits, `_` and `-`, at least one and at most 60."""
    return _UNSAFE.sub("_", Path(name.replace("\\", "/")).stem).strip("_")[:60] or "image"


def read_uploads(files: Mapping[str, str | Path | None], folder: Path, task: Task) -> tuple[str, dict[str, Image]]:
    """Read what was uploaded for each modality.

    Args:
        files: modality -> file; None where there is none.
        folder: where uploads lie.
        task: of the model.

    Returns:
        A name for the scene, and the stored values `[H, W, K]` by modality, in the model's order.

    Raises:
        DataError, InputError: no sensor at all, a path from elsewhere, a file that cannot be read or does not fit its
            modality, images of different sizes, or of one that is too large to be shown.
    """
    given = {name: checked(path, folder) for name, path in files.items() if path is not None}
    if not set(given) & set(task.sensors):
        raise InputError("no image was chosen", expected=f"a file for one or more of: {listing(task.sensors)}")
    if missing := [name for name in task.regions if name not in given]:
        raise InputError(f"the map of regions is missing: {listing(missing)}", fix="choose a file for it too")
    images = {}
    for modality in task.modalities:
        if (path := given.get(modality.name)) is None:
            continue
        try:
            images[modality.name] = conform(read_image(path), modality, Path(path.name))
        except DataError as error:
            where = f"{modality.name}: {path.name}"
            raise DataError(error.what, where=where, expected=error.expected, fix=error.fix) from None
    sizes = {name: f"{image.shape[0]}x{image.shape[1]}" for name, image in images.items()}
    if len(set(sizes.values())) > 1:
        raise DataError(
            "images of different sizes: " + ", ".join(f"{name} {size}" for name, size in sizes.items()),
            expected="registered images of one size",
        )
    first = next(iter(images))
    height, width = images[first].shape[:2]
    if height * width * len(task.classes) > LARGEST:
        raise InputError(
            f"{height}x{width} pixels and {len(task.classes)} classes are more than this page can hold",
            where=given[first].name,
            fix="use memorysam predict, or make the images smaller",
        )
    return safe_stem(given[next(name for name in task.sensors if name in given)].name), images
