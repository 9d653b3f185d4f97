"""What each table of the paper consists of: one recipe (a shipped settings file) per row, and what was published.

Sources: `abstract`: the paper's abstract or page; `second hand`: transcribed by a third party; `derived`: from
differences that the paper gives; `remark`: an author's answer in an issue; `none`: not found.
"""

from dataclasses import dataclass
from typing import Literal

Source = Literal["abstract", "second hand", "derived", "remark", "none"]


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    label: str
    recipe: str
    """Name of a shipped settings file."""
    published: float | None
    """mIoU in percent."""
    source: Source


@dataclass(frozen=True)
class Table:
    """One table."""

    name: str
    title: str
    question: str
    """What it is about, in one sentence."""
    split: str
    """On which split it is published."""
    rows: tuple[Row, ...]


PUBLISHED_CURVES: dict[str, tuple[float, ...]] = {
    "CMNeXt-B0": (51.29, 59.61, 59.84, 59.18),
    "CWSAM": (51.59, 58.64, 56.22, 55.43),
    "SAM-LoRA": (51.84, 60.25, 60.08, 59.54),
    "MLE-SAM": (55.23, 63.57, 62.69, 64.08),
    "MemorySAM": (53.22, 63.48, 62.42, 65.38),
}
"""Table 1: mIoU on DELIVER's val with one to four sensors, second hand except the last of MemorySAM."""

_ABLATION = "val (DELIVER, RGB-depth)"

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "table1",
            "DELIVER",
            "Does every further sensor help?",
            "val (DELIVER)",
            (
                Row("RGB", "table1/rgb", 53.22, "second hand"),
                Row("RGB + depth", "table1/rgb-d", 63.48, "second hand"),
                Row("RGB + depth + event", "table1/rgb-d-e", 62.42, "second hand"),
                Row("RGB + depth + event + LiDAR", "table1/rgb-d-e-l", 65.38, "abstract"),
            ),
        ),
        Table(
            "table2",
            "MCubeS",
            "Does every further sensor help, where the classes are materials?",
            "test (MCubeS; often called val)",
            (
                Row("RGB + AoLP", "table2/rgb-a", 51.20, "second hand"),
                Row("RGB + AoLP + DoLP", "table2/rgb-a-d", 52.20, "second hand"),
                Row("RGB + AoLP + DoLP + NIR", "table2/rgb-a-d-n", 52.88, "abstract"),
            ),
        ),
        Table(
            "table3",
            "Parts of the method",
            "What do trained memory, memory residual and prototypes add to each other?",
            _ABLATION,
            (
                Row("LoRA, memory", "table3/lora-memory", 61.70, "derived"),
                Row("LoRA, residual", "table3/lora-residual", 58.79, "derived"),
                Row("LoRA, memory, residual", "table3/lora-memory-residual", 62.41, "derived"),
                Row("LoRA, memory, residual, prototypes", "table3/full", 63.48, "second hand"),
            ),
        ),
        Table(
            "table4",
            "Momentum of the prototypes",
            "How much of a new prototype goes into the moving average?",
            _ABLATION,
            tuple(
                Row(value, f"table4/momentum-{value}", 63.48 if value == "0.2" else None,
                    "second hand" if value == "0.2" else "none")
                for value in ("0.05", "0.1", "0.2", "0.4")
            ),
        ),
        Table(
            "table5",
            "Weight of the prototype loss",
            "How much does the prototype loss count?",
            _ABLATION,
            tuple(
                Row(value, f"table5/lambda-{value}", 63.48 if value == "1" else None,
                    "second hand" if value == "1" else "none")
                for value in ("0.125", "0.25", "1", "4", "8", "16")
            ),
        ),
        Table(
            "table7",
            "What trains",
            "What does it cost to freeze SAM2's memory modules, or the encoder as well?",
            _ABLATION,
            (
                Row("LoRA and memory modules train", "table7/full", 63.48, "second hand"),
                Row("memory modules frozen", "table7/memory-frozen", 57.6, "remark"),
                Row("encoder (no LoRA) and memory modules frozen", "table7/encoder-memory-frozen", None, "none"),
            ),
        ),
    )
}  # fmt: skip
