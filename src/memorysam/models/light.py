"""The light form of a checkpoint: what differs from the weights that training started from, and which ones these are.

A base is known by a SHA-256 over its tensors as the model uses them, so that every published format of the same weights
fits; its name says only where to look.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from memorysam.errors import WeightsError, listing
from memorysam.models.base import SegmentationModel
from memorysam.models.filling import names_in
from memorysam.models.formats.translated import Translated
from memorysam.tensors import digest


def split(model: SegmentationModel, base: Translated, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors that a light checkpoint holds, and what it says of its base.

    Tensors are left out where they are the base's to the last bit. Those that the model takes at another shape
    (position tables of another image size) stay: what interpolates them may differ from machine to machine.

    Args:
        model: with unmerged LoRA.
        base: what the base's file holds.
        name: where others find the base: a Hub id or a file name.

    Raises:
        WeightsError: nothing of the model is equal to the base.
    """
    own = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    shared = {
        ours: theirs
        for ours, theirs in names_in(model, base).items()
        if ours in own and _same(own[ours], _plain(base.tensors[theirs]))
    }
    if not any(own[ours].unique().numel() > 1 for ours in shared):  # zeros and ones are everywhere
        raise WeightsError(
            f"nothing of this model is equal to {name}, which would be its base",
            where=name,
            expected="the weights that its training started from, parts of which did not train",
            fix="name those, or share the whole model, without the light form",
        )
    kept = {name: tensor for name, tensor in own.items() if name not in shared}
    checksum = digest({ours: own[ours] for ours in shared})
    return kept, {"id": name, "sha256": checksum, "kind": base.kind, "backbone": base.backbone, "tensors": shared}


def missing_tensors(about: Mapping[str, Any], base: Translated, source: object) -> dict[str, Tensor]:
    """Return the tensors that a light checkpoint lacks, by their names in the model.

    Args:
        about: what the checkpoint says of its base.
        base: what the file holds that was given or found.
        source: that file, for messages.

    Raises:
        WeightsError: it is another base.
    """
    wanted: Mapping[str, str] = about["tensors"]
    absent = [theirs for theirs in wanted.values() if theirs not in base.tensors]
    if absent:
        raise WeightsError(
            f"this is not the base of the light checkpoint: {len(absent)} tensors are not in it ({listing(absent, 3)})",
            where=source,
            expected=f"{about['id']} ({about['kind']}, {about['backbone']})",
            fix=f"this holds {base.kind}, {base.backbone}",
        )
    found = {ours: _plain(base.tensors[theirs]) for ours, theirs in wanted.items()}
    checksum = digest(found)
    if checksum != about["sha256"]:
        raise WeightsError(
            f"this is not the base of the light checkpoint: its checksum is {checksum[:12]}...",
            where=source,
            expected=f"{about['id']} ({about['kind']}, {about['backbone']}), with checksum {about['sha256'][:12]}...",
            fix="give the weights that its training started from, in any published format",
        )
    return found


def _plain(tensor: Tensor) -> Tensor:
    """Return a tensor of a file as a model of float32 takes it over."""
    return (tensor.float() if tensor.is_floating_point() else tensor).detach().cpu()


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal bit by bit, signs of zeros too."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(*(t.contiguous().reshape(-1).view(torch.uint8) for t in (one, other)))
