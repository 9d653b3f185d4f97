"""Weights in and out: every published checkpoint format in, our own in and out, strictly.

Each tensor of a file is loaded, or is on a short named list of what may be new or unused; anything else is an error
that lists it.
"""

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memorysam.config import ModelSettings
from memorysam.errors import WeightsError, listing
from memorysam.models.base import SegmentationModel
from memorysam.models.factory import create
from memorysam.models.filling import LoadReport, fill
from memorysam.models.formats import KNOWN, translate
from memorysam.models.formats.translated import Translated
from memorysam.models.hub import OLDER, fetch, is_id
from memorysam.models.light import missing_tensors
from memorysam.models.lora import require_unmerged
from memorysam.models.shipped import shipped
from memorysam.models.systems import SYSTEMS
from memorysam.spec import Task
from memorysam.strict import build
from memorysam.tensors import read_header, read_tensors, write_tensors

FORMAT, LIGHT = 1, 2
"""Of our checkpoints: whole ones, and those that hold what differs from their base."""
CHECKPOINTS = ("best.safetensors", "last.safetensors")
"""What a run folder is asked for, in this order."""
SHARED = "model.safetensors"
"""What a folder that is made for others holds; `transformers` calls its own weights the same."""

EXPORTED = (".onnx", ".pt2")
"""Of files that hold no weights to go on from."""
_LONGEST_ID = 255
"""Characters of a base's name, which may be that of a file."""
_PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".tar")


def load(
    source: str | Path,
    task: Task | None = None,
    settings: ModelSettings | None = None,
    *,
    rehead: bool = False,
    base: str | Path | None = None,
) -> tuple[SegmentationModel, LoadReport]:
    """Build a model from a file, a folder or a Hub id, and say what was loaded.

    Args:
        source: our checkpoint (`.safetensors`, or a run folder: its best, else its last), a released checkpoint of a
            system, or weights of its backbone: a `.pt` or `.pth`, a folder or a Hub id in `transformers` format.
        task: modalities, classes and image size. Our checkpoints carry theirs; for them, None, or what the model shall
            do from now on. All others need one.
        settings: of the model, for what the file does not fix; `backbone` and `weights` are taken from the file.
        rehead: allow other classes than a checkpoint of ours has, with a new decoder head.
        base: for a light checkpoint, the weights that its training started from; by default it looks for them.

    Raises:
        WeightsError: nothing there, an unknown format, or any tensor missing, unexpected or of another shape; another
            base than the light checkpoint's, or one that cannot be found.
    """
    path = locate(source)
    header = read_header(path) if path.suffix == ".safetensors" else None
    if base is not None and (header is None or "base" not in header):
        raise WeightsError("this is no light checkpoint: it needs no base", where=path, fix="leave the base out")
    if header is not None and "model" in header:
        found = _ours(path, base)
        own, carried = _said(header, path)
        wanted = own if settings is None else settings
        task = task or carried
        new_head = rehead and task.classes.names != carried.classes.names
        if not new_head:
            _same_classes(carried, task, path)
    else:
        found = published(path)
        wanted = settings or ModelSettings(name=found.system or "memorysam")
        if task is None:
            raise WeightsError(
                f"this file holds {found.kind}, which does not say what its {found.masks} masks and its images are",
                where=path,
                fix="give modalities=[...], classes=[...] and image_size=...",
            )
        new_head = found.system is None and found.masks != len(task.classes)
    _same_system(found, wanted, path)
    wanted = wanted.model_copy(update={"backbone": found.backbone, **found.settings})
    model = create(wanted, task, from_scratch=False)
    return model, fill(model, found, path, new_head, ours=header is not None and "model" in header)


def _same_system(found: Translated, wanted: ModelSettings, path: Path) -> None:
    """Raise if a file cannot be the start of the model wanted."""
    if found.system is not None and found.system != wanted.name:
        raise WeightsError(
            f"this file holds another system: {found.system}",
            where=path,
            expected=f"weights for {wanted.name}, which model.name asks for",
            fix=f"set model.name to {found.system}",
        )
    family = SYSTEMS[wanted.name].family
    if found.family != family:
        fitting = [name for name, system in SYSTEMS.items() if system.family == found.family]
        raise WeightsError(
            f"this file holds {found.kind}, with which {wanted.name} cannot start",
            where=path,
            expected=f"weights of the {family} family",
            fix=f"set model.name to one of: {', '.join(fitting)}",
        )


