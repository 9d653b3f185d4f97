"""What is seen when: a function of the seed, so that any position can be returned to."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


class TrainSampler:
    """Endless batches of `(epoch, index)` for one rank.

    Each epoch is a permutation that depends on the seed and the epoch alone. A step takes the next `batch_size`
    samples of it, whatever the number of ranks and of forward passes that share them; what is left over at the end of
    an epoch, less than a batch, is dropped. A data set smaller than a batch is repeated to fill one.

    Args:
        samples: number of samples.
        batch_size: of one step, over all ranks and passes.
        rank: of this process.
        ranks: number of processes.
        passes: forward passes per step.
        seed: of the permutations.
    """

    def __init__(
        self, samples: int, batch_size: int, *, rank: int = 0, ranks: int = 1, passes: int = 1, seed: int = 0
    ) -> None:
        self.samples, self.batch_size, self.seed = samples, batch_size, seed
        self.rank, self.ranks, self.passes = rank, ranks, passes
        self.steps_per_epoch = max(1, samples // batch_size)
        self.start = 0
        """Step at which iteration begins, counted from the beginning of training."""
        self._kept: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def step(self, step: int) -> list[tuple[int, int]]:
        """Return the `(epoch, index)` of all samples of a step, over all ranks."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = self._order(epoch)[place * self.batch_size : (place + 1) * self.batch_size]
        return [(epoch, int(index)) for index in order]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield this rank's share of every forward pass, from `start` on."""
        share = self.batch_size // (self.ranks * self.passes)
        step = self.start
        while True:
            keys = self.step(step)
            for i in range(self.passes):
                first = (i * self.ranks + self.rank) * share
                yield keys[first : first + share]
            step += 1

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if self._kept[0] != epoch:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.samples)
            self._kept = epoch, np.resize(order, max(self.samples, self.batch_size))
        return self._kept[1]


def shown_modalities(
    names: Sequence[str],
    probability: float,
    key: tuple[int, ...],
    always: Collection[str] = (),
    *,
    shuffle: bool = False,
) -> list[str]:
    """Return the modalities that one forward pass sees, in the order in which it sees them.

    Args:
        names: all of them.
        probability: of a subset, all non-empty ones being equally likely (the whole among them), instead of all.
        key: seed and position; the same on every rank, so that all ranks see the same modalities.
        always: those of them that are never left out and do not count: maps of regions.
        shuffle: whether their order is random, all being equally likely, instead of theirs; what is in `always` keeps
            its place. It changes nothing about which ones are seen.
    """
    rng = np.random.default_rng(key)
    shown = list(names)
    if rng.random() < probability:
        droppable = [name for name in names if name not in always]
        chosen = int(rng.integers(1, 2 ** len(droppable)))
        kept = {name for i, name in enumerate(droppable) if chosen >> i & 1}
        shown = [name for name in names if name in kept or name in always]
    if not shuffle:
        return shown
    places = [i for i, name in enumerate(shown) if name not in always]
    mixed = [shown[places[i]] for i in rng.permutation(len(places))]
    for place, name in zip(places, mixed, strict=True):
        shown[place] = name
    return shown
