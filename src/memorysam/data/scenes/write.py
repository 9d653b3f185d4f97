"""Writes scenes to disk in the folders, names and label encoding of DELIVER, with a dataset.yaml beside them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from memorysam.data.scenes.names import CLASSES, FAILURES, MODALITIES, NONE, STORED
from memorysam.data.scenes.raster import Frame
from memorysam.data.scenes.source import ScenesSource
from memorysam.errors import DataError, listing
from memorysam.files import write_text
from memorysam.spec import Size

_FOLDERS: Final = {"rgb": "img", "depth": "hha", "event": "event", "lidar": "lidar", "label": "semantic"}
_SUFFIXES: Final = {"rgb": "rgb", "depth": "depth", "event": "event", "lidar": "lidar", "label": "semantic"}
_NAMES: Final = tuple(modality.name for modality in MODALITIES)
_SHEET: Final = "dataset.yaml"


def write_scenes(
    out: Path, counts: dict[str, int], size: Size, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Write splits of the world; what `ScenesSource` renders is read back from them exactly.

    It may be interrupted and called again, also with larger counts or for more splits: files that are there are kept.
    Only splits that are complete are named in the dataset.yaml.

    Args:
        out: folder to write to; new, empty, or written by this function with the same size and seed.
        counts: split -> number of scenes.
        size: height and width in pixels.
        seed: of the world.
        progress: told after each scene how many of how many are done.

    Returns:
        The dataset.yaml.

    Raises:
        DataError: the folder holds something else, or more scenes than asked for, or cannot be written.
    """
    sources = {split: ScenesSource(split, count, size, seed) for split, count in counts.items() if count != 0}
    header = f"# Written by memorysam: scenes of size {size[0]} x {size[1]}, seed {seed}.\n"
    complete = [split for split in _claim(out, header) if split not in sources]
    for split, source in sources.items():
        _refuse_more(out, split, source)
    sheet, total, done = out / _SHEET, sum(len(source.ids) for source in sources.values()), 0
    write_text(sheet, header + _sheet(complete))
    for split, source in sources.items():
        for index in range(len(source.ids)):
            paths = scene_files(out, split, source.ids[index])
            if not all(path.is_file() for path in paths.values()):
                frame, images = source.observe(index, _NAMES)
                for name, image in {**images, "label": stored_label(frame)}.items():
                    _put(paths[name], image)
            done += 1
            if progress is not None:
                progress(done, total)
        complete.append(split)
        write_text(sheet, header + _sheet(complete))
    return sheet


def scene_files(out: Path, split: str, name: str) -> dict[str, Path]:
    """Return the files of a scene, modality or `label` -> path; `name` is its `<condition>/<map>/<frame>`."""
    condition, place, frame = name.split("/")
    return {
        key: out / folder / condition / split / place / f"{frame}_{_SUFFIXES[key]}_front.png"
        for key, folder in _FOLDERS.items()
    }


def stored_label(frame: Frame) -> NDArray[np.uint8]:
    """Return a label as it is stored, `[H, W, 4]`: the benchmark's id plus one in red, which thing it is in the others.

    No value of green and blue is a class, so that whoever reads the wrong channel notices.
    """
    table = np.asarray([STORED[name] for name in CLASSES.names], np.uint8)
    thing = np.take(frame.surfaces.thing, frame.surface)
    green, blue = (26 + thing * step % 229 for step in (37, 101))
    channels = (np.take(table, frame.label), green, blue, np.full_like(thing, 255))
    return np.stack(channels, axis=-1).astype(np.uint8)


def _put(path: Path, image: NDArray[np.uint8]) -> None:
    """Write a PNG under another name, then rename it: what is there is whole. It is not forced onto the disk."""
    order = cv2.COLOR_RGB2BGR if image.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    _, content = cv2.imencode(".png", cv2.cvtColor(image, order), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content.tobytes())
        temporary.replace(path)
    except OSError as error:
        raise DataError(
            f"this file cannot be written: {error.strerror}",
            where=path,
            fix="free some space or choose another folder, and start again: what was written is kept",
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def _claim(out: Path, header: str) -> list[str]:
    """Return the splits that are complete in a folder, after checking that it is ours or free."""
    sheet = out / _SHEET
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return []
    text = sheet.read_text(encoding="utf-8", errors="replace") if sheet.is_file() else ""
    if not text.startswith(header):
        ours = text.startswith(header.split(":")[0])
        raise DataError(
            "this folder holds scenes of another size or seed" if ours else "this folder holds something else",
            where=out,
            expected=f"no folder, an empty one, or one whose {_SHEET} begins with: {header.strip()}",
            fix="choose another folder, or delete this one",
        )
    return list(yaml.safe_load(text)["splits"])


def _refuse_more(out: Path, split: str, source: ScenesSource) -> None:
    """Raise if a split holds scenes beyond those asked for: they would be read with the others."""
    asked = {str(scene_files(out, split, name)["rgb"]) for name in source.ids}
    more = [path for path in out.glob(f"{_FOLDERS['rgb']}/*/{split}/*/*_front.png") if str(path) not in asked]
    if more:
        raise DataError(
            f"split {split!r} already holds {len(more)} scenes beyond the {len(source.ids)} asked for",
            where=listing(sorted(more), 2),
            fix=f"ask for as many as there are or more, choose another folder, or delete {out}",
        )


def _sheet(splits: list[str]) -> str:
    """Return the dataset.yaml."""
    where = "{condition}/{split}/{map}/{frame}"
    extra = {
        "rgb": ", mean: imagenet, std: imagenet, photometric: true",
        "depth": "",
        "event": ", interpolation: nearest, resize: true",
        "lidar": ", interpolation: nearest",
    }
    files = {key: f'"{folder}/{where}_{_SUFFIXES[key]}_front.png"' for key, folder in _FOLDERS.items()}
    raw = {number: name for name, number in STORED.items() if name in CLASSES.names}
    lines = [
        "name: scenes",
        "root: .",
        "modalities:",
        *(f"  {name}: {{path: {files[name]}{extra[name]}}}" for name in _NAMES),
        "label:",
        f"  path: {files['label']}",
        "  channel: 0",
        f"  map: {{{', '.join(f'{number}: {name}' for number, name in raw.items())}, 0: ignore}}",
        f"splits: [{', '.join(splits)}]" + ("" if splits else "  # unfinished: run the same command again"),
        "classes:",
        *(f"  {name}: {list(colour)}" for name, colour in zip(CLASSES.names, CLASSES.colors, strict=True)),
        "tags:",
        f"  failure: {{from: map, values: [{', '.join(FAILURES)}], otherwise: {NONE}}}",
    ]
    return "\n".join(lines) + "\n"
