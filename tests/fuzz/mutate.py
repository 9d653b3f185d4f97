"""Small changes to bytes and to trees of plain values, at random, as files are damaged and as attackers write them."""

import random
import struct
from collections.abc import Sequence

NUMBERS = (
    0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 100, 127, 128, 255, 256, 1000, 4096, 32767, 32768, 65535, 65536, 2**24,
    2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, -1, -2, -128, -(2**31),
)  # fmt: skip
WORDS = (
    "", " ", "a", "id", "{id}", "{split}", "{a}{b}", "{id}_{id}", "..", "../x", "/etc/passwd", "~/x", "C:\\x", "a/b",
    "a" * 300, "\0", "a\0b", "\n", "\u2028", "é", "\ud7ff", "%s", "{}", "{0}", "{", "}", "*", "<script>", "=1+1",
    "nan", "inf", "-0", "1e400", "true", "no", "null", "imagenet", "type", "median", "regions", "learned", "ignore",
    "__import__('os')", "os.system", "__class__", "yes", "1_000", "0x10", "0o7", "1:30", "2001-02-30", "!!int", "1.0",
)  # fmt: skip
FLOATS = (0.0, -0.0, 0.5, 1.0, -1.0, 255.0, 1e-320, 1e300, -1e300, float("inf"), float("-inf"), float("nan"))


def mutate(rng: random.Random, data: bytes, others: Sequence[bytes] = (), most: int = 4) -> bytes:
    """Change bytes one to `most` times."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, most)):
        _once(rng, changed, others)
    return bytes(changed)


def _once(rng: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    size = len(data)
    at = rng.randrange(size) if size else 0
    kind = rng.randrange(10)
    length = min(rng.choice((1, 1, 2, 4, 8, 16, 64)), size - at)
    if kind == 0 and size:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1 and size:
        data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    elif kind == 2:
        del data[at:]
    elif kind == 3:
        del data[at : at + length]
    elif kind == 4:
        data[at:at] = data[at : at + length]
    elif kind == 5:
        data[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 2, 4, 16))))
    elif kind == 6 and others:
        other = rng.choice(others)
        begin = rng.randrange(len(other) + 1)
        data[at:] = other[begin:]
    elif kind == 7 and size:
        other = rng.randrange(size)
        data[at : at + length], data[other : other + length] = data[other : other + length], data[at : at + length]
    elif kind == 8:
        data[at : at + length] = bytes([rng.choice((0, 0xFF, 0x20, 0x30))]) * length
    else:
        packed = number(rng)
        data[at : at + len(packed)] = packed


def number(rng: random.Random, form: str | None = None) -> bytes:
    """Return a number of interest, packed."""
    form = form or rng.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    return struct.pack(form, rng.choice(NUMBERS) % 256 ** struct.calcsize(form))


def value(rng: random.Random, depth: int = 2) -> object:
    """Return something that YAML and JSON can hold."""
    kind = rng.randrange(8 if depth else 6)
    if kind == 0:
        return rng.choice(NUMBERS)
    if kind == 1:
        return rng.choice(FLOATS)
    if kind in (2, 3):
        return rng.choice(WORDS)
    if kind in (4, 5):
        return rng.choice((None, True, False, rng.randrange(300), rng.random(), [], {}))
    if kind == 6:
        return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(WORDS): value(rng, depth - 1) for _ in range(rng.randrange(4))}


def mutate_tree(rng: random.Random, tree: object, keys: Sequence[str] = (), most: int = 3) -> object:
    """Return a copy of dictionaries and lists with one to `most` changes somewhere in it.

    Args:
        rng: random numbers.
        tree: of plain values.
        keys: that are known somewhere, to be put where they are not.
        most: changes.
    """
    tree = _copy(tree)
    for _ in range(rng.randint(1, most)):
        places = list(_places(tree))
        if not places:
            return value(rng)
        holder, key = rng.choice(places)
        kind = rng.randrange(8)
        if kind == 0:
            del holder[key]
        elif kind == 1:
            holder[key] = _copy(rng.choice(places)[0])
        elif kind == 2 and isinstance(holder, dict):
            holder[rng.choice((*keys, *WORDS))] = value(rng)
        elif kind == 3 and isinstance(holder, dict):
            holder[rng.choice((*keys, *WORDS, 1, None, True, 2.5))] = holder.pop(key)
        elif kind == 4 and isinstance(holder, list):
            holder.insert(key, value(rng))
        elif kind == 5 and isinstance(holder[key], int | float):
            holder[key] = rng.choice((holder[key] + 1, -holder[key], str(holder[key]), [holder[key]], *NUMBERS))
        elif kind == 6 and isinstance(holder[key], str):
            holder[key] = rng.choice((holder[key] + rng.choice(WORDS), rng.choice(WORDS), [holder[key]], *keys))
        else:
            holder[key] = value(rng)
    return tree


def _places(tree: object):
    """Yield every dictionary or list in a tree with each of its keys or positions."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, inner in items:
        yield tree, key
        yield from _places(inner)


def _copy(tree: object) -> object:
    if isinstance(tree, dict):
        return {key: _copy(inner) for key, inner in tree.items()}
    return [_copy(inner) for inner in tree] if isinstance(tree, list) else tree
