"""How near the encoder comes to the limit that its own products set."""

from collections import Counter
from typing import Any

import torch

from memorysam.benchmark.machine import TYPES
from memorysam.benchmark.plan import Inference
from memorysam.benchmark.products import Product, as_type, collect, flops, run_alone
from memorysam.benchmark.timing import Call, Spread, in_turns

_SEEN = 0.5
"""If less than this share of the plain encoder's operations is seen in ours, ours hides its products."""


def encoder_share(ours: Inference, plain: Inference, repeats: int, device: torch.device) -> dict[str, Any]:
    """Set the encoder's forward beside the time of its own products.

    Args:
        ours: whose encoder is timed, all modalities at once.
        plain: whose products count where those of ours cannot be seen.
        repeats: of the encoder's forward, half of them before the products are timed and half after.
        device: on which both are.
    """
    images = ours.cast()

    def encode() -> None:
        with torch.inference_mode():
            ours.model.encode(images)  # type: ignore[operator]

    products, source = encoder_products(encode, plain, ours.precision)
    before = in_turns({"encoder": encode}, (repeats + 1) // 2, device)["encoder"]
    timed = run_alone(products, device)
    after = in_turns({"encoder": encode}, (repeats + 1) // 2, device, warmup=0)["encoder"]
    seconds = Spread.of(before + after)
    limit = sum(entry.times * entry.seconds for entry in timed)
    kinds: Counter[str] = Counter()
    for entry in timed:
        kinds[entry.product.kind] += entry.times * entry.seconds  # type: ignore[assignment]
    return {
        "ratio": seconds.median / limit,
        "seconds": seconds.as_dict(),
        "limit_seconds": limit,
        "limit_by_kind": dict(kinds),
        "flops": flops(products),
        "flops_per_s": flops(products) / seconds.median,
        "products_of": source,
        "products": [entry.as_dict() for entry in timed],
    }


def encoder_products(encode: Call, plain: Inference, precision: str) -> tuple[Counter[Product], str]:
    """Return the products of our encoder; of the plain one, for all modalities at once, where ours hides its own."""
    ours = collect(encode)
    together = torch.cat(list(plain.images.values()))
    name = next(iter(plain.images))
    theirs = collect(lambda: plain.model.encode(name, together))  # type: ignore[operator]
    # It multiplies queries with keys once more than it needs, and never looks at the result.
    theirs = Counter({product: times for product, times in theirs.items() if product.kind != "batched"})
    if flops(ours) >= _SEEN * flops(theirs):
        return ours, "ours"
    return as_type(theirs, TYPES[precision]), "the baseline"
