"""Checks of everything that reads words: settings, dataset files, path templates, lists of ids."""

import math
import random
import re
import shutil
import sys
from functools import cache
from pathlib import Path

import yaml

from memorysam.config import RunSettings, packaged
from memorysam.data.dataset_file import read_layout
from memorysam.data.folders import FolderDataset
from memorysam.data.split_index import index_split
from memorysam.data.template import Folders, Template, leaves_root
from memorysam.errors import DataError, MemorySAMError, SettingsError
from memorysam.spec import Modality
from memorysam.strict import build, read_yaml

from .engine import Target, Wrong
from .mutate import WORDS, mutate, mutate_tree

_DATASET = """
name: tiny
root: .
modalities:
  rgb: {path: "rgb/{id}.png", mean: imagenet, std: imagenet, photometric: true}
  depth: {path: ["depth/{id}.png", "more/{id}.tif"], channels: 2, high: 65535, holes: [0, 0], zero: median, std: [0.1]}
  parts: {path: "parts/{id}", role: regions, resize: true, optional: true}
label:
  {path: "labels/{id}.png", channel: 0, map: {0: road, 1: car, 255: ignore}, invalid: {path: "bad/{id}", modality: rgb}}
splits: {train: train.txt, val: val.txt}
classes: {road: [128, 64, 128], car: [0, 0, 142]}
tags: {weather: {from: id, values: [fog, rain], otherwise: sun}}
crop: {left: 1, top: 0}
published: {val: {samples: 2, tags: {weather: {fog: 1}}}}
"""
_FOLDERS = """
name: folders
root: .
modalities:
  rgb: {path: "{split}/{scene}/{id}_rgb", channels: 3, stem: [0, 1, 2]}
  angle: {path: "{split}/{scene}/{id}_angle.npy", channels: 2, low: -1, high: 1, mirror: sin, interpolation: nearest}
splits: [train, val]
classes: [a, b, c]
"""
_Loader, _Dumper = getattr(yaml, "CSafeLoader", yaml.SafeLoader), getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_SYNTAX = (
    "&a ", "*a", "!!int ", "!!float ", "!!bool ", "!!null ", "!!str ", "!!binary ", "!!timestamp ", "!!set ",
    "!!omap ", "!!pairs ", "!!python/object/apply:os.system ['touch canary']", "!!python/name:os.system ", "!local ",
    "<<: ", "? ", "- ", ": ", ", ", "{", "}", "[", "]", "| \n ", "> \n ", "---\n", "...\n", "%YAML 1.1\n---\n", "# ",
    "'", '"', "\\x00", "\\u0000", "\t", "\n", "\ufeff", "=", "~", ".inf", "-.inf", ".nan", "1e9", "1:30:00",
    "2001-12-14t21:59:43.10-05:00", "0001-01-01 00:00:00 +23:59", "0b1", "0x", "1_0", "9" * 5000, "[" * 400,
    "{a: " * 300, "\x07", "\u2028", "\ud7ff", "é", "\x85", "on", "No", "2001-99-99", "!!int ''", "!!float ''",
)  # fmt: skip


def _text(rng: random.Random, seeds: tuple[str, ...], keys: tuple[str, ...]) -> bytes:
    """Return YAML with changes to its tree, its words or its bytes."""
    text = rng.choice(seeds)
    kind = rng.random()
    if kind < 0.5:
        tree = mutate_tree(rng, _loaded(text), keys, most=rng.choice((1, 1, 2, 3)))
        return _dump(tree, default_flow_style=rng.random() < 0.3).encode("utf-8", "replace")
    if kind < 0.85:
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(text) + 1)
            end = at + rng.choice((0, 0, 1, 2, 4, 8, 30))
            text = text[:at] + rng.choice((*_SYNTAX, *WORDS, *keys)) + text[end:]
        return text.encode("utf-8", "replace")
    return mutate(rng, text.encode(), [seed.encode() for seed in seeds])


@cache
def _loaded(text: str) -> object:
    return yaml.load(text, _Loader)


def _dump(content: object, **options: object) -> str:
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, **options)


@cache
def _settings_seeds() -> tuple[str, ...]:
    groups = RunSettings().model_dump(mode="json")
    return (
        *(_dump({name: group}) for name, group in groups.items()),
        *(path.read_text() for path in packaged().values()),
    )


def _keys_of(tree: object) -> set[str]:
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    own = {key for key in tree if isinstance(key, str)} if isinstance(tree, dict) else set()
    return own.union(*(_keys_of(part) for part in inner))


