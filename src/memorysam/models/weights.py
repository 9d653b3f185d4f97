"""Weights in and out: every published checkpoint format in, our own in and out, strictly.

Each tensor of a file is loaded, or is on a short named list of what may be new or unused; anything else is an error
that lists it.
"""

import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memorysam.config import ModelSettings
from memorysam.errors import WeightsError, listing
from memorysam.files import read_header, read_tensors, write_tensors
from memorysam.models.base import LORA, SegmentationModel
from memorysam.models.factory import create
from memorysam.models.formats import KNOWN, translate
from memorysam.models.formats.translated import Translated
from memorysam.models.hub import OLDER, fetch
from memorysam.models.lora import require_unmerged
from memorysam.models.systems import SYSTEMS
from memorysam.spec import Task
from memorysam.strict import build

FORMAT = 1
CHECKPOINTS = ("best.safetensors", "last.safetensors")
"""What a run folder is asked for, in this order."""

_PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".tar")
_OURS = re.compile(r"^stems\.|^prototypes\.")
"""What this package adds to the published systems: other ways to three channels, the paper's form of prototypes."""


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor."""

    source: str
    kind: str
    loaded: int
    new: tuple[str, ...]
    unused: tuple[str, ...]
    frozen: int
    trainable: int
    groups: dict[str, int] = field(default_factory=dict)
    """Number of new tensors by part."""

    def __str__(self) -> str:
        text = f"{self.source}: {self.kind}; tensors: {self.loaded} loaded, {len(self.new)} new"
        if self.new:
            text += f" ({', '.join(f'{part} {amount}' for part, amount in self.groups.items())})"
        if self.unused:
            text += f", {len(self.unused)} not needed"
        return f"{text}; {self.frozen} frozen, {self.trainable} trainable"


def load(
    source: str | Path, task: Task | None = None, settings: ModelSettings | None = None, *, rehead: bool = False
) -> tuple[SegmentationModel, LoadReport]:
    """Build a model from a file, a folder or a Hub id, and say what was loaded.

    Args:
        source: our checkpoint (`.safetensors`, or a run folder: its best, else its last), a released checkpoint of a
            system, or weights of its backbone: a `.pt` or `.pth`, a folder or a Hub id in `transformers` format.
        task: modalities, classes and image size. Our checkpoints carry theirs; for them, None, or what the model shall
            do from now on. All others need one.
        settings: of the model, for what the file does not fix; `backbone` and `weights` are taken from the file.
        rehead: allow other classes than a checkpoint of ours has, with a new decoder head.

    Raises:
        WeightsError: nothing there, an unknown format, or any tensor missing, unexpected or of another shape.
    """
    path = locate(source)
    header = read_header(path) if path.suffix == ".safetensors" else None
    if header is not None and "model" in header:
        found = _ours(path)
        wanted = ModelSettings(**header["model"]) if settings is None else settings
        carried = build(Task, header["task"], path)
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
    return model, _fill(model, found, path, new_head, ours=header is not None and "model" in header)


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
    """Return the file or folder that holds the weights; fetch a Hub id.

    Raises:
        WeightsError: neither a file, nor a folder with weights, nor a Hub id that can be fetched.
    """
    path = Path(source)
    if path.is_dir():
        for name in CHECKPOINTS:
            if (path / name).is_file():
                return path / name
        if (path / "config.json").is_file():
            return path
        raise WeightsError(
            "this folder holds no weights",
            where=path,
            expected=f"{' or '.join(CHECKPOINTS)}, or a folder in `transformers` format, with config.json",
        )
    if path.is_file():
        return path
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)) and not path.suffix:
        return fetch(str(source))
    raise WeightsError(
        "there are no weights here",
        where=path,
        expected="a file, a folder, or a Hub id such as facebook/sam2.1-hiera-tiny",
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
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError("this file holds something else than weights", where=path, expected="named tensors")
    return {str(name): tensor for name, tensor in content.items()}


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


def _ours(path: Path) -> Translated:
    tensors, head = read_tensors(path)
    if head is None or head.get("format") != FORMAT:
        raise WeightsError(f"this checkpoint has format {head and head.get('format')}", where=path, expected=FORMAT)
    model = {name: tensor for name, tensor in tensors.items() if not name.startswith("training/")}
    settings = ModelSettings(**head["model"])
    return Translated(
        f"{settings.name} checkpoint",
        SYSTEMS[settings.name].family,
        settings.backbone,
        model,
        masks=len(head["task"]["classes"]["names"]),
        system=settings.name,
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


def _fill(model: SegmentationModel, found: Translated, path: Path, new_head: bool, ours: bool) -> LoadReport:
    """Copy the tensors into the model; everything that does not fit is on a named list or an error."""
    own = model.state_dict()
    whole = found.system is not None
    theirs = (
        {model.own_name(name): t for name, t in found.tensors.items()}
        if whole
        else {p + name: t for p in model.BASE for name, t in found.tensors.items()}
    )
    follows = model.FOLLOWS_CLASSES

    def optional(name: str) -> bool:
        """Whether the file may lack a tensor of the model, or have one that the model lacks."""
        return bool(_OURS.search(name) or (ours and LORA.search(name)))

    def added(name: str) -> bool:
        """Whether the method adds a tensor to its backbone."""
        return not whole and (not name.startswith(model.BASE) or bool(model.ADDED.search(name)))

    unused = [n for n in theirs if n not in own and (optional(n) or (not whole and model.UNUSED.search(n)))]
    theirs = {n: t for n, t in theirs.items() if n not in unused and not (new_head and follows.search(n))}
    for name, tensor in theirs.items():
        if name in own and own[name].shape != tensor.shape:
            theirs[name] = model.fit(name, tensor, own[name].shape)
    absent = [name for name in own if name not in theirs]
    new = [n for n in absent if optional(n) or added(n) or (new_head and follows.search(n))]
    missing = [name for name in absent if name not in new]
    unexpected = [name for name in theirs if name not in own]
    reshaped = [
        f"{name} {list(theirs[name].shape)} instead of {list(own[name].shape)}"
        for name in own
        if name in theirs and theirs[name].shape != own[name].shape
    ]
    if missing or unexpected or reshaped:
        problems = [
            f"{len(names)} {what}: {listing(names, 5)}"
            for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
            if names
        ]
        raise WeightsError(
            f"this file does not fit the model ({found.kind}, {found.backbone}, {found.masks} masks)",
            where=path,
            expected=f"a model of {len(model.task.classes)} classes",
            fix="; ".join(problems),
        )
    with torch.no_grad():
        for name in own:
            if name in theirs:
                own[name].copy_(theirs[name])
    trainable = sum(p.requires_grad for p in model.parameters())
    frozen = sum(not p.requires_grad for p in model.parameters())
    kind = f"{found.kind}, {found.backbone}"
    groups = Counter(_group(model, name) for name in new)
    return LoadReport(
        path.name, kind, len(own) - len(new), tuple(new), tuple(found.unused + unused), frozen, trainable, dict(groups)
    )


def _group(model: SegmentationModel, name: str) -> str:
    """Return what a tensor belongs to, for people: a part of the model, or its prototypes."""
    if name.startswith("prototypes."):
        return "prototypes"
    if model.FOLLOWS_CLASSES.search(name):
        return "decoder head"
    part = model.part_of(name)
    return {"lora": "LoRA", "stem": "stems"}.get(part, part)
