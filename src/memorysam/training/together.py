"""What the processes of a run agree on, and what they tell each other when one of them cannot go on."""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import distributed

from memorysam.errors import MemorySAMError, TrainingError

_SAID = "memorysam/said/"
_PATIENCE = 5.0
"""Seconds in which those that are left find out which of them is not."""


class ElsewhereError(TrainingError):
    """The run cannot go on because of another of its processes."""

    @classmethod
    def of(cls, rank: int) -> "ElsewhereError":
        """Return the error for a rank that has told why it ends."""
        return _ended(rank, _said(_store(), rank))


def rank_and_ranks() -> tuple[int, int]:
    """Return which process this is, and of how many."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def highest(device: torch.device, *values: int) -> list[int]:
    """Return the largest of each value over all ranks, in one exchange. All ranks must call it at the same place."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return list(values)
    shared = torch.tensor(values, device=device)
    distributed.all_reduce(shared, op=distributed.ReduceOp.MAX)
    return [int(value) for value in shared.tolist()]


def nobody_failed(error: MemorySAMError | None, device: torch.device) -> None:
    """Raise on every rank if one of them has an error: otherwise the others would wait for it.

    Args:
        error: of this rank.
        device: of this rank.

    Raises:
        MemorySAMError: this rank's own error.
        ElsewhereError: another rank has one, which is quoted.
    """
    rank, _ = rank_and_ranks()
    if error is not None:
        tell(error)
    failed = highest(device, 0 if error is None else rank + 1)[0]
    if error is not None:
        raise error
    if failed:
        raise ElsewhereError.of(failed - 1)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Within the block a rank that ends by an error tells the others why, and one that others have left says so.

    Raises:
        ElsewhereError: another process of the run is gone or does not answer.
    """
    try:
        yield
    except ElsewhereError:
        raise
    except MemorySAMError as error:
        tell(error)
        if distributed.is_available() and distributed.is_initialized() and distributed.get_backend() == "gloo":
            distributed.destroy_process_group()  # those who wait for this rank notice at once
        raise
    except RuntimeError as error:
        # gloo raises plain errors; those of NCCL and of the meeting point have a class.
        if rank_and_ranks()[1] == 1 or not (isinstance(error, distributed.DistError) or "gloo" in str(error)):
            raise
        raise _lost(error) from None


def _lost(error: RuntimeError) -> ElsewhereError:
    """Find out who is missing: leave the group, so that those who wait for this rank notice, and ask around."""
    rank, ranks = rank_and_ranks()
    store = _store()
    hangs = "time" in str(error).lower() and "out" in str(error).lower()
    if store is None:
        return ElsewhereError(
            f"the {ranks} processes of this run have not found each other",
            where=f"rank {rank}, MASTER_ADDR, MASTER_PORT",
            expected=_brief(error),
            fix="start them with torchrun or accelerate launch",
        )
    said: dict[int, str] = {}
    until = time.monotonic() + _PATIENCE
    try:
        store.set(f"{_SAID}{rank}", "")
        distributed.destroy_process_group()
        while True:
            said = {other: text for other in range(ranks) if (text := _said(store, other)) is not None}
            if len(said) == ranks or (len(said) == ranks - 1 and not hangs) or time.monotonic() > until:
                break
            time.sleep(0.05)
    except RuntimeError:  # the meeting point is gone; without a launcher that is the first rank
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            return _ended(0, None, hangs)
    for other, text in said.items():
        if text:
            return _ended(other, text)
    missing = [other for other in range(ranks) if other not in said]
    if len(missing) == 1:
        return _ended(missing[0], None, hangs)
    return _ended(None, None, hangs, candidates=missing or [other for other in range(ranks) if other != rank])


def _ended(
    rank: int | None, text: str | None, hangs: bool = False, candidates: list[int] | None = None
) -> ElsewhereError:
    _, ranks = rank_and_ranks()
    ranks = max(ranks, int(os.environ.get("WORLD_SIZE", 1)))
    who = f"rank {rank}" if rank is not None else "one of the ranks " + ", ".join(map(str, candidates or []))
    if text:
        return ElsewhereError(
            "another process of this run has ended, and so does this one",
            where=f"{who} of {ranks}",
            expected=f"it said: {text.splitlines()[0]}",
            fix="mend what its message tells; --resume continues from the last save",
        )
    does = "does not answer" if hangs else "is gone"
    return ElsewhereError(
        f"another process of this run {does}",
        where=f"{who} of {ranks}",
        expected="an answer within train.timeout" if hangs else "it ended without a word, as by a lack of memory",
        fix="look at its output and at the machine's log; --resume continues from the last save",
    )


def tell(error: MemorySAMError) -> None:
    """Leave word for the other ranks of why this one ends."""
    store = _store()
    if store is not None:
        with contextlib.suppress(RuntimeError):
            store.set(f"{_SAID}{rank_and_ranks()[0]}", str(error))


def _said(store: Any, rank: int) -> str | None:
    """Return what a rank has left word of; empty if it only misses another one; None if nothing."""
    key = f"{_SAID}{rank}"
    return store.get(key).decode() if store is not None and store.check([key]) else None


def _store() -> Any:
    """Return where the ranks have met, which works also when they cannot exchange tensors any more."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return None
    return distributed.distributed_c10d._get_default_store()


def _brief(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
