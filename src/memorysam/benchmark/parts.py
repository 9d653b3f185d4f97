"""Where the time of a forward pass or a training step goes: the public stages of the model, and what follows them."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from memorysam.benchmark.timing import Spread, synchronize

STAGES = {
    "encode": "encoder",
    "condition": "memory attention",
    "decode": "decoder",
    "memorize": "memory encoder",
    "fuse": "fusion",
}
"""Methods of a model, and the parts that they are."""
OTHER = "other"


class Watch:
    """Adds up the seconds of parts. A part within another one belongs to the outer one.

    Args:
        device: on which the parts work; a GPU is waited for at the borders of parts.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self._inside = False

    @contextmanager
    def part(self, name: str) -> Generator[None, None, None]:
        """Count what happens inside as part `name`."""
        if self._inside:
            yield
            return
        self._inside = True
        synchronize(self.device)
        began = time.perf_counter()
        try:
            yield
            synchronize(self.device)
        finally:
            self._inside = False
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    @contextmanager
    def stages(self, model: nn.Module) -> Generator[None, None, None]:
        """Count the stages of a model while it is called inside."""
        before = {name: vars(model)[name] for name in STAGES if name in vars(model)}
        for name, part in STAGES.items():
            setattr(model, name, self._counted(getattr(model, name), part))
        try:
            yield
        finally:
            for name in STAGES:
                delattr(model, name)
            for name, method in before.items():
                setattr(model, name, method)

    def _counted(self, method: Callable[..., Any], part: str) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.part(part):
                return method(*args, **kwargs)

        return counted


class NoWatch(Watch):
    """Counts nothing and touches nothing."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))

    @contextmanager
    def part(self, name: str) -> Generator[None, None, None]:  # noqa: ARG002
        """Do nothing."""
        yield

    @contextmanager
    def stages(self, model: nn.Module) -> Generator[None, None, None]:  # noqa: ARG002
        """Do nothing."""
        yield


Watched = Callable[[Watch], object]
"""A call that tells a watch where its parts are."""


def by_part(call: Watched, repeats: int, device: torch.device) -> dict[str, Spread]:
    """Return the seconds of each part of a call; "other" is what belongs to none."""
    runs: list[dict[str, float]] = []
    for _ in range(repeats):
        watch = Watch(device)
        synchronize(device)
        began = time.perf_counter()
        call(watch)
        synchronize(device)
        total = time.perf_counter() - began
        runs.append({**watch.seconds, OTHER: max(0.0, total - sum(watch.seconds.values()))})
    return {part: Spread.of([run[part] for run in runs]) for part in runs[0]}
