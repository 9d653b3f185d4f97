"""What becomes of samples that cannot be read: an error, or, up to a stated share of a split, a line in a list."""

import math
from collections.abc import Callable

from memorysam.errors import DataError, listing


class Skips:
    """The samples of a split that were left out, each listed once.

    Args:
        total: number of samples of the split.
        share: of them that may be left out; rounded up, so any share above 0 is at least one sample.
        replace: whether another sample takes the place of one that is left out (training), or none (scores).
        tell: called once for each, with its id and what is wrong with it.
    """

    def __init__(
        self,
        total: int,
        share: float,
        *,
        replace: bool = False,
        tell: Callable[[str, str], None] = lambda _id, _what: None,
    ) -> None:
        self.total, self.replace, self._tell = total, replace, tell
        self.limit = math.ceil(share * total - 1e-9)
        """How many may be left out."""
        self.found: dict[str, str] = {}
        """Id -> what is wrong with it."""

    def add(self, sample: str, what: str) -> None:
        """List a sample.

        Raises:
            DataError: it is one more than may be left out; all are named.
        """
        if sample not in self.found:
            self.found[sample] = what
            self._tell(sample, what)
            self.require_few()

    def require_few(self) -> None:
        """Raise if more samples were left out than may be.

        Raises:
            DataError: all are named.
        """
        if len(self.found) > self.limit:
            raise DataError(
                f"{len(self.found)} of {self.total} samples cannot be read, and {self.limit} may be left out",
                where=listing((f"{sample}: {what}" for sample, what in self.found.items()), 20),
                expected="at most data.skip_share of the split, rounded up",
                fix="mend the files (memorysam check-data lists all that is wrong), take the samples out of the "
                "split, or allow a larger share (--data.skip-share; evaluate, cache: --skip-share)",
            )

    def as_list(self) -> list[dict[str, str]]:
        """Return what was left out as JSON: `[{id, what}]`."""
        return [{"id": sample, "what": what} for sample, what in self.found.items()]


def told(error: DataError) -> str:
    """Return what is wrong with a sample in one line."""
    return error.what if error.where is None else f"{error.what} ({error.where})"
