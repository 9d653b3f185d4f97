"""A dataset.yaml, checked: what is wrong with it is said before any file of the data is touched."""

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memorysam.data.dataset_keys import (
    INVALID,
    LABEL,
    RAW_VALUES,
    Crop,
    DatasetFile,
    InvalidMask,
    LabelFile,
    Published,
    Sensor,
    Tag,
    part_keys,
)  # fmt: skip
from memorysam.data.template import Template, leaves_root
from memorysam.errors import DataError, SettingsError, did_you_mean, listing
from memorysam.spec import IGNORE, Classes
from memorysam.strict import build, read_yaml

_IGNORE_NAME = "ignore"


@dataclass(frozen=True)
class LabelMap:
    """From raw label values to class ids. Without a map in the dataset file, raw value `i` is class `i`."""

    ids: Mapping[int, int]
    """Raw value -> class id, or the ignore index."""
    names: Mapping[int, str]
    """Raw value -> class name, or `ignore`."""
    channel: int | None

    @cached_property
    def _table(self) -> NDArray[np.int16]:
        table = np.full(RAW_VALUES, -1, np.int16)
        table[list(self.ids)] = list(self.ids.values())
        return table

    def apply(self, raw: NDArray[Any], path: Path) -> NDArray[np.uint8]:
        """Turn raw values `[H, W]` into class ids.

        Raises:
            DataError: a value that is not in the map; all such values are named, with the number of their pixels.
        """
        if raw.dtype in (np.uint8, np.uint16):
            ids = self._table.take(raw)
        else:
            inside = (raw >= 0) & (raw < RAW_VALUES)
            ids = np.where(inside, self._table.take(np.where(inside, raw, 0)), np.int16(-1))
        if (ids < 0).any():
            values, counts = np.unique(raw[ids < 0], return_counts=True)
            found = [f"{value} ({count} pixels)" for value, count in zip(values, counts, strict=True)]
            raise DataError(
                f"this label holds values that are no class: {listing(found)}",
                where=path,
                expected=listing((f"{value}: {name}" for value, name in sorted(self.names.items())), 40),
                fix=f"add them to `map` of the label, such as {values[0]}: ignore, or mend the label",
            )
        return ids.astype(np.uint8)


@dataclass(frozen=True)
class Layout:
    """What a dataset.yaml says, checked."""

    name: str
    root: Path | None
    """As written, relative to the file."""
    sensors: dict[str, Sensor]
    classes: Classes
    label: LabelMap | None
    templates: dict[str, Template]
    """Modality, or `label` -> where its files are."""
    fields: tuple[str, ...]
    """Fields that make the name of a sample."""
    lists: dict[str, str | None]
    """Split -> its list of ids, None for splits that are folders."""
    tags: dict[str, Tag]
    crop: Crop
    invalid: InvalidMask | None
    published: dict[str, Published]

    @property
    def resized(self) -> frozenset[str]:
        """Modalities whose files may have another size than the rest."""
        return frozenset(name for name, sensor in self.sensors.items() if sensor.resize)

    def keys(self, modalities: Sequence[str]) -> list[str]:
        """Return the keys of all files that the named modalities and the label need."""
        parts = {key for name in modalities for key in part_keys(name, len(self.sensors[name].paths))}
        if self.invalid is not None and self.invalid.modality in modalities:
            parts.add(INVALID)
        return [key for key in self.templates if key in parts or key == LABEL]


def read_layout(path: Path) -> Layout:
    """Read a dataset file.

    Raises:
        SettingsError: an unknown key, a wrong value, or keys that contradict each other.
    """
    content = build(DatasetFile, read_yaml(path), path)
    sensors = {}
    for name, values in content.modalities.items():
        if name == LABEL or "name" in values:
            raise SettingsError(
                "a modality is named by its key, and not 'label'", where=f"{path}, modalities.{name}", fix="rename it"
            )
        sensors[name] = build(Sensor, {"name": name, **values}, f"{path}, modalities.{name}")
    classes = _classes(content.classes, path)
    label = None if content.label is None else build(LabelFile, content.label, f"{path}, label")
    if label is not None and label.map is not None and len(label.map) < len((content.label or {})["map"]):
        raise SettingsError(
            "a raw value is mapped twice", where=f"{path}, label.map", fix="write each once, as a number, not in quotes"
        )
    templates = {
        key: Template.parse(text, f"{path}, modalities.{name}")
        for name, sensor in sensors.items()
        for key, text in zip(part_keys(name, len(sensor.paths)), sensor.paths, strict=True)
    }
    if label is not None:
        templates[LABEL] = Template.parse(label.path, f"{path}, label")
    invalid = None if label is None else label.invalid
    if invalid is not None:
        templates[INVALID] = Template.parse(invalid.path, f"{path}, label.invalid")
        if invalid.modality not in sensors:
            raise SettingsError(
                f"the mask of invalid pixels is of {invalid.modality!r}, which is no modality",
                where=f"{path}, label.invalid",
                fix=did_you_mean(invalid.modality, sensors),
            )
    fields = _common_fields(templates, path)
    return Layout(
        name=content.name,
        root=content.root,
        sensors=sensors,
        classes=classes,
        label=None if label is None else _label_map(label, classes, f"{path}, label.map"),
        templates=templates,
        fields=fields,
        lists=_lists(content.splits, templates, path),
        tags=_tags(content.tags, fields, path),
        crop=build(Crop, content.crop, f"{path}, crop"),
        invalid=invalid,
        published={k: build(Published, v, f"{path}, published.{k}") for k, v in content.published.items()},
    )


