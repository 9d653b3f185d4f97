"""Which samples a split has, and where their files are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from memorysam.data.dataset_keys import Tag
from memorysam.data.readers import EXTENSIONS
from memorysam.data.template import Folders, Template, leaves_root
from memorysam.errors import DataError, listing

Key = tuple[str, ...]
"""Values of the fields that make the name of a sample, in their order."""


@dataclass(frozen=True)
class Index:
    """The samples of a split as they lie on the disk, in their order."""

    ids: list[str] = field(default_factory=list)
    files: list[dict[str, Path]] = field(default_factory=list)
    """Per sample: modality, or `label` -> file. What is missing is not in it."""
    tags: list[dict[str, str]] = field(default_factory=list)
    absent: list[dict[str, Path]] = field(default_factory=list)
    """Per sample: modality, or `label` -> where a file should be that is missing."""
    near: dict[Path, str] = field(default_factory=dict)
    """Where a file should be -> name of one that is there and differs in case or in the form of accents only."""

    @property
    def missing(self) -> list[tuple[str, Path]]:
        """Modality or `label`, and where a file should be."""
        return [(name, path) for lacking in self.absent for name, path in lacking.items()]

    def instead(self, path: Path) -> str:
        """Return what there is instead of a missing file, as words to put behind it; nothing if there is nothing."""
        return f", but there is {self.near[path]}" if path in self.near else ""

    def with_expected(self) -> "Index":
        """Take missing files for being where they should be: whoever reads them says that they are not."""
        pairs = zip(self.files, self.absent, strict=True)
        return replace(self, files=[{**files, **lacking} for files, lacking in pairs])


def index_split(
    root: Path,
    split: str,
    listed: str | None,
    templates: Mapping[str, Template],
    fields: tuple[str, ...],
    tags: Mapping[str, Tag],
) -> Index:
    """Look up the files of a split.

    Args:
        root: folder of the data.
        split: its name, which stands for the field {split}.
        listed: list of ids below the root; without one, samples are what any of the templates finds.
        templates: modality, or `label` -> where its files are.
        fields: names of the fields that make the name of a sample.
        tags: rules for tags.

    Raises:
        DataError: no sample at all, a wrong list, or two files for one sample and modality.
    """
    folders = Folders(root)
    fixed = {"split": split}
    if listed is not None:
        keys: Sequence[Key] = _read_list(root / listed, fields)
    else:
        found = [values for template in templates.values() for values in template.find(folders, fixed)]
        keys = sorted({tuple(values[name] for name in fields) for values in found})
    if not keys:
        searched = listing(template.fill(fixed) for template in templates.values())
        raise DataError(
            f"split {split!r} is empty",
            where=root if listed is None else root / listed,
            expected=f"files such as {searched}" if listed is None else "one id per line",
            fix="correct `root` or the paths in the dataset file" if listed is None else "write ids into the list",
        )
    index = Index()
    for key in keys:
        values = dict(zip(fields, key, strict=True)) | fixed
        index.ids.append(require_unicode("/".join(key), root))
        derived = {name: tag.of(values[tag.from_]) for name, tag in tags.items()}
        index.tags.append(dict(zip(fields[:-1], key, strict=False)) | derived)
        files: dict[str, Path] = {}
        absent: dict[str, Path] = {}
        for name, template in templates.items():
            file = template.locate(folders, values)
            if file is None:
                path = absent[name] = root / template.fill(values)
                if (other := template.near(folders, values)) is not None:
                    index.near[path] = other
            else:
                files[name] = file
        index.files.append(files)
        index.absent.append(absent)
    return index


def require_unicode(name: str, where: Path) -> str:
    """Return a name, after checking that it can be written anywhere.

    Raises:
        DataError: it holds bytes that are no characters.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"the name of this file is not UTF-8: {name!a}",
            where=where,
            expected="names in UTF-8",
            fix="rename it",
        ) from None
    return name


def unlisted(root: Path, templates: Mapping[str, Template], fields: tuple[str, ...], listed: set[str]) -> list[str]:
    """Return the ids of samples that lie on the disk but are not among `listed`."""
    folders = Folders(root)
    found = {"/".join(values[name] for name in fields) for t in templates.values() for values in t.find(folders, {})}
    return sorted(found - listed)


def _read_list(path: Path, fields: tuple[str, ...]) -> list[Key]:
    """Read ids, one per line; with several fields, an id is their values joined by slashes."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # and at nothing else that Unicode calls a line
    except (OSError, UnicodeDecodeError) as error:
        missing = isinstance(error, FileNotFoundError)
        raise DataError(
            "there is no such list of ids" if missing else f"this list of ids cannot be read: {error}",
            where=path,
            expected="a text file with one id per line, in the folder of the data",
            fix="correct `splits` in the dataset file, or write the list",
        ) from None
    keys: dict[Key, int] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text:
            continue
        suffix = Path(text).suffix
        stem = text.removesuffix(suffix) if suffix.lower() in EXTENSIONS else text
        # A single field may hold folders; several must say where each of them ends.
        key = (stem,) if len(fields) == 1 else tuple(stem.split("/"))
        where = f"{path}, line {number}"
        if (
            leaves_root(stem)
            or "\0" in stem
            or len(key) != len(fields)
            or not all(part.strip(".") for part in stem.split("/"))
        ):
            raise DataError(
                f"{text!r} is not the id of a sample",
                where=where,
                expected="/".join(f"{{{name}}}" for name in fields) + ", below the folder of the data",
                fix="correct the line",
            )
        if key in keys:
            raise DataError(
                f"the id {text!r} is in this list twice",
                where=where,
                expected=f"each id once; it is also in line {keys[key]}",
                fix="remove one of the lines",
            )
        keys[key] = number
    return list(keys)
