"""What was measured, as tables for people."""

from collections.abc import Mapping
from typing import Any

from memorysam.evaluation.report import table

KINDS = {"inference": "forward pass", "train": "training step"}


def text(result: Mapping[str, Any]) -> str:
    """Return the whole measurement."""
    parts = [about(result), _limits(result["limits"]), _times(result), _parts(result["parts"]), _encoder(result)]
    if result["memory"]:
        parts.append(_memory(result["memory"]))
    parts.append(_agreement(result["agreement"]))
    return "\n\n".join(parts)


def scaling_text(result: Mapping[str, Any]) -> str:
    """Return time and memory against the number of modalities."""
    rows = []
    for row in result["scaling"]:
        for precision in result["plan"]["precisions"]:
            for kind, found in row[precision].items():
                each = found["median"] / row["modalities"]
                rows.append(
                    [
                        KINDS[kind],
                        precision,
                        str(row["modalities"]),
                        f"{row['flops'] / 1e9:,.1f}",
                        *quartiles(found),
                        f"{each:.3f}",
                        gigabytes(found["peak_bytes"]),
                    ]
                )
    order = {kind: place for place, kind in enumerate(KINDS.values())}
    rows.sort(key=lambda row: (order[row[0]], row[1], int(row[2])))
    head = ["what", "precision", "modalities", "GFLOP forward", "s", "quartiles", "s per modality", "peak GB"]
    return f"{about(result)}\n\n{table(head, rows)}"


def fit_text(result: Mapping[str, Any]) -> str:
    """Return what fits, and the lines to paste."""
    rows = [
        [
            choice["precision"],
            "yes" if choice["checkpointing"] else "no",
            str(choice["batch_size"] // choice["accumulate"]),
            str(choice["accumulate"]),
            gigabytes(choice["counted_bytes"]),
            "yes" if choice["fits"] else "no",
        ]
        for choice in result["choices"]
    ]
    head = ["precision", "checkpointing", "samples per pass", "passes", "GB", "fits"]
    if result["counted_only"]:
        words = "Counted, not measured: there is no GPU here."
    elif result["measured_bytes"] is None:
        words = "Counted, not measured: the GPU here is smaller."
    else:
        words = f"The proposal takes {gigabytes(result['measured_bytes'])} GB on the GPU here; the table is counted."
    usable = f"{gigabytes(result['usable_bytes'])} of {gigabytes(result['memory_bytes'])} GB"
    return (
        f"{table(head, rows)}\n\n{words} {usable} are taken as usable.\n"
        f"Settings to paste, the fastest that fit:\n\n{result['yaml']}"
    )


def about(result: Mapping[str, Any]) -> str:
    """Return the machine, and what was measured."""
    machine, plan = result["machine"], result["plan"]
    height, width = plan["image_size"]
    where = machine["gpu"] or f"{machine['cpu']}, {machine['threads']} of {machine['cores']} cores"
    modalities = plan["modalities"]
    shown = modalities if isinstance(modalities, int) else f"{modalities[0]} to {modalities[-1]}"
    return (
        f"{where}; torch {machine['torch']} with {machine['blas']}\n"
        f"memorysam-{plan['backbone']}, {height}x{width}, modalities: {shown}, batch {plan['batch']}, "
        f"{plan['classes']} classes, {plan['weights']} weights; medians of {plan['repeats']}"
    )


def _limits(limits: Mapping[str, Any]) -> str:
    rows = [
        [f"matrix product, {precision}", f"{found['flops_per_s'] / 1e9:,.1f}", "GFLOP/s", found["way"]]
        for precision, found in limits.items()
        if precision != "copy_bytes_per_s"
    ]
    rows.append(["copy", f"{limits['copy_bytes_per_s'] / 1e9:,.1f}", "GB/s", "read and written"])
    return table(["limit", "rate", "unit", "way"], rows)


def _times(result: Mapping[str, Any]) -> str:
    rows = []
    for kind, found in result["times"].items():
        for name, spread in found.items():
            precision = name.split()[0]
            ratio = result["ratios"].get(f"{kind}_{name}")
            share = result["share_of_limit"].get(f"{kind}_{precision}_of_rate") if name == precision else None
            words = ["" if ratio is None else f"{ratio:.2f}", "" if share is None else f"{share:.0%}"]
            rows.append([KINDS[kind], name, *quartiles(spread), *words])
    return table(["what", "which", "s", "quartiles", "x faster", "of the product rate"], rows)


def _parts(parts: Mapping[str, Any]) -> str:
    tables = []
    for kind, found in parts.items():
        names = list(dict.fromkeys(part for spreads in found.values() for part in spreads))
        rows = [
            [part, *(f"{spreads[part]['median']:.3f}" if part in spreads else "" for spreads in found.values())]
            for part in names
        ]
        tables.append(table([f"{KINDS[kind]}, s by part", *found], rows))
    return "\n\n".join(tables)


def _encoder(result: Mapping[str, Any]) -> str:
    rows = [
        [
            precision,
            f"{found['seconds']['median']:.3f}",
            f"{found['limit_seconds']:.3f}",
            f"{found['ratio']:.2f}",
            f"{found['flops_per_s'] / result['limits'][precision]['flops_per_s']:.0%}",
        ]
        for precision, found in result["encoder"].items()
    ]
    head = ["encoder", "s", "its products alone, s", "times the limit", "of the product rate"]
    return table(head, rows)


def _memory(memory: Mapping[str, Any]) -> str:
    rows = []
    for name, peak in memory["peak_bytes"].items():
        share = memory["peak_to_baseline"].get(name)
        slower = memory["checkpointing_time"].get(name.split()[0]) if " " in name else None
        words = ["" if value is None else f"{value:.2f}" for value in (share, slower)]
        rows.append([name, gigabytes(peak), *words, gigabytes(memory["resident_bytes"][name])])
    held = f"beyond weights and moments, {gigabytes(memory['held_bytes'])} GB"
    head = ["training step", "tensors, peak GB", "to the baseline's", "time to that without", "process, peak GB"]
    return f"{table(head, rows)}\n{held}"


def _agreement(found: Mapping[str, Any]) -> str:
    words = []
    if found["fp32_largest_difference"] is not None:
        words.append(
            f"fp32: logits within {found['fp32_largest_difference']:.1e} of the baseline's, "
            f"the largest of which is {found['largest_logit']:.2f}"
        )
    if found["bf16_same_class"] is not None:
        words.append(f"bf16: the same class at {found['bf16_same_class']:.2%} of the pixels")
    return "\n".join(words)


def quartiles(found: Mapping[str, Any]) -> list[str]:
    """Return median and quartiles of seconds."""
    low, high = found["quartiles"]
    return [f"{found['median']:.3f}", f"{low:.3f} to {high:.3f}"]


def gigabytes(size: float | None) -> str:
    """Return bytes in GB."""
    return "-" if size is None else f"{size / 1e9:.2f}"
