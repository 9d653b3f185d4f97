"""What data a run trains on, kept in its folder, so that a change can be told and not only noticed."""

from collections.abc import Mapping, Sequence
from typing import Any

from memorysam.data.dataset import Source, fingerprint
from memorysam.errors import TrainingError, listing

NAMED = 5
"""How many samples a message names."""


def data_record(train: Source, val: Source) -> dict[str, Any]:
    """Return samples, modalities and classes as JSON. What is in the files is not looked at."""
    return {
        "samples": {"train": list(train.ids), "val": list(val.ids)},
        "modalities": {m.name: m.model_dump(mode="json") for m in train.modalities},
        "classes": {
            name: {"id": i, "color": list(color)}
            for i, (name, color) in enumerate(zip(train.classes.names, train.classes.colors, strict=True))
        },
    }


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say in words what differs between two records; nothing if they are equal."""
    words = []
    for split in now["samples"]:
        words += _samples(split, then["samples"].get(split, []), now["samples"][split])
    words += _named("modality", then["modalities"], now["modalities"])
    if list(then["modalities"]) != list(now["modalities"]) and then["modalities"].keys() == now["modalities"].keys():
        words.append(f"modalities in another order: {listing(then['modalities'])}, now {listing(now['modalities'])}")
    return words + _named("class", then["classes"], now["classes"])


def refuse_other_data(
    then: Mapping[str, Any] | None, now: Mapping[str, Any], head: Mapping[str, Any], train: Source, where: object
) -> None:
    """Raise if the data are not those that the run began with.

    Args:
        then: the record of the run; None for a run that was begun before there were any.
        now: the record of the data as they are.
        head: of the run's checkpoint, which has at least the name of the training split.
        train: the training split.
        where: the data set comes from.

    Raises:
        TrainingError: lists the differences.
    """
    found = [] if then is None else differences(then, now)
    if then is None and head["data"] != fingerprint(train):
        found = [f"{head['samples']} samples, {head['data']}; now {len(train.ids)}, {fingerprint(train)}"]
    if found:
        raise TrainingError(
            "the data set has changed since this run began",
            where=where,
            expected="; ".join(found),
            fix="restore the data, or pass --allow-changes to go on with what is there",
        )


def _samples(split: str, then: Sequence[str], now: Sequence[str]) -> list[str]:
    if list(then) == list(now):
        return []
    before, after = set(then), set(now)
    added, removed = [name for name in now if name not in before], [name for name in then if name not in after]
    words = [f"{split}: {len(then)} samples, now {len(now)}"] if len(then) != len(now) else []
    if added:
        words.append(f"{split}: {len(added)} added ({listing(added, NAMED)})")
    if removed:
        words.append(f"{split}: {len(removed)} removed ({listing(removed, NAMED)})")
    return words or [f"{split}: the same samples in another order"]


def _named(kind: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    words = [f"{kind} {name} added" for name in now if name not in then]
    words += [f"{kind} {name} removed" for name in then if name not in now]
    return words + [
        f"{kind} {name}, {key}: {then[name][key]!r}, now {now[name][key]!r}"
        for name in now
        if name in then
        for key in now[name]
        if key in then[name]  # a key may be newer than the run
        and then[name][key] != now[name][key]
    ]
