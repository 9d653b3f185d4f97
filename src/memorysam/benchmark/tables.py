"""What was measured beside a model's own speed, as tables: start-up, reading, memory."""

from collections.abc import Mapping
from typing import Any

from memorysam.benchmark.clock import PARTS
from memorysam.benchmark.report import about, gigabytes, quartiles
from memorysam.evaluation.report import table


def start_up_text(result: Mapping[str, Any]) -> str:
    """Return how long it takes until something happens."""
    commands = [[name, *quartiles(found)] for name, found in result["start_up"].items()]
    parts = [
        [name, part, *quartiles(spread), f"{found['load_share_of_copy']:.0%}" if part == "load" else ""]
        for name, found in result["prediction"].items()
        for part, spread in found["seconds"].items()
    ]
    head = ["checkpoint", "part", "s", "quartiles", "of copy bandwidth"]
    return "\n\n".join(
        [
            f"{about(result)}; every line in fresh processes",
            table(["process", "s", "quartiles"], commands),
            f"{table(head, parts)}\ncopy: {_rate(result)}",
        ]
    )


def data_text(result: Mapping[str, Any]) -> str:
    """Return how fast samples are read, and whether that feeds training."""
    reading, batch = result["reading"], result["plan"]["batch"]
    rows = [
        [
            name,
            f"{found['samples_per_s']:.1f}",
            *quartiles(found["seconds_per_batch"]),
            f"{found['cpu_seconds_per_batch']['median']:.3f}",
            f"{found['share_of_copy']:.0%}",
        ]
        for name, found in reading.items()
    ]
    head = ["one worker, from", "samples/s", f"s for {batch}", "quartiles", "s of CPU", "of copy bandwidth"]
    words = [about(result), f"{table(head, rows)}\ncopy: {_rate(result)}"]
    each = [
        [part, *(f"{1000 * found['seconds_per_sample'][part]['median']:.1f}" for found in reading.values())]
        for part in PARTS
    ]
    words.append(table(["ms per sample", *reading], each))
    if result["train"]:
        steps = [
            [precision, *quartiles(step["seconds"]), *(f"{result['feeds'][name][precision]:.1f}" for name in reading)]
            for precision, step in result["train"].items()
        ]
        passes = next(iter(result["train"].values()))["passes"]
        how = "at once" if passes == 1 else f"in {passes} passes"
        head = [f"training step, {batch} {how}", "s", "quartiles", *(f"feeds, {name}" for name in reading)]
        words.append(
            f"{table(head, steps)}\nfeeds: time of a step to that of reading its samples; above 1 reading is ahead"
        )
    return "\n\n".join(words)


def memory_text(result: Mapping[str, Any]) -> str:
    """Return the memory of training steps; a line per model, samples of a forward pass side by side."""
    ways = list(dict.fromkeys((row["precision"], row["checkpointing"]) for row in result["rows"]))
    models: dict[tuple[Any, ...], dict[tuple[Any, ...], Mapping[str, int]]] = {}
    for row in result["rows"]:
        model = (row["backbone"], row["size"], row["modalities"])
        models.setdefault(model, {})[row["precision"], row["checkpointing"]] = row["counted_bytes"]
    rows = [
        [*map(str, model), *(" ".join(f"{size / 1e9:5.1f}" for size in found[way].values()) for way in ways)]
        for model, found in models.items()
    ]
    head = ["backbone", "size", "modalities", *(_way(*way) for way in ways)]
    batches = ", ".join(map(str, result["batches"]))
    return (
        f"{table(head, rows)}\n\nGB of a training step with {batches} samples in a forward pass; {result['classes']} "
        "classes, image encoder frozen, LoRA. Counted, not measured: weights, gradients, moments, what the backward "
        "pass keeps; not what the GPU's libraries take."
    )


def _way(precision: str, checkpointing: bool) -> str:
    return f"{precision}, checkpointing" if checkpointing else precision


def _rate(result: Mapping[str, Any]) -> str:
    return f"{gigabytes(result['limits']['copy_bytes_per_s'])} GB/s, read and written"