def _classes(written: Any, path: Path) -> Classes:
    """Return names, and colours where they are given."""
    where = f"{path}, classes"
    if not isinstance(written, dict | list) or not all(isinstance(name, str) for name in written):
        raise SettingsError(
            "the classes are not names",
            where=where,
            expected="[road, car], or {road: [128, 64, 128], car: [0, 0, 142]}",
            fix="put names that YAML takes for something else, such as no or 1, into quotes",
        )
    if _IGNORE_NAME in written:
        raise SettingsError(
            f"a class cannot be called {_IGNORE_NAME!r}",
            where=where,
            expected=f"classes only; pixels that do not count are mapped to {_IGNORE_NAME} in label.map",
        )
    colours = written if isinstance(written, dict) else {}
    for name, colour in colours.items():
        if not isinstance(colour, list) or len(colour) != 3 or not all(v in range(256) for v in colour):
            raise SettingsError(
                f"class {name!r} has the colour {reprlib.repr(colour)}",
                where=where,
                expected="[red, green, blue] from 0 to 255",
            )
    return build(Classes, {"names": tuple(written), "colors": tuple(map(tuple, colours.values()))}, where)


def _label_map(label: LabelFile, classes: Classes, where: str) -> LabelMap:
    """Turn names into ids."""
    ids = {name: number for number, name in enumerate(classes.names)} | {_IGNORE_NAME: IGNORE}
    names = label.map
    if names is None:
        names = dict(enumerate(classes.names)) | {IGNORE: _IGNORE_NAME}
    for raw, name in names.items():
        if name not in ids:
            raise SettingsError(
                f"raw value {raw} is mapped to {name!r}, which is no class", where=where, fix=did_you_mean(name, ids)
            )
    return LabelMap({raw: ids[name] for raw, name in names.items()}, names, label.channel)


def _common_fields(templates: Mapping[str, Template], path: Path) -> tuple[str, ...]:
    """Return the fields that make the name of a sample, after checking that all paths have the same ones."""
    (first, pattern), *others = templates.items()
    for name, template in others:
        different = set(pattern.fields) ^ set(template.fields)
        if different:
            raise SettingsError(
                f"the paths of {first} and {name} do not have the same fields: {listing(sorted(different))}",
                where=path,
                expected=f"{pattern.text} and {template.text} with the same fields",
                fix="write every field into every path; samples are matched by them",
            )
    fields = tuple(name for name in pattern.fields if name != "split")
    if not fields:
        raise SettingsError(
            "the paths have no field that tells samples apart", where=path, fix="write {id} into every path"
        )
    return fields


def _lists(splits: Any, templates: Mapping[str, Template], path: Path) -> dict[str, str | None]:
    """Return the list file of each split, None for folders."""
    where = f"{path}, splits"
    expected = "lists, such as {train: train.txt, val: val.txt}, or [train, val] and the field {split} in every path"
    words = (*splits, *splits.values()) if isinstance(splits, dict) else splits
    if not isinstance(splits, dict | list) or not words or not all(isinstance(word, str) and word for word in words):
        raise SettingsError(f"{reprlib.repr(splits)} does not say what the splits are", where=where, expected=expected)
    # Also where they are no folders: a cache names its files by them.
    if len(set(splits)) < len(splits) or any("/" in name or leaves_root(name) for name in splits):
        raise SettingsError(
            f"{reprlib.repr(list(splits))} are not names of folders, each given once",
            where=where,
            fix="correct the names",
        )
    if isinstance(splits, dict):
        return dict(splits)
    if not all("split" in template.fields for template in templates.values()):
        raise SettingsError(
            "splits are named without lists of ids, but the paths have no field {split}", where=where, expected=expected
        )
    return dict.fromkeys(splits)


def _tags(written: Mapping[str, dict[str, Any]], fields: tuple[str, ...], path: Path) -> dict[str, Tag]:
    """Return the rules of tags, after checking that they can be applied."""
    tags = {}
    for name, values in written.items():
        where = f"{path}, tags.{name}"
        tag = tags[name] = build(Tag, values, where)
        if tag.from_ not in fields:
            raise SettingsError(
                f"tag {name!r} is taken from {tag.from_!r}, which is no field of the paths",
                where=where,
                expected=f"one of: {listing(fields)}",
                fix=did_you_mean(tag.from_, fields),
            )
        if name in fields[:-1]:
            raise SettingsError(
                f"tag {name!r} has the name of a field, which is a tag by itself", where=where, fix="rename the tag"
            )
    return tags
