"""Ours beside what was published: Markdown, CSV and a page."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from memorysam.evaluation.page import Page
from memorysam.evaluation.report import table
from memorysam.experiments.plan import Table
from memorysam.experiments.reproduce import Result
from memorysam.files import write_text

TOY = (
    "Toy scale: the micro model on rendered scenes. It shows that the machinery works and which way the differences go "
    "there; its numbers are not comparable with the published ones, which stand beside them for their order alone."
)
FULL = (
    "As published, the checkpoint is the best on the very split that is reported. 'second hand' figures were "
    "transcribed by third parties, 'derived' ones follow from differences given in the paper."
)
_HEAD = ("row", "ours", "spread", "seeds", "published", "source")


def lines_of(results: Sequence[Result]) -> list[tuple[str, str, str, str, str, str]]:
    """Return one line for each row: ours, spread over seeds, the seeds, the published figure and its source."""
    return [
        (
            result.row.label,
            _number(result.mean),
            _number(result.spread),
            " ".join(str(seed) for seed, score in result.scores.items() if score is not None) or "none finished",
            _number(result.row.published),
            result.row.source if result.row.source != "none" else "not found",
        )
        for result in results
    ]


def text(subject: Table, results: Sequence[Result]) -> str:
    """Return the table for a screen."""
    return f"{subject.name}: {subject.title}. {subject.question} mIoU in percent.\n\n{table(_HEAD, lines_of(results))}"


def markdown(subject: Table, results: Sequence[Result], toy: bool) -> str:
    """Return the table as Markdown, with all that it holds for."""
    lines = [f"# {subject.name}: {subject.title}", "", subject.question, "", TOY if toy else FULL, ""]
    lines += ["| " + " | ".join(_HEAD) + " |", "|" + " --- |" * len(_HEAD)]
    lines += ["| " + " | ".join(line) + " |" for line in lines_of(results)]
    lines += ["", f"mIoU in percent. Published on: {subject.split}. Ours: {holds_for(results)}.", ""]
    return "\n".join(lines)


def holds_for(results: Sequence[Result]) -> str:
    """Return what ours were scored on, in words."""
    kinds = dict.fromkeys(
        f"{facts['data']}, scored on {facts['scored_on']}, checkpoint chosen on {facts['chosen_on']}, protocol "
        f"{facts['protocol']}, {'x'.join(map(str, facts['size']))} pixels, {facts['epochs']} epochs, "
        f"{facts['batch']} samples per step"
        for facts in (result.facts for result in results)
    )
    return "; ".join(kinds)


def save(subject: Table, results: Sequence[Result], out: Path, toy: bool) -> list[Path]:
    """Write NAME.md, NAME.csv and NAME.html."""
    paths = [out / f"{subject.name}.{suffix}" for suffix in ("md", "csv", "html")]
    write_text(paths[0], markdown(subject, results, toy))
    write_text(paths[1], _csv(subject, results, toy))
    page = Page(f"{subject.name}: {subject.title}")
    page.words(subject.question)
    page.words(TOY if toy else FULL)
    page.table(_HEAD, lines_of(results))
    page.words(f"mIoU in percent. Published on: {subject.split}. Ours: {holds_for(results)}.")
    page.save(paths[2])
    return paths


def _csv(subject: Table, results: Sequence[Result], toy: bool) -> str:
    """One line for each run, so that nothing is averaged away."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    head = ["table", "scale", "row", "seed", "miou", "published", "source", "published_on"]
    writer.writerow([*head, *results[0].facts])
    for result in results:
        facts = [" ".join(map(str, v)) if isinstance(v, list) else v for v in result.facts.values()]
        for seed, score in result.scores.items():
            published = "" if result.row.published is None else result.row.published
            row = [subject.name, "toy" if toy else "full", result.row.label, seed, "" if score is None else score]
            writer.writerow([*row, published, result.row.source, subject.split, *facts])
    return stream.getvalue()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
