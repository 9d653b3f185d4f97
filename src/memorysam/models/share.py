"""A model as others take it: a folder with a checkpoint, a model card and a short description; the same on the Hub.

What is shared is said by a list of what may be. Nothing of a training state is, and of paths their last part at most.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memorysam.errors import MemorySAMError, WeightsError, listing
from memorysam.files import make_folder, write_json, write_text, writing_to
from memorysam.models import hub, weights
from memorysam.models.base import SegmentationModel
from memorysam.models.card import card
from memorysam.models.card_tables import Facts
from memorysam.models.known_bases import known_base
from memorysam.models.light import split
from memorysam.models.lora import require_unmerged
from memorysam.strict import read_yaml
from memorysam.tensors import read_header, write_tensors

CARD, DESCRIPTION = "README.md", "config.json"
_TOLD = ("settings", "scores", "samples", "step")
"""What of a checkpoint's header others get to see, besides its model."""
_GROUPS = ("model", "data", "augment", "train", "evaluate")
_ABSOLUTE = re.compile(r"^([/~\\]|[A-Za-z]:[/\\])")


def save(
    model: SegmentationModel,
    folder: str | Path,
    *,
    light: bool = False,
    half: bool = False,
    base: str | Path | None = None,
    license: str | None = None,
    overwrite: bool = False,
    name: str | None = None,
) -> dict[str, int]:
    """Write a model for others into a folder, which appears in one step.

    Args:
        model: with unmerged LoRA.
        folder: that is not there or empty.
        light: leave out what is equal to the weights that training started from.
        half: store numbers as float16, in half the space; whoever loads them has float32 again, rounded to 11 bits.
        base: these, where others than recorded shall be named: a file, a folder or a Hub id.
        license: of the model, as the Hub abbreviates it, such as mit; by default that of its base.
        overwrite: replace the files of a model that was saved there before.
        name: of the model on the Hub, for the card.

    Returns:
        Bytes of each file, by name.

    Raises:
        WeightsError: no base for the light form, or one that has nothing in common with the model; numbers that float16
            does not have.
        InputError: LoRA is merged.
        MemorySAMError: the folder is in use, or cannot be written.
    """
    require_unmerged(model, "what is shared")
    target = Path(folder).absolute()
    _require_free(target, overwrite)
    about = model.origin.still_true(model) if model.origin is not None else {}
    start = _start(about, base)
    told = shareable(about)
    named = None if start is None else public_name(str(start), given=base is not None)
    if light:
        tensors, on = _light(model, about, start)
        named = on["id"]
        header = weights.header(model, **told) | {"format": weights.LIGHT, "base": on}
    else:
        tensors, header = model.state_dict(), weights.header(model, **told)
    if half:
        tensors = _halved(tensors)
    text = card(model, Facts(told, named, light, name, license))
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        make_folder(temporary)
        write_tensors(temporary / weights.SHARED, tensors, header)
        write_json(temporary / DESCRIPTION, _description(model, light))
        write_text(temporary / CARD, text)
        sizes = {path.name: path.stat().st_size for path in sorted(temporary.iterdir())}
        _put(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return sizes


def push(
    model: SegmentationModel,
    name: str,
    *,
    private: bool = False,
    token: str | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    exist_ok: bool = False,
    **more: Any,
) -> tuple[str, dict[str, int]]:
    """Put a model on the Hub.

    Args:
        model: with unmerged LoRA.
        name: `user/name`.
        private: whether only its owner sees it.
        token: of access; by default that of HF_TOKEN or of the login.
        revision: branch; made if it is not there.
        commit_message: what this version is.
        exist_ok: add a commit to a model that is there already.
        more: light, half, base and license, as `save` takes them.

    Returns:
        The address of the commit, and the bytes of each file.

    Raises:
        WeightsError: as for `save`; or there is no token, no right, no network, or a model of that name.
    """
    token = hub.require_access(name, token)
    with tempfile.TemporaryDirectory(prefix="memorysam-") as place:
        folder = Path(place) / "model"
        sizes = save(model, folder, name=name, **more)
        address = hub.upload(
            folder,
            name,
            message=commit_message or f"Model of memorysam {version('memorysam')}",
            private=private,
            token=token,
            revision=revision,
            exist_ok=exist_ok,
        )
    return address, sizes


def shareable(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a checkpoint's header may be shown to others: no folders, no names of users.

    Args:
        about: the header, or what is left of it.
    """
    told = {key: about[key] for key in _TOLD if key in about}
    settings = told.get("settings") or {}
    groups = {key: dict(settings[key]) for key in _GROUPS if key in settings}
    if "dataset" in groups.get("data", {}):
        groups["data"] |= {"dataset": _dataset_name(str(groups["data"]["dataset"])), "root": None, "cache": "auto"}
    if groups.get("model", {}).get("weights") is not None:
        groups["model"]["weights"] = public_name(str(groups["model"]["weights"]))
    told.pop("settings", None)
    if "data" in groups:  # all of them: what is left of a model that was changed says only where it started
        told["settings"] = groups
    shortened: dict[str, Any] = _without_paths(told)
    return shortened


def public_name(source: str, given: bool = False) -> str:
    """Return what weights are called for others: a Hub id, a file's name, or that of a folder that everybody knows.

    Args:
        source: a path or a Hub id; `user/name` may be either.
        given: whether somebody wrote it in order to be shared.
    """
    last = re.split(r"[/\\]", source.rstrip("/\\"))[-1]
    owner = source.partition("/")[0]
    known = known_base(last)
    if hub.is_id(source) and (given or (known and known.hub and owner in known.hub) or hub.is_cached(source)):
        return source
    if last.lower().endswith(hub.FILES) or known or source == "random":
        return last
    return "a folder that is not public"


def _start(about: Mapping[str, Any], base: str | Path | None) -> str | Path | None:
    """Return what training started from: as given, or as the checkpoint has it; None where there is nothing."""
    recorded = about["base"]["id"] if "base" in about else about.get("settings", {}).get("model", {}).get("weights")
    start: str | Path | None = recorded if base is None else base
    return None if start == "random" else start


def _light(
    model: SegmentationModel, about: Mapping[str, Any], start: str | Path | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the tensors of the light form and what it says of its base."""
    if start is None:
        scratch = "settings" in about
        raise WeightsError(
            "this model was trained from scratch: there is no base that a light form could build on"
            if scratch
            else "it is not recorded which weights this model started from",
            fix="share the whole model, without the light form" if scratch else "give base=...: a file or a Hub id",
        )
    try:
        file = weights.locate(start)
    except WeightsError as error:
        raise WeightsError(
            "the weights that training started from are needed for the light form, and are not where they were",
            where=start,
            expected="a file, a folder or a Hub id",
            fix=f"give base=... (--base): where they are now ({error.what})",
        ) from None
    if weights.read_about(file).get("format") == weights.LIGHT:
        raise WeightsError(
            "training started from a light checkpoint, on which no other can build",
            where=file,
            fix="give base=... (--base): the weights that it builds on",
        )
    if hub.is_id(start):
        name = Path(start).as_posix()
    elif file.parent.name == "snapshots":  # a folder in the cache of the Hub
        name = file.parents[1].name.removeprefix("models--").replace("--", "/", 1)
    else:
        name = file.name
    return split(model, weights.content(file), name)


def _halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors whose floating point numbers are float16.

    Raises:
        WeightsError: one is too large for that.
    """
    halved = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    lost = [name for name, tensor in halved.items() if not torch.isfinite(tensor).all()]
    if lost:
        raise WeightsError(
            f"float16 ends at 65504, and this model has larger numbers: {listing(lost, 4)}",
            fix="share it in full precision, without half (--half)",
        )
    return halved


def _dataset_name(source: str) -> str:
    """Return what a data set is called: by its dataset.yaml, else by the name of that file."""
    path = Path(source)
    if path.name == source and path.suffix not in (".yaml", ".yml"):
        return source  # one that comes with the package
    file = path / "dataset.yaml" if path.is_dir() else path
    if file.is_file():
        try:
            content = read_yaml(file)
        except MemorySAMError:
            content = {}
        if isinstance(content.get("name"), str):
            return str(content["name"])
    stem = re.split(r"[/\\]", source)[-1].rpartition(".")[0]
    return stem if stem and stem != "dataset" else "unnamed"


def _without_paths(value: Any) -> Any:
    """Cut absolute paths anywhere down to their last part."""
    if isinstance(value, Mapping):
        return {key: _without_paths(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_paths(inner) for inner in value]
    if isinstance(value, str) and _ABSOLUTE.match(value):
        return re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    return value


def _description(model: SegmentationModel, is_light: bool) -> dict[str, Any]:
    """Return what other programs may want to know without reading the checkpoint; this package does not read it."""
    return {
        "library_name": "memorysam",
        "memorysam_version": version("memorysam"),
        "checkpoint": weights.SHARED,
        "light": is_light,
        "model": model.settings(),
        **model.task.model_dump(mode="json"),
    }


def _require_free(target: Path, overwrite: bool) -> None:
    """Raise unless a folder can be written without losing anything.

    Raises:
        MemorySAMError: a file, or a folder with something else than a model saved before.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    checkpoint, run = target / weights.SHARED, [target / name for name in weights.CHECKPOINTS]
    shared_before = checkpoint.is_file() and "model" in (read_header(checkpoint) or {})
    if overwrite and shared_before and not any(path.exists() for path in run):
        return
    raise MemorySAMError(
        "there is something here already",
        where=target,
        expected="a folder that is not there or empty",
        fix="choose another; overwrite=True (--overwrite) replaces a model that was shared there before",
    )


def _put(temporary: Path, target: Path) -> None:
    """Move a folder to its place; into one that is there, file by file."""
    with writing_to(target):
        if target.exists() and any(target.iterdir()):
            for path in sorted(temporary.iterdir()):
                path.replace(target / path.name)
            return
        if target.exists():
            target.rmdir()
        temporary.replace(target)
