"""A source that is read once and remembered, for small splits that are looked at many times."""

from collections.abc import Sequence

from memorysam.data.dataset import Raw, Source


class Remembered:
    """Samples of a source, kept in memory after they were first read.

    Args:
        source: small enough to be held.
        modalities: read together, the first time that any of them is asked for.
    """

    def __init__(self, source: Source, modalities: Sequence[str]) -> None:
        self.modalities = source.modalities
        self.classes = source.classes
        self.ids = source.ids
        self._source = source
        self._names = tuple(modalities)
        self._raws: dict[int, Raw] = {}

    def tags(self, index: int) -> dict[str, str]:
        """Return what is known of a sample without reading it."""
        return self._source.tags(index)

    def read(self, index: int, modalities: Sequence[str]) -> Raw:
        """Return the named modalities of a sample, and its label."""
        if index not in self._raws:
            self._raws[index] = self._source.read(index, self._names)
        raw = self._raws[index]
        return Raw({name: raw.images[name] for name in modalities}, raw.label, raw.id, raw.tags)
