"""Mistakes that a user can mend: what went wrong, where, what was expected, what to do next."""

import difflib
from collections.abc import Iterable


class MemorySAMError(ValueError):
    """A user's mistake, told in full. The command line prints it without a traceback and exits with code 2.

    Args:
        what: one sentence that says what went wrong.
        where: file, key or value that it is about.
        expected: what would have been right.
        fix: what to do next.
    """

    def __init__(self, what: str, *, where: object = None, expected: object = None, fix: str | None = None) -> None:
        self.what, self.where, self.expected, self.fix = what, where, expected, fix
        lines = [what]
        for label, value in (("where", where), ("expected", expected), ("fix", fix)):
            if value is not None:
                lines.append(f"  {label + ':':<9} {value}")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword arguments would be lost on the way back from a data-loading worker.
        return _restore, (type(self), self.what, self.where, self.expected, self.fix)


class SettingsError(MemorySAMError):
    """A setting, a YAML file or a command-line option."""


class DataError(MemorySAMError):
    """A data set, an image file or a label."""


class WeightsError(MemorySAMError):
    """A checkpoint or a file of weights."""


class InputError(MemorySAMError):
    """What a model was called with."""


class TrainingError(MemorySAMError):
    """A training run that cannot go on."""


def _restore(kind: type[MemorySAMError], what: str, where: object, expected: object, fix: str | None) -> MemorySAMError:
    return kind(what, where=where, expected=expected, fix=fix)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `did you mean 'x'?` for the nearest known word, or the list of known words."""
    bare = {str(k).lstrip("-"): str(k) for k in known}  # all options begin alike
    near = difflib.get_close_matches(word.lstrip("-"), bare, n=1, cutoff=0.5)
    return f"did you mean {bare[near[0]]!r}?" if near else "choose one of: " + ", ".join(bare.values())


def listing(items: Iterable[object], limit: int = 8) -> str:
    """Join items with commas and count what is left out, so that a message stays readable."""
    words = [str(item) for item in items]
    rest = len(words) - limit
    return ", ".join(words[:limit]) + (f" and {rest} more" if rest > 0 else "")