def carried_task(path: Path) -> Task | None:
    """Return the task that a checkpoint of ours carries; None for all other files."""
    head = read_header(path) if path.suffix == ".safetensors" and path.is_file() else None
    return build(Task, head["task"], path) if head is not None and "task" in head else None


def read_about(path: Path) -> dict[str, Any]:
    """Return what a checkpoint of ours says besides its model: settings, scores, step. Empty for all other files."""
    return (read_header(path) or {}) if path.suffix == ".safetensors" and path.is_file() else {}


def locate(source: str | Path) -> Path:
    """Return the file or folder that holds the weights.

    Args:
        source: a path; or a Hub id, which is fetched, `user/name` or `user/name@revision`; or the name of a model that
            comes with the package. What lies there under a name comes first.

    Raises:
        WeightsError: none of these, or an exported file.
    """
    path = Path(source)
    if path.is_dir():
        return _within(path)
    if path.is_file() and path.suffix in EXPORTED:
        raise WeightsError(
            "an exported file can predict and nothing else", where=path, fix="use the checkpoint that it is from"
        )
    if path.is_file():
        return path
    if is_id(source):
        return _within(fetch(path.as_posix()))
    if (known := shipped()).get(path.as_posix()) is not None:
        return _within(known[path.as_posix()])
    raise WeightsError(
        "there are no weights here",
        where=path,
        expected=f"a file, a folder, a Hub id such as facebook/sam2.1-hiera-tiny, or {listing(known)} (built in)",
    )


def _within(folder: Path) -> Path:
    """Return our checkpoint in a folder, or the folder if it is in `transformers` format."""
    for name in CHECKPOINTS:
        if (folder / name).is_file():
            return folder / name
    if (folder / SHARED).is_file() and "model" in (read_header(folder / SHARED) or {}):
        return folder / SHARED
    if (folder / "config.json").is_file():
        return folder
    raise WeightsError(
        "this folder holds no weights",
        where=folder,
        expected=f"{' or '.join(CHECKPOINTS)}, what save_pretrained writes, or a folder in `transformers` format",
    )


def save(path: Path, model: SegmentationModel, **more: object) -> None:
    """Write a model with its task and settings as one self-contained `.safetensors` file, atomically.

    Args:
        path: the file.
        model: with unmerged LoRA.
        more: JSON to keep with it, such as how it was trained and scored.
    """
    require_unmerged(model, "a checkpoint")
    write_tensors(path, model.state_dict(), header(model, **more))


