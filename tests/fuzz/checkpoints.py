"""Checks of everything that reads tensors and arrays: checkpoints, their headers, weights of others, the cache."""

import contextlib
import io
import json
import random
import struct
import sys
import tempfile
import warnings
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import torch

from memorysam.config import ModelSettings
from memorysam.data.cache import Shelf, fill
from memorysam.errors import MemorySAMError, WeightsError
from memorysam.models import weights
from memorysam.spec import Classes, Modality, Task
from memorysam.tensors import read_header, read_tensors, write_tensors

from .engine import LONGEST, Target, Wrong
from .mutate import NUMBERS, mutate, mutate_tree, number

_TENSORS = {
    "a.weight": torch.arange(6.0).reshape(2, 3),
    "b": torch.ones(1, dtype=torch.bfloat16),
    "prototypes.mean": torch.tensor(7),
    "training/x": torch.zeros(0, 3),
}
_HEADER = {
    "format": 1,
    "task": Task(
        modalities=(Modality(name="rgb"), Modality(name="depth", channels=1)),
        classes=Classes(names=("a", "b")),
        image_size=(64, 96),
    ).model_dump(mode="json"),
    "model": ModelSettings(backbone="micro").model_dump(mode="json"),
    "training": {"progress": {"step": 3}, "ranks": 1, "optimizer": "AdamW"},
    "step": 3,
}
_LIGHT = {
    **_HEADER,
    "format": 2,
    "base": {"id": "x.safetensors", "sha256": "0" * 64, "kind": "k", "backbone": "micro", "tensors": {"c": "d"}},
}
_ATTACKS = (
    "_target_", "class_path", "__import__", "os.system", "target", "../../x", "/etc/passwd", "base", "__class__",
    "__reduce__",
)  # fmt: skip


@cache
def _checkpoints() -> tuple[bytes, ...]:
    seeds = []
    with tempfile.TemporaryDirectory() as folder:
        for header in (_HEADER, {"step": 1}, _LIGHT):
            write_tensors(Path(folder) / "x", _TENSORS, header)
            seeds.append((Path(folder) / "x").read_bytes())
    return tuple(seeds)


def make_checkpoint(rng: random.Random) -> bytes:
    """Return a checkpoint of ours with changes to its bytes, or to the header that safetensors gives it."""
    data = rng.choice(_checkpoints())
    if rng.random() < 0.5:
        return mutate(rng, data, _checkpoints())
    size = int.from_bytes(data[:8], "little")
    tree = mutate_tree(
        rng,
        json.loads(data[8 : 8 + size]),
        ("F64", "BF16", "U8", "F4", "F8_E4M3", "C64", "BOOL", "__metadata__", "shape", "dtype"),
    )
    text = json.dumps(tree).encode()
    length = len(text) if rng.random() < 0.9 else rng.choice(NUMBERS) % 2**64
    return struct.pack("<Q", length) + text + data[8 + size :]


def check_checkpoint(data: bytes, folder: Path) -> bool | str:
    """Refused, or to the last bit what was written, or no checkpoint of ours."""
    path = folder / "x.safetensors"
    path.write_bytes(data)
    try:
        tensors, header = read_tensors(path)
    except WeightsError:
        with contextlib.suppress(WeightsError):
            read_header(path)
        return False
    if header is None:
        if read_header(path) is not None:
            raise Wrong("a header came and went")
        _published(path)
        return True
    equal = tensors.keys() == _TENSORS.keys() and all(
        t.dtype == _TENSORS[n].dtype and torch.equal(t, _TENSORS[n]) for n, t in tensors.items()
    )
    if not equal or header not in (_HEADER, {"step": 1}, _LIGHT):
        raise Wrong("a checkpoint has changed, and was read")
    return "sure"


def _published(path: Path) -> bool:
    try:
        state = weights.read_state(path)
    except WeightsError:
        return False
    if not all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in state.items()):
        raise Wrong("weights that are no tensors")
    try:
        found = weights.published(path)
    except WeightsError:
        return True
    if not all(isinstance(tensor, torch.Tensor) for tensor in found.tensors.values()):
        raise Wrong("weights that are no tensors")
    return True