@cache
def _settings_keys() -> tuple[str, ...]:
    return tuple(sorted(_keys_of(RunSettings().model_dump(mode="json"))))


@cache
def _dataset_keys() -> tuple[str, ...]:
    return tuple(sorted(_keys_of(yaml.safe_load(_DATASET)) | _keys_of(yaml.safe_load(_FOLDERS))))


def make_settings(rng: random.Random) -> bytes:
    """Return a settings file with changes."""
    return _text(rng, _settings_seeds(), _settings_keys())


def make_dataset(rng: random.Random) -> bytes:
    """Return a dataset file with changes."""
    return _text(rng, (_DATASET, _FOLDERS), _dataset_keys())


def check_yaml(path: Path) -> dict | None:
    """Return what was read, None if it was refused; wrong if it is not what plain YAML is."""
    try:
        content = read_yaml(path)
    except SettingsError as error:
        if len(str(error)) > 20_000:
            raise Wrong(f"a message of {len(str(error))} characters") from None
        return None
    try:
        theirs = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except yaml.YAMLError:  # libyaml, which is another parser where it is there, is stricter in places
        return content
    if not _alike(content, theirs if theirs is not None else {}):
        raise Wrong("YAML was read as something else")
    return content


def _alike(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, dict) and isinstance(other, dict):
        return [*map(str, one)] == [*map(str, other)] and all(map(_alike, one.values(), other.values()))
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    return type(one) is type(other) and one == other


def check_settings(data: bytes, folder: Path) -> bool | str:
    """Refused, or settings that mean the same when they are written and read again."""
    path = folder / "x.yaml"
    path.write_bytes(data)
    before = len(sys.modules)
    content = check_yaml(path)
    if content is None:
        return False
    try:
        settings = build(RunSettings, content, path)
    except SettingsError as error:
        return _short(error)
    path.write_text(_dump(settings.model_dump(mode="json", exclude_defaults=True)))
    if build(RunSettings, read_yaml(path), path) != settings:
        raise Wrong("settings are others when they are read again")
    if len(sys.modules) != before:
        raise Wrong("something was imported")
    return "sure"


def _short(error: MemorySAMError) -> bool:
    if len(str(error)) > 20_000:
        raise Wrong(f"a message of {len(str(error))} characters")
    return False


def check_dataset(data: bytes, folder: Path) -> bool | str:
    """Refused, or a layout all of whose files lie below the root, and which is the same when written again."""
    root = _tree(folder)
    path = root / "x.yaml"
    path.write_bytes(data)
    try:
        layout = read_layout(path)
    except MemorySAMError as error:
        return _short(error)
    sensors = tuple(
        Modality(**sensor.model_dump(include=set(Modality.model_fields))) for sensor in layout.sensors.values()
    )
    content = check_yaml(path)
    dataset = FolderDataset(layout, root, sensors)
    for split in dataset.splits:
        if leaves_root(split) or "/" in split or "\0" in split:
            raise Wrong(f"split {split!r} is the name of no file")
        try:
            source = dataset.source(split)
        except MemorySAMError as error:
            _short(error)
            continue
        for index in range(len(source.ids)):
            for file in source.files(index).values():
                if root.resolve() not in file.resolve().parents:
                    raise Wrong(f"{file} is outside {root}")
    written = None if layout.label is None else content["label"].get("map")
    if isinstance(written, dict) and len(layout.label.ids) != len(written):
        raise Wrong("a raw value was mapped twice")
    path.write_text(_dump(content))
    again = read_layout(path)
    if (again.sensors, again.classes, again.label, again.templates) != (
        layout.sensors,
        layout.classes,
        layout.label,
        layout.templates,
    ):
        raise Wrong("a layout is another when it is read again")
    return "sure"


def _tree(folder: Path) -> Path:
    """Return a folder of empty files such as the seeds name, made once."""
    root = folder / "root"
    if not root.is_dir():
        shutil.rmtree(root, ignore_errors=True)
        for part in ("rgb", "depth", "more", "parts", "labels", "bad", "train/s1", "val/s_2", "a_b_c_d_e_f_g"):
            (root / part).mkdir(parents=True)
            for name in (
                "a.png",
                "b_fog.png",
                "a.tif",
                "c_rgb.png",
                "c_angle.npy",
                "_".join("x" * 60) + ".png",
                "é.png",
                ".hidden.png",
            ):
                (root / part / name).touch()
        (root / "train.txt").write_text("a\nb_fog\n")
        (root / "val.txt").write_text("a.png\n")
        (folder / "secret.png").touch()
    return root


