"""From the tensors of a file to those of a model: everything that does not fit is on a named list or an error."""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch

from memorysam.errors import WeightsError, listing
from memorysam.models.base import LORA, SegmentationModel
from memorysam.models.formats.translated import Translated

_OURS = re.compile(r"^stems\.|^prototypes\.")
"""What this package adds to the published systems: other ways to three channels, the paper's form of prototypes."""
_NEUTRAL = re.compile(r"^quality\.")
"""What any file may lack, because it starts without an effect; a file that has it needs it."""


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


def names_in(model: SegmentationModel, found: Translated) -> dict[str, str]:
    """Return, by the name of each tensor in the model, the one it has in the file."""
    if found.system is not None:
        return {model.own_name(name): name for name in found.tensors}
    return {prefix + name: name for prefix in model.BASE for name in found.tensors}


def fill(model: SegmentationModel, found: Translated, path: Path, new_head: bool, ours: bool) -> LoadReport:
    """Copy the tensors of a file into a model.

    Args:
        model: to fill.
        found: what the file holds.
        path: of the file, for messages.
        new_head: whether what follows the classes stays new.
        ours: whether the file is a checkpoint of this package.

    Raises:
        WeightsError: any tensor missing, unexpected or of another shape.
    """
    own = model.state_dict()
    whole = found.system is not None
    theirs = {name: found.tensors[inner] for name, inner in names_in(model, found).items()}
    follows = model.FOLLOWS_CLASSES

    def optional(name: str) -> bool:
        """Whether the file may lack a tensor of the model, or have one that the model lacks."""
        return bool(_OURS.search(name) or (ours and LORA.search(name)))

    def added(name: str) -> bool:
        """Whether the method adds a tensor to its backbone, or an option to the method."""
        return bool(_NEUTRAL.search(name)) or (
            not whole and (not name.startswith(model.BASE) or bool(model.ADDED.search(name)))
        )

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