def make_header(rng: random.Random) -> bytes:
    """Return a header, as JSON, with changes; the check writes it with a digest that is right."""
    while True:
        text = json.dumps(mutate_tree(rng, rng.choice((_HEADER, _HEADER, _LIGHT)), _ATTACKS)).encode()
        if len(text) <= LONGEST:  # a longer one would be cut, and be no JSON
            return text


class _Made(Exception):  # noqa: N818
    """A model would be made here."""


def check_header(data: bytes, folder: Path) -> bool | str:
    """Refused, or a task and settings that mean the same when they are written again; nothing is imported."""
    path = folder / "x.safetensors"
    header = json.loads(data)
    write_tensors(path, _TENSORS, header)
    if not isinstance(header, dict):
        try:
            read_header(path)
        except WeightsError:
            return False
        raise Wrong("a header that is no dictionary")
    before = set(sys.modules)
    create = weights.create
    weights.create = _stop
    try:
        task = weights.carried_task(path)
        weights.read_about(path)
        weights.load(path)
    except MemorySAMError as error:
        if len(str(error)) > 20_000:
            raise Wrong(f"a message of {len(str(error))} characters") from None
        return False
    except _Made as made:
        wanted, asked = made.args
        if asked != task or Task(**asked.model_dump(mode="json")) != asked:
            raise Wrong("a task is another when it is read again") from None
        if ModelSettings(**wanted.model_dump(mode="json")) != wanted:
            raise Wrong("settings are others when they are read again") from None
        return "sure"
    finally:
        weights.create = create
        if new := {
            name for name in set(sys.modules) - before if not name.startswith(("memorysam", "torch", "transformers"))
        }:
            raise Wrong(f"imported: {new}")
    return True


def _stop(wanted: ModelSettings, task: Task, **_: object) -> None:
    raise _Made(wanted, task)


@cache
def _pickles() -> tuple[bytes, ...]:
    mit = {f"patch_embed{i}.proj.weight": torch.zeros(2, 3, 3, 3) for i in (1, 2, 3, 4)}
    contents = (
        {"model": _TENSORS},
        {
            "state_dict": {"module.x": torch.ones(2)},
            "epoch": 3,
            "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
        },
        mit,
        {
            "image_encoder.trunk.pos_embed": torch.zeros(1, 4, 2, 2),
            "sam_mask_decoder.iou_token.weight": torch.zeros(1, 4),
        },
        {"fc.weight": torch.zeros(3, 2), "bn1.running_mean": torch.zeros(2, dtype=torch.float16)},
    )
    seeds = []
    for content in contents:
        for new in (True, False):
            stream = io.BytesIO()
            torch.save(content, stream, _use_new_zipfile_serialization=new)
            seeds.append(stream.getvalue())
    return tuple(seed for seed in seeds if len(seed) <= 4096)


_OPCODES = (
    b"cos\nsystem\n", b"cbuiltins\neval\n", b"(S'touch canary'\ntR.", b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_sparse_tensor\n", b"ctorch\nload\n", b"ccollections\nOrderedDict\n",
    b"ctorch._tensor\n_rebuild_from_type_v2\n", b"ctorch\nFloatStorage\n", b"b", b"R", b"Q", b"\x81", b"}", b"(",
    b"t", b"u", b"0", b"2", b"\x8a\xff" + b"\xff" * 255, b"\x8b\xff\xff\xff\x7f", b"X\xff\xff\xff\x7f",
    b"j\xff\xff\xff\x7f", b"K\xff", b"J\xff\xff\xff\x7f", b".",
)  # fmt: skip


def make_pickle(rng: random.Random) -> bytes:
    """Return a file of `torch.save` with changes to its bytes, its pickle or its members."""
    data = rng.choice(_pickles())
    if rng.random() < 0.3:
        return mutate(rng, data, _pickles())
    if not data.startswith(b"PK"):
        return _opcodes(rng, data)
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(stream, "w") as new,
        warnings.catch_warnings(action="ignore"),
    ):
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("data.pkl"):
                content = _opcodes(rng, content)
            elif name == chosen and rng.random() < 0.3:
                content = mutate(rng, content)
            if not (name == chosen and rng.random() < 0.1):
                new.writestr(
                    name if rng.random() > 0.03 else rng.choice(("../../x", "/tmp/x", "x/data.pkl", "x/data/0")),
                    content,
                )
    return stream.getvalue()


