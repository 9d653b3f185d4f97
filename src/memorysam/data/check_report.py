"""What the dataset doctor found, for people and for programs."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

_AT_MOST = 20
"""Lines of one kind that are printed."""


@dataclass
class ModalityFacts:
    """What the files of one modality are like."""

    files: int = 0
    sizes: Counter[str] = field(default_factory=Counter)
    """Height x width -> files."""
    types: Counter[str] = field(default_factory=Counter)
    channels: Counter[int] = field(default_factory=Counter)
    low: float = float("inf")
    high: float = float("-inf")
    outside: int = 0
    """Values outside the declared range."""
    values: int = 0
    angle: tuple[float, float] | None = None
    """Smallest sine and cosine, where two channels are those of an angle."""

    def add(self, other: "ModalityFacts") -> None:
        """Count the files of `other` in."""
        self.files += other.files
        self.sizes += other.sizes
        self.types += other.types
        self.channels += other.channels
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.outside += other.outside
        self.values += other.values
        if other.angle is not None:
            self.angle = other.angle if self.angle is None else _both(self.angle, other.angle)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "files": self.files,
            "sizes": dict(self.sizes.most_common()),
            "types": dict(self.types.most_common()),
            "channels": {str(count): files for count, files in self.channels.most_common()},
            "min": self.low if self.files else None,
            "max": self.high if self.files else None,
            "outside": self.outside / max(1, self.values),
        }


@dataclass
class LabelFacts:
    """How often one raw value occurs, and what it means."""

    name: str | None
    """Class name, `ignore`, or None for a value that is not in the map."""
    pixels: int = 0
    images: int = 0


@dataclass
class CheckReport:
    """The state of a data set."""

    name: str
    root: str
    splits: dict[str, int] = field(default_factory=dict)
    """Split -> samples."""
    tags: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    """Split -> tag -> value -> samples."""
    modalities: dict[str, ModalityFacts] = field(default_factory=dict)
    label: dict[int, LabelFacts] = field(default_factory=dict)
    """By raw value."""
    published: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    """Split -> what is counted -> samples here, samples that the authors of the data set say."""
    problems: dict[str, list[str]] = field(default_factory=dict)
    """Kind -> one line for each case."""
    notes: list[str] = field(default_factory=list)
    """What may be meant that way."""
    advice: list[str] = field(default_factory=list)
    """What to change in the dataset file."""

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def problem(self, kind: str, line: str) -> None:
        """Add a problem."""
        self.problems.setdefault(kind, []).append(line)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values that can be written as JSON, with all problems."""
        return {
            "name": self.name,
            "root": self.root,
            "clean": self.clean,
            "problems": self.problems,
            "notes": self.notes,
            "advice": self.advice,
            "published": {
                split: {what: {"here": here, "published": said} for what, (here, said) in counts.items()}
                for split, counts in self.published.items()
            },
            "splits": {name: {"samples": n, "tags": self.tags.get(name, {})} for name, n in self.splits.items()},
            "modalities": {name: facts.as_dict() for name, facts in self.modalities.items()},
            "label": {
                str(raw): {"class": facts.name, "pixels": facts.pixels, "images": facts.images}
                for raw, facts in sorted(self.label.items())
            },
        }

    def text(self) -> str:
        """Return the report for people, problems first."""
        count = sum(len(lines) for lines in self.problems.values())
        lines = [
            f"{self.name} in {self.root}: " + (f"{count} problem{'s' * (count > 1)}" if count else "nothing wrong")
        ]
        for kind, cases in self.problems.items():
            lines += ["", f"{kind} ({len(cases)})", *_indented(_shortened(cases))]
        for title, cases in (("do next", self.advice), ("to know", self.notes)):
            if cases:
                lines += ["", title, *_indented(cases)]
        lines += ["", "samples", *_indented(self._sample_lines())]
        if self.published:
            lines += ["", "against the published counts", *_indented(self._published_lines())]
        lines += ["", "files", *_indented(self._modality_lines())]
        if self.label:
            lines += ["", "label", *_indented(self._label_lines())]
        return "\n".join(lines)

    def _sample_lines(self) -> list[str]:
        lines = []
        for split, count in self.splits.items():
            lines.append(f"{split}: {count}")
            for tag, values in self.tags.get(split, {}).items():
                lines.append(f"  {tag}: " + ", ".join(_shortened([f"{k} {n}" for k, n in values.items()])))
        return lines

    def _published_lines(self) -> list[str]:
        rows = [("split", "", "here", "published", "")]
        for split, counts in self.published.items():
            for what, (here, said) in counts.items():
                rows.append((split, what, str(here), str(said), "" if here == said else "differs"))
        return _table(rows)

    def _modality_lines(self) -> list[str]:
        rows = [("modality", "files", "type", "channels", "min", "max", "outside", "height x width")]
        for name, facts in self.modalities.items():
            outside = f"{100 * facts.outside / max(1, facts.values):.3g} %"
            extremes = (f"{facts.low:g}", f"{facts.high:g}") if facts.files else ("-", "-")
            kinds = (_counted(facts.types), _counted(facts.channels))
            rows.append((name, str(facts.files), *kinds, *extremes, outside, _counted(facts.sizes)))
        return _table(rows)

    def _label_lines(self) -> list[str]:
        total = max(1, sum(facts.pixels for facts in self.label.values()))
        rows = [("raw", "class", "pixels", "share", "images")]
        for raw, facts in sorted(self.label.items()):
            share = f"{100 * facts.pixels / total:.3g} %"
            rows.append((str(raw), facts.name or "? no class", str(facts.pixels), share, str(facts.images)))
        return _table(rows)


def _both(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return min(one[0], other[0]), min(one[1], other[1])


def _counted(counts: Counter[Any]) -> str:
    """Return the only value, or the most common ones with their counts."""
    if len(counts) <= 1:
        return "".join(str(value) for value in counts) or "-"
    words = [f"{value} ({count})" for value, count in counts.most_common(3)]
    return ", ".join(words) + (f" and {len(counts) - 3} more" if len(counts) > 3 else "")


def _shortened(lines: Sequence[str]) -> list[str]:
    rest = len(lines) - _AT_MOST
    return [*lines[:_AT_MOST], *([f"and {rest} more"] if rest > 0 else [])]


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]
