"""From a path to a model that is ready to predict."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from memorysam.config import ModelSettings
from memorysam.errors import SettingsError, WeightsError, listing
from memorysam.models import weights
from memorysam.models.origin import Origin
from memorysam.predict import Predictor
from memorysam.spec import Classes, Colour, Modality, Size, Task, as_classes, as_modality
from memorysam.strict import build


def load(
    path: str | Path,
    *,
    modalities: Sequence[str | Mapping[str, Any] | Modality] | None = None,
    classes: Sequence[str] | Mapping[str, Colour] | Classes | None = None,
    image_size: int | Size | None = None,
    device: str = "auto",
    verbose: bool = True,
    base: str | Path | None = None,
    **settings: Any,
) -> Predictor:
    """Load a model, ready to predict.

    Args:
        path: a memorysam checkpoint or run folder; or a SAM2 or MemorySAM-release file, a folder or a Hub id,
            `user/name` or `user/name@revision`.
        modalities: names, or mappings of `Modality` fields; needed only for files that do not carry them. The maps of
            regions that a file carries stay.
        classes: names, or names with colours; likewise.
        image_size: what the network sees; one number for a square, or height and width; likewise.
        device: "auto" takes a GPU where there is one.
        verbose: print what was loaded.
        base: the weights that the training of a light checkpoint started from, by default where it says.
        settings: fields of `ModelSettings`, such as `lora_rank=8`, for files that do not carry them or to depart from
            what a file carries.

    Raises:
        WeightsError, SettingsError: see `models.weights.load`.
    """
    chosen_device = _device(device)
    file = weights.locate(path)
    carried = weights.carried_task(file)
    task = None
    if carried is not None or (modalities is not None and classes is not None):
        task = _task(carried, modalities, classes, image_size)
    if carried is not None and task is not None:
        _same_sensors(carried, task, file)
    about = weights.read_about(file)
    chosen = build(ModelSettings, {**about.get("model", {}), **settings}, "load(...)") if settings else None
    model, report = weights.load(file, task, chosen, base=base)
    if carried is not None:
        model.origin = Origin.of(model, about, carried)
    if verbose:
        print(report)  # noqa: T201
    return Predictor(model.to(chosen_device).eval())


def _same_sensors(carried: Task, task: Task, path: Path) -> None:
    """Raise if a checkpoint shall read its sensors in another way than it was trained to.

    Raises:
        WeightsError: names the modality.
    """
    theirs = {m.name: m for m in carried.modalities}
    for modality in task.modalities:
        if modality != theirs.get(modality.name):
            raise WeightsError(
                f"this checkpoint was trained for another {modality.name!r}, or for none",
                where=path,
                expected=str(theirs.get(modality.name) or listing(theirs)),
                fix="leave modalities out: the checkpoint knows its own; to train on others, start from it",
            )


def _device(name: str) -> torch.device:
    """Return the device of that name.

    Raises:
        SettingsError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(
            f"the device {name!r} cannot be used here",
            where="device",
            expected="auto, cpu, or cuda where there is a GPU and a PyTorch built for it",
            fix=str(error).splitlines()[0],
        ) from None
    return device


def _task(
    carried: Task | None,
    modalities: Sequence[str | Mapping[str, Any] | Modality] | None,
    classes: Sequence[str] | Mapping[str, Colour] | Classes | None,
    image_size: int | Size | None,
) -> Task:
    """Join what a file carries with what was given; what was given wins, and `weights.load` checks that it fits."""
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    known = {m.name: m for m in carried.modalities} if carried else {}
    chosen = [known.get(m) or _named(m) if isinstance(m, str) else m for m in modalities or known]
    named = {_named_by(modality) for modality in chosen}
    values: dict[str, Any] = {
        "modalities": chosen + [m for m in known.values() if m.role == "regions" and m.name not in named],
        "classes": _classes(carried, classes),
        "image_size": size or (carried.image_size if carried else (1024, 1024)),
    }
    return build(Task, values, "load(...)")


def _named(name: str) -> Modality | dict[str, str]:
    """Return the modality that a name alone stands for, or what will be told to be wrong with the name."""
    try:
        return as_modality(name)
    except ValidationError:
        return {"name": name}


def _named_by(modality: Modality | Mapping[str, Any]) -> object:
    return modality.name if isinstance(modality, Modality) else modality.get("name")


def _classes(carried: Task | None, given: Sequence[str] | Mapping[str, Colour] | Classes | None) -> Classes:
    """Return the classes; names alone that the file carries keep their colours."""
    if carried is None or given is not None:
        classes = as_classes(given or ())
        only_names = not isinstance(given, (Mapping, Classes))
        if carried is None or not only_names or classes.names != carried.classes.names:
            return classes
    return carried.classes