def _opcodes(rng: random.Random, data: bytes) -> bytes:
    if rng.random() < 0.4:
        return mutate(rng, data, most=2)
    at = rng.randrange(len(data) + 1)
    piece = rng.choice((*_OPCODES, b"K" + number(rng, "<H")[:1], b"M" + number(rng, "<H"), b"J" + number(rng, "<I")))
    return data[:at] + piece + data[at + rng.choice((0, 0, 1, 2, len(piece))) :]


def check_pickle(data: bytes, folder: Path) -> bool | str:
    """Refused, or weights; nothing is imported, nothing runs."""
    path = folder / "x.pt"
    path.write_bytes(data)
    before = set(sys.modules)
    found = _published(path)
    if new := {name for name in set(sys.modules) - before if not name.startswith(("torch", "numpy"))}:
        raise Wrong(f"imported: {new}")
    if Path("canary").exists():
        raise Wrong("code ran")
    return found


_ARRAYS = {"a": np.arange(12, dtype=np.uint8).reshape(2, 2, 3), "b/c": np.arange(6, dtype=np.uint16).reshape(3, 2, 1)}


def _source(folder: Path) -> dict[str, list[Path]]:
    """Return the files that the arrays are made of; they stay the same, or a stamp would tell."""
    for name in ("a.png", "c.png"):
        if not (folder / name).exists():
            (folder / name).write_bytes(b"x")
    return {"a": [folder / "a.png"], "b/c": [folder / "c.png"]}


def make_cache(rng: random.Random) -> bytes:
    """Return numbers from which the check makes its changes: the index holds times of files, known only there."""
    return rng.randbytes(8)


def check_cache(data: bytes, folder: Path) -> bool | str:
    """No array, or the one that was written."""
    rng = random.Random(data)
    paths = _source(folder)
    index, arrays = folder / "s.jsonl", folder / "s.bin"
    kept = folder / "whole.jsonl", folder / "whole.bin"
    if kept[1].exists():
        arrays.unlink(missing_ok=True)  # never a shorter file where one may be mapped
        index.write_bytes(kept[0].read_bytes())
        arrays.write_bytes(kept[1].read_bytes())
    else:
        fill(folder, "s", "recipe", paths, _ARRAYS.__getitem__, lambda: None)
        kept[0].write_bytes(index.read_bytes())
        kept[1].write_bytes(arrays.read_bytes())
    if rng.random() < 0.3:
        changed = mutate(rng, arrays.read_bytes())
        arrays.unlink()
        arrays.write_bytes(changed)
    elif rng.random() < 0.5:
        index.write_bytes(mutate(rng, index.read_bytes()))
    else:
        lines = [
            mutate_tree(rng, json.loads(line), ("dtype", "shape", "O", "<f8", "V8", "|b1", ">u2", "f4,f4", "<U9"))
            for line in index.read_text().splitlines()
        ]
        index.write_text(
            "".join(json.dumps(line) + "\n" for line in (json.loads(index.read_text().splitlines()[0]), *lines[1:]))
        )
    shelf = Shelf(folder, "s", "recipe")
    found = 0
    for name, wanted in _ARRAYS.items():
        array = shelf.get(name, paths[name])
        if array is None:
            continue
        found += 1
        if array.dtype != wanted.dtype or not np.array_equal(array, wanted):
            raise Wrong(f"{name}: {array.dtype} {array.shape} {array.ravel()[:12]}")
    if rng.random() < 0.7:
        return "sure" if found else False
    fill(folder, "s", "recipe", paths, _ARRAYS.__getitem__, lambda: None)
    if arrays.stat().st_size > 4096:
        raise Wrong(f"the cache has grown to {arrays.stat().st_size} bytes")
    again = Shelf(folder, "s", "recipe")
    for name, wanted in _ARRAYS.items():
        array = again.get(name, paths[name])
        if array is not None and not np.array_equal(array, wanted):
            raise Wrong(f"{name}, after the cache was filled again: {array.dtype} {array.shape}")
    return "sure" if found else False


TARGETS = {
    "checkpoint": Target(make_checkpoint, check_checkpoint, "safetensors"),
    "header": Target(make_header, check_header, "json"),
    "pickle": Target(make_pickle, check_pickle, "pt"),
    "cache": Target(make_cache, check_cache, "bin"),
}
