"""The whole state of a run in one file: enough to continue bit for bit.

`last.safetensors` is a model checkpoint like any other, with the optimizer's moments and the random generators beside
the weights, under `training/`. It is replaced in one step; the one before it is kept as `previous.safetensors`.
"""

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn, optim

from memorysam.errors import WeightsError
from memorysam.files import writing_to
from memorysam.models import weights
from memorysam.models.base import SegmentationModel
from memorysam.tensors import read_tensors, write_tensors

LAST, PREVIOUS, BEST = "last.safetensors", "previous.safetensors", "best.safetensors"
_PREFIX = "training/"


@dataclass(frozen=True)
class Progress:
    """Where a run is."""

    step: int = 0
    """Steps done."""
    best: float | None = None
    """Best score on the validation split so far."""
    best_step: int | None = None
    validated: int = 0
    """Step at which the validation split was last scored."""


def save_state(
    folder: Path,
    model: SegmentationModel,
    optimizer: optim.Optimizer,
    progress: Progress,
    average: Mapping[str, Tensor] | None = None,
    **about: object,
) -> None:
    """Write `last.safetensors`; the first rank writes, all ranks contribute their random generators.

    Args:
        folder: of the run.
        model: the bare model.
        optimizer: of its parameters.
        progress: where the run is.
        average: of the weights, by their names.
        about: JSON to keep with it: settings, data set, versions.
    """
    generators = _all_generators()
    if _rank() == 0:
        tensors: dict[str, Tensor] = dict(model.state_dict())
        for name, values in _moments(model, optimizer).items():
            for key, value in values.items():
                tensors[f"{_PREFIX}optimizer/{name}/{key}"] = value
        for name, tensor in (average or {}).items():
            tensors[f"{_PREFIX}average/{name}"] = tensor
        for rank, states in enumerate(generators):
            for kind, state in states.items():
                tensors[f"{_PREFIX}generator/{rank}/{kind}"] = state
        training = {"progress": vars(progress), "ranks": len(generators), "optimizer": type(optimizer).__name__}
        head = weights.header(model, training=training, **about)
        last = folder / LAST
        if last.exists():
            _keep(last, folder / PREVIOUS)
        write_tensors(last, tensors, head)
    if distributed.is_initialized():
        distributed.barrier()


def load_state(
    folder: Path, model: SegmentationModel, optimizer: optim.Optimizer
) -> tuple[Progress, dict[str, Any], dict[str, Tensor], list[str]]:
    """Restore model, optimizer and random generators from the newest readable state of a run.

    Returns:
        Where the run was, the header of the file, the average of the weights, and what the user should be told.

    Raises:
        WeightsError: there is no readable state.
    """
    tensors, head, notes = _newest(folder)
    if notes:
        _set_aside(folder / LAST)
    model.load_state_dict({name: t for name, t in tensors.items() if not name.startswith(_PREFIX)})
    training = head["training"]
    before, now = training.get("optimizer", "AdamW"), type(optimizer).__name__
    if before != now:
        notes.append(f"saved with the optimizer {before}, continued with {now}: its moments begin anew")
    for name, parameter in model.named_parameters() if before == now else ():
        prefix = f"{_PREFIX}optimizer/{name}/"
        moments = {n.removeprefix(prefix): tensor for n, tensor in tensors.items() if n.startswith(prefix)}
        if moments:
            # Adam's step counter stays on the CPU.
            optimizer.state[parameter] = {k: v if k == "step" else v.to(parameter.device) for k, v in moments.items()}
    ranks = distributed.get_world_size() if distributed.is_initialized() else 1
    if ranks == training["ranks"]:
        _set_generators({n.rsplit("/", 1)[1]: t for n, t in tensors.items() if f"generator/{_rank()}/" in n})
    else:
        notes.append(
            f"saved by {training['ranks']} processes, continued by {ranks}: the same samples in the same order, "
            "but not the same dropout; the result will not be identical"
        )
    prefix = f"{_PREFIX}average/"
    average = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return Progress(**training["progress"]), head, average, notes


def _newest(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    notes = []
    for name in (LAST, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            tensors, head = read_tensors(path)
        except WeightsError as error:
            notes.append(f"{name} cannot be used:\n{error}")
            continue
        if head is None or "training" not in head:
            raise WeightsError("this checkpoint holds a model but not the state of a run", where=path)
        if notes:
            notes.append(f"falling back to {name}, of step {head['training']['progress']['step']}")
        return tensors, head, notes
    raise WeightsError(
        "there is no state to resume from",
        where=folder,
        expected=f"{LAST} or {PREVIOUS}",
        fix="\n".join([*notes, f"train anew into another folder; {BEST}, if it is whole, can be its --model.weights"]),
    )


def _set_aside(last: Path) -> None:
    """Rename a state that cannot be used: the next save would else put it in the place of the one that can."""
    if distributed.is_initialized():
        distributed.barrier()  # all ranks have looked at it
    if _rank() == 0 and last.exists():
        number = 1
        while (aside := last.with_name(f"damaged-{number}.safetensors")).exists():
            number += 1
        with writing_to(aside):
            last.rename(aside)


def _moments(model: nn.Module, optimizer: optim.Optimizer) -> Mapping[str, Mapping[str, Tensor]]:
    return {name: optimizer.state[p] for name, p in model.named_parameters() if p in optimizer.state}


def _keep(last: Path, previous: Path) -> None:
    """Give the current state a second name, so that there is never a moment without a readable one."""
    temporary = previous.with_name(f".{previous.name}.{os.getpid()}.tmp")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    try:
        with writing_to(previous):
            try:
                os.link(last, temporary)
            except OSError:  # a file system without hard links
                shutil.copyfile(last, temporary)
            temporary.replace(previous)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _generators() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _set_generators(states: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def _all_generators() -> list[dict[str, Tensor]]:
    if not distributed.is_initialized():
        return [_generators()]
    gathered: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(gathered, _generators())
    return gathered


def _rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0