_TEMPLATES = (
    "rgb/{id}.png", "rgb", "labels/{id}", "{split}/{scene}/{id}_rgb", "{split}/{scene}/{id}_angle.npy",
    "{a}/{b}_{c}.png", "{id}/{id}_{id}.tif", "{a}_{b}_{c}_{d}_{e}_{f}_{g}/{h}.png", "{a}{b}{c}.png",
    "rgb/{a}_{b}_{c}_{d}_{e}_{f}!.png",
)  # fmt: skip
_PARTS = (
    "{id}", "{split}", "{a}", "{b}", "{c}_{d}", "_", "/", "..", ".", ".png", ".PNG", ".tiff", ".*", "rgb", "x", "\0",
    "\\", "~", "C:", "{", "}", "*", "?", " ", "\n", "{A}", "{1}", "{_a}", "{a b}", "(", "[", "+", "^", "$", "é",
    "a" * 260, "{a}_" * 30,
)  # fmt: skip


def make_template(rng: random.Random) -> bytes:
    """Return a path template with changes."""
    text = rng.choice(_TEMPLATES)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice(_PARTS) + text[at + rng.choice((0, 0, 1, 3, 6)) :]
    return text.encode()


def check_template(data: bytes, folder: Path) -> bool | str:
    """Refused, or a template with which every file that it finds is found again, below the root."""
    root = _tree(folder)
    try:
        template = Template.parse(data.decode("utf-8", "replace"), "x")
    except SettingsError:
        return False
    folders = Folders(root)
    sure = False
    try:
        for values in template.find(folders, {"split": "train"}):
            located = template.locate(folders, {"split": "train", **values})
            if located is None or not located.is_file() or root.resolve() not in located.resolve().parents:
                raise Wrong(f"{values} was found, and is {located}")
            sure = True
    except DataError as error:
        return "several" in str(error) or _short(error)
    return "sure" if sure else True


_LISTS = (
    b"a\nb_fog\n",
    b"a.png\n\nb_fog.tif\n",
    b"s1/c\r\ns_2/c\r\n",
    b"\xef\xbb\xbfa\n",
    b"rgb/a\n" * 2,
    b"1\n2\n3\n" * 20,
)
_IDS = (
    b"..", b"../secret", b"/secret", b"a/../../secret", b"~/x", b"C:\\x", b"\0", b"a" * 300, b"/", b".", b"./a",
    b"a/", b"//", b"\\", b".png", b"\xff", b"\xe2\x80\xa8", b"\r", b"\x0b", b"\x1c", b"a b", b"\t", b"\xc3\xa9",
    b"...", b"b_fog", b".hidden", b"\x85", b"a\0b",
)  # fmt: skip


def make_list(rng: random.Random) -> bytes:
    """Return a list of ids with changes."""
    data = rng.choice(_LISTS)
    if rng.random() < 0.4:
        return mutate(rng, data, _LISTS)
    lines = data.split(b"\n")
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        lines[at] = rng.choice((rng.choice(_IDS), lines[at] + rng.choice(_IDS), rng.choice(_IDS) + lines[at]))
    return b"\n".join(lines)


def check_list(data: bytes, folder: Path) -> bool | str:
    """Refused, or as many ids as lines, each once, each below the root."""
    root = _tree(folder)
    (root / "x.txt").write_bytes(data)
    accepted = False
    for texts, fields in ((("rgb/{id}", "depth/{id}"), ("id",)), (("train/{scene}/{id}_rgb",), ("scene", "id"))):
        templates = {text: Template.parse(text, "x") for text in texts}
        try:
            index = index_split(root, "train", "x.txt", templates, fields, {})
        except DataError as error:
            _short(error)
            continue
        accepted = True
        lines = [line for line in re.split("\r\n|\r|\n", data.decode("utf-8-sig")) if line.strip()]
        if not len(index.ids) == len(set(index.ids)) == len(lines):
            raise Wrong(f"{len(lines)} lines and {len(index.ids)} ids")
        for path in [*(path for files in index.files for path in files.values()), *(path for _, path in index.missing)]:
            if root.resolve() not in path.resolve().parents:
                raise Wrong(f"{path} is outside")
    return "sure" if accepted else False


TARGETS = {
    "settings": Target(make_settings, check_settings, "yaml"),
    "dataset": Target(make_dataset, check_dataset, "yaml"),
    "template": Target(make_template, check_template, "txt"),
    "list": Target(make_list, check_list, "txt"),
}
