"""The limit of the encoder: the seconds that its own matrix products and attention take when each is run alone.

Every product of one call is collected with its shape and precision. Each distinct one is then timed by itself, in the
fastest way that PyTorch is known to have for it, and the seconds are added up.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from memorysam.benchmark.machine import product_ways
from memorysam.benchmark.timing import Call, fastest

_MOST_SCORES = 2**26
"""Attention with more scores than this is not tried as two products."""


@dataclass(frozen=True)
class Product:
    """A kind of call, and the sizes on which its time depends.

    Sizes: "linear" rows, in, out; "batched" count, rows, in, out; "attention" batch, heads, queries, keys, width, width
    of values; "convolution" the sizes of input and weights, then stride, padding, dilation, groups.
    """

    kind: str
    sizes: tuple[int, ...]
    dtype: torch.dtype

    @property
    def flops(self) -> int:
        """Floating-point operations, two for each multiplication-addition."""
        sizes = self.sizes
        if self.kind == "attention":
            return 2 * math.prod(sizes[:4]) * (sizes[4] + sizes[5])
        if self.kind == "convolution":
            batch, _, height, width, out, *kernel = sizes[:8]
            stride, padding, dilation = sizes[8:10], sizes[10:12], sizes[12:14]
            sides = zip((height, width), kernel[1:], stride, padding, dilation, strict=True)
            outside = math.prod((side + 2 * p - d * (k - 1) - 1) // s + 1 for side, k, s, p, d in sides)
            return 2 * batch * out * outside * math.prod(kernel)
        return 2 * math.prod(sizes)


class Collector(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the products of what is called inside."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: Counter[Product] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note a product; take apart what is made of others."""
        name = func.name().split("::")[1].split(".")[0]
        note = _NOTES.get(name) or (_attention if "scaled_dot_product" in name else None)
        if note is None:
            with self:
                result = func.decompose(*args, **(kwargs or {}))
            return func(*args, **(kwargs or {})) if result is NotImplemented else result
        product = note(*args)
        if product.flops:
            self.found[product] += 1
        return func(*args, **(kwargs or {}))


def collect(call: Callable[[], object]) -> Counter[Product]:
    """Return the products of a call and how often each occurs; compiled regions run as they were written."""
    with torch.no_grad(), torch.compiler.set_stance("force_eager"), Collector() as collector:
        call()
    return _with_attention(collector.found)


def flops(products: Counter[Product]) -> int:
    """Return the floating-point operations of products."""
    return sum(product.flops * times for product, times in products.items())


def as_type(products: Counter[Product], dtype: torch.dtype) -> Counter[Product]:
    """Return the same products in another precision."""
    found: Counter[Product] = Counter()
    for product, times in products.items():
        found[replace(product, dtype=dtype)] += times
    return found


@dataclass(frozen=True)
class Timed:
    """One product, run alone."""

    product: Product
    times: int
    way: str
    seconds: float
    """Of one run."""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "kind": self.product.kind,
            "sizes": list(self.product.sizes),
            "dtype": str(self.product.dtype).removeprefix("torch."),
            "times": self.times,
            "way": self.way,
            "seconds": self.seconds,
            "flops_per_s": self.product.flops / self.seconds,
        }


def run_alone(products: Counter[Product], device: torch.device) -> list[Timed]:
    """Time each distinct product by itself; the one that takes longest in all comes first."""
    timed = []
    with torch.inference_mode():
        for product, times in products.items():
            way, seconds = fastest(ways(product, device), device)
            timed.append(Timed(product, times, way, seconds))
    return sorted(timed, key=lambda entry: -entry.times * entry.seconds)


def ways(product: Product, device: torch.device) -> dict[str, Call]:
    """Return the ways that PyTorch has for a product, on noise."""

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, device=device).to(product.dtype)

    sizes = product.sizes
    if product.kind == "linear":
        rows, inner, out = sizes
        return product_ways(noise(rows, inner), noise(out, inner), noise(out))
    if product.kind == "batched":
        count, rows, inner, out = sizes
        left, right = noise(count, rows, inner), noise(count, inner, out)
        return {"bmm": lambda: torch.bmm(left, right)}
    if product.kind == "attention":
        batch, heads, queries, keys, width, values = sizes
        q, k, v = (noise(batch, heads, *s) for s in ((queries, width), (keys, width), (keys, values)))
        found: dict[str, Call] = {"scaled_dot_product_attention": lambda: F.scaled_dot_product_attention(q, k, v)}
        if math.prod(sizes[:4]) <= _MOST_SCORES:
            scale = width**-0.5
            found["two products"] = lambda: ((q * scale) @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        return found
    image, kernel = noise(*sizes[:4]), noise(*sizes[4:8])
    last = {"memory_format": torch.channels_last}
    image_last, kernel_last = image.to(**last), kernel.to(**last)  # type: ignore[call-overload]
    rest = (sizes[8:10], sizes[10:12], sizes[12:14], sizes[14])
    return {
        "conv2d": lambda: F.conv2d(image, kernel, None, *rest),
        "conv2d, channels last": lambda: F.conv2d(image_last, kernel_last, None, *rest),
    }


def _with_attention(found: Counter[Product]) -> Counter[Product]:
    """Put pairs of batched products together: queries with keys, and what comes of it with values, are attention."""
    result = Counter(found)
    for product in found:
        if product.kind != "batched":
            continue
        count, a, b, c = product.sizes
        # Scores are queries by keys or, for few keys, keys by queries.
        for queries, keys, after in ((a, c, (count, a, c, b)), (c, a, (count, c, a, b))):
            second = replace(product, sizes=after)
            pairs = result[product] // 2 if second == product else min(result[product], result[second])
            if pairs:
                result[product] -= pairs
                result[second] -= pairs
                result[Product("attention", (1, count, queries, keys, b, b), product.dtype)] += pairs
    return +result


def _linear(x: Tensor, weight: Tensor, *_: object) -> Product:
    out, inner = weight.shape
    return Product("linear", (x.numel() // inner, inner, out), x.dtype)


def _mm(left: Tensor, right: Tensor, *_: object) -> Product:
    return Product("linear", (left.shape[0], left.shape[1], right.shape[1]), left.dtype)


def _bmm(left: Tensor, right: Tensor, *_: object) -> Product:
    return Product("batched", (*left.shape, right.shape[2]), left.dtype)


def _attention(q: Tensor, k: Tensor, v: Tensor, *_: object) -> Product:
    return Product("attention", (*q.shape[:3], k.shape[2], q.shape[3], v.shape[3]), q.dtype)


def _convolution(
    x: Tensor, weight: Tensor, _: object, stride: Any, padding: Any, dilation: Any, __: bool, ___: Any, groups: int
) -> Product:
    """Transposed ones are not known: the encoder has none."""
    if tuple(weight.shape[2:]) == (1, 1) and set(stride) == {1} and groups == 1 and not any(padding):
        out, inner = weight.shape[:2]
        return Product("linear", (x.numel() // inner, inner, out), x.dtype)
    return Product("convolution", (*x.shape, *weight.shape, *stride, *padding, *dilation, groups), x.dtype)


_NOTES: dict[str, Callable[..., Product]] = {
    "linear": _linear,
    "_linear_pointwise": _linear,
    "_mkl_linear": _linear,
    "mm": _mm,
    "addmm": lambda _, left, right, *rest: _mm(left, right, *rest),
    "bmm": _bmm,
    "baddbmm": lambda _, left, right, *rest: _bmm(left, right, *rest),
    "convolution": _convolution,
}