def header(model: SegmentationModel, **more: object) -> dict[str, Any]:
    """Return what a checkpoint says of its model besides the tensors."""
    return {"format": FORMAT, "task": model.task.model_dump(mode="json"), "model": model.settings(), **more}


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a published file or of a `transformers` folder, under the names they have there."""
    if path.is_dir():
        parts = sorted(path.glob("*.safetensors")) or sorted(path.glob(OLDER))
        if not parts:
            raise WeightsError(f"this folder holds neither a .safetensors file nor {OLDER}", where=path)
        return {name: tensor for part in parts for name, tensor in read_state(part).items()}
    if path.suffix == ".safetensors":
        return read_tensors(path)[0]
    if path.suffix not in _PICKLED:
        raise WeightsError(
            f"this is no file of weights: {path.suffix or 'no'} suffix",
            where=path,
            expected=f".safetensors, {', '.join(_PICKLED)}",
        )
    return _unpickle(path)


def _unpickle(path: Path) -> dict[str, Tensor]:
    """Read a `.pt` file without running code from it."""
    try:
        with warnings.catch_warnings(action="ignore"):  # about files of other kinds, which the message below is for
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception:  # noqa: BLE001  anything may be in a file that is not what it claims
        raise WeightsError(
            "this is not a readable file of tensors",
            where=path,
            expected="named tensors as torch.save writes them; anything that would have to run code is refused",
            fix="use another copy; a checkpoint that holds more than tensors must be saved anew as a state dict",
        ) from None
    for key in ("model", "model_state_dict", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(map(_is_plain, content.values())):
        raise WeightsError("this file holds something else than weights", where=path, expected="named tensors")
    return {str(name): tensor for name, tensor in content.items()}


def _is_plain(value: object) -> bool:
    """Whether a value is a tensor whose numbers all lie in memory; a file can hold others."""
    dense = isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
    return dense and not value.is_quantized and not value.is_nested  # type: ignore[attr-defined]


def published(path: Path) -> Translated:
    """Return the tensors of a published file under our names, and what kind of file it is.

    Raises:
        WeightsError: not readable, or of an unknown kind.
    """
    state = read_state(path)
    try:
        found = translate(state)
    except WeightsError as error:  # of a kind that is known and of no use; a translator knows no path
        raise WeightsError(error.what, where=path, expected=error.expected, fix=error.fix) from None
    if found is None:
        raise WeightsError(
            "these weights are not of a known kind",
            where=path,
            expected=f"{KNOWN}, or a memorysam checkpoint",
            fix=f"the file has {len(state)} tensors: {listing(state, 4)}",
        )
    return found


def content(path: Path) -> Translated:
    """Return the tensors of any file of weights, ours or published.

    Raises:
        WeightsError: not readable, or of an unknown kind.
    """
    return _ours(path) if "model" in read_about(path) else published(path)


def _ours(path: Path, base: str | Path | None = None) -> Translated:
    tensors, head = read_tensors(path)
    if head is None or head.get("format") not in (FORMAT, LIGHT):
        raise WeightsError(f"this checkpoint has format {head and head.get('format')}", where=path, expected=FORMAT)
    kind = "checkpoint"
    settings, task = _said(head, path)
    if head["format"] == LIGHT:
        about = _base_of(head, path)
        file = find_base(about, path) if base is None else locate(base)
        if read_about(file).get("format") == LIGHT:  # two of them could name each other for ever
            raise WeightsError("the base of a light checkpoint is a light checkpoint itself", where=file)
        tensors |= missing_tensors(about, content(file), file)
        kind = f"checkpoint, with what it has in common with {about['id']}"
    model = {name: tensor for name, tensor in tensors.items() if not name.startswith("training/")}
    return Translated(
        f"{settings.name} {kind}",
        SYSTEMS[settings.name].family,
        settings.backbone,
        model,
        masks=len(task.classes),
        system=settings.name,
    )


def _said(head: Mapping[str, Any], path: Path) -> tuple[ModelSettings, Task]:
    """Return the settings and the task that a checkpoint of ours carries.

    Raises:
        SettingsError: they are none.
    """
    return build(ModelSettings, head.get("model", ""), path), build(Task, head.get("task", ""), path)


def _base_of(head: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return what a light checkpoint says of its base, after checking that it says it."""
    about: Any = head.get("base")
    words = ("id", "sha256", "kind", "backbone")
    whole = isinstance(about, dict) and all(isinstance(about.get(word), str) for word in words)
    whole = whole and len(about["id"]) <= _LONGEST_ID
    tensors = about.get("tensors") if isinstance(about, dict) else None
    if not whole or not isinstance(tensors, dict) or not all(isinstance(name, str) for name in tensors.values()):
        raise WeightsError("this light checkpoint does not say what its base is", where=path, fix="use another copy")
    found: dict[str, Any] = about
    return found


def find_base(about: Mapping[str, Any], path: Path) -> Path:
    """Return the base of a light checkpoint: a file beside it or in the working folder, or a model on the Hub.

    Args:
        about: what the checkpoint says of its base.
        path: of the checkpoint.

    Raises:
        WeightsError: it is in none of these places.
    """
    name = str(about["id"])
    inside = not Path(name).is_absolute() and ".." not in Path(name).parts  # a file of others shall not point anywhere
    places = [folder / name for folder in (path.parent, Path()) if inside and (folder / name).exists()]
    if places or is_id(name):
        return locate(places[0] if places else name)
    raise WeightsError(
        f"this is a light checkpoint: it needs the weights that its training started from, {name}",
        where=path,
        expected=f"{name} ({about['kind']}, {about['backbone']}) beside it or in the working folder",
        fix='say where they are: memorysam.load(..., base="PATH OR HUB ID"), or --base',
    )


def _same_classes(carried: Task, task: Task, path: Path) -> None:
    if task.classes.names == carried.classes.names:
        return
    raise WeightsError(
        "this checkpoint is for other classes",
        where=path,
        expected=f"{len(task.classes)} classes: {listing(task.classes.names)}",
        fix=f"it has {len(carried.classes)}: {listing(carried.classes.names)}; to train a new head, set model.rehead",
    )
