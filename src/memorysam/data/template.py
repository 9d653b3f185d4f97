"""Path templates such as `event/{map}/{frame}_event.png`: which files there are, and what they are called."""

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from memorysam.data.readers import EXTENSIONS
from memorysam.errors import DataError, SettingsError, listing

_FIELD = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_MOST_FIELDS = 5  # in one name; the ways to divide a long name among more are too many to try
_ANY_EXTENSION = ".*"


def leaves_root(path: str) -> bool:
    """Whether a path may point to something that is not below the folder that it is relative to."""
    return (
        path.startswith(("/", "~"))
        or ".." in path.split("/")
        or "\\" in path
        or "\0" in path
        or re.match("[A-Za-z]:", path) is not None
    )


def folded(name: str) -> str:
    """Return what names have in common that differ in case or the form of accents only."""
    return unicodedata.normalize("NFC", name).casefold()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself; who reads it says so
        return False


class Folders:
    """The folders below a root, each read once: thousands of single look-ups are slow on network drives."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files: dict[str, dict[str, list[str]]] = {}
        self._folders: dict[str, list[str]] = {}
        self._alike: dict[str, dict[tuple[str, bool], str]] = {}

    def files(self, folder: str) -> dict[str, list[str]]:
        """Return the files in a folder: name without extension -> names; empty for a folder that is not there."""
        self._read(folder)
        return self._files[folder]

    def alike(self, folder: str) -> dict[tuple[str, bool], str]:
        """Return the files in a folder by their names, whole and without extension, whatever their case and form."""
        if folder not in self._alike:
            files = self.files(folder)
            whole = {(folded(name), False): name for names in files.values() for name in names}
            self._alike[folder] = whole | {(folded(stem), True): names[0] for stem, names in files.items()}
        return self._alike[folder]

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders in a folder, sorted."""
        self._read(folder)
        return self._folders[folder]

    def _read(self, folder: str) -> None:
        if folder in self._files:
            return
        files: dict[str, list[str]] = {}
        folders: list[str] = []
        try:
            with os.scandir(self.root / folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue  # what operating systems leave behind
                    if _is_folder(entry):
                        folders.append(entry.name)
                    else:
                        files.setdefault(os.path.splitext(entry.name)[0], []).append(entry.name)  # noqa: PTH122
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise DataError(
                f"this folder cannot be read: {error.strerror}",
                where=self.root / folder,
                expected="a readable folder",
                fix="see to it that this user may read it",
            ) from None
        self._files[folder] = {stem: sorted(names) for stem, names in sorted(files.items())}
        self._folders[folder] = sorted(folders)


@dataclass(frozen=True)
class Template:
    """A path below the root with named fields, each of which stands for a part of one folder's or file's name.

    A path without any field is a folder: its files are matched by `{id}`. A path without extension takes any known one.
    """

    text: str

    @classmethod
    def parse(cls, text: str, where: object) -> "Template":
        """Check a path from a dataset file.

        Raises:
            SettingsError: it leaves the root, or its braces are not those of fields.
        """
        path = text.strip().rstrip("/")
        if not path or leaves_root(path):
            raise SettingsError(
                f"the path {text!r} does not lie below the root",
                where=where,
                expected="a path relative to `root`, with / between its parts and without '..'",
                fix="choose `root` so that all files lie below it",
            )
        path = "/".join(part for part in path.split("/") if part not in ("", "."))
        if re.search(r"[{}*?]", _FIELD.sub("", path)):
            raise SettingsError(
                f"the path {text!r} is not a template",
                where=where,
                expected="fields as {name}, in small letters, such as rgb/{id}.png; no * or ?",
            )
        crowded = any(len(_FIELD.findall(part)) > _MOST_FIELDS for part in path.split("/"))
        if crowded or re.search(r"\}\{", path):
            raise SettingsError(
                f"the path {text!r} does not say where one field ends and the next begins",
                where=where,
                expected=f"at most {_MOST_FIELDS} fields in one name, with something between them",
                fix="one field for all of them will do, if they need not be told apart",
            )
        if not _FIELD.search(path):
            path += "/{id}"
        extension = Path(path).suffix.lower()
        if re.fullmatch(r"\.[a-z]+[0-9]?", extension) and extension not in EXTENSIONS:
            raise SettingsError(
                f"files with the extension {extension!r} cannot be read",
                where=where,
                expected=listing(EXTENSIONS),
                fix="convert the files, or leave the extension out of the path to take any of these",
            )
        return cls(path if extension in EXTENSIONS else path + _ANY_EXTENSION)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, in the order in which they first appear."""
        return tuple(dict.fromkeys(_FIELD.findall(self.text)))

    def fill(self, values: Mapping[str, str]) -> str:
        """Put values in the place of fields; fields without a value stay."""
        return _FIELD.sub(lambda match: values.get(match[1], match[0]), self.text)

    def locate(self, folders: Folders, values: Mapping[str, str]) -> Path | None:
        """Return the file for these values, None if there is none.

        Raises:
            DataError: several files that differ in their extension only.
        """
        folder, _, name = self.fill(values).rpartition("/")
        if not name.endswith(_ANY_EXTENSION):
            found = [name] if name in folders.files(folder).get(os.path.splitext(name)[0], ()) else []  # noqa: PTH122
        else:
            names = folders.files(folder).get(name.removesuffix(_ANY_EXTENSION), ())
            found = [name for name in names if Path(name).suffix.lower() in EXTENSIONS]
        if len(found) > 1:
            raise DataError(
                f"there are {len(found)} files for one sample: {', '.join(found)}",
                where=folders.root / folder,
                expected="one",
                fix="remove the others, or write the extension into the path, such as "
                f"{self.text.removesuffix(_ANY_EXTENSION)}{Path(found[0]).suffix}",
            )
        return folders.root / folder / found[0] if found else None

    def near(self, folders: Folders, values: Mapping[str, str]) -> str | None:
        """Return the name of a file that differs from the one for these values in case or the form of accents only."""
        folder, _, name = self.fill(values).rpartition("/")
        return folders.alike(folder).get((folded(name.removesuffix(_ANY_EXTENSION)), name.endswith(_ANY_EXTENSION)))

    def find(self, folders: Folders, fixed: Mapping[str, str]) -> Iterator[dict[str, str]]:
        """Yield the values of the fields for every file that there is; fields in `fixed` are given."""
        parts = self.fill(fixed).split("/")
        yield from _walk(folders, "", parts, {})


def _walk(folders: Folders, folder: str, parts: list[str], values: dict[str, str]) -> Iterator[dict[str, str]]:
    """Match `parts` against what lies in `folder`; `values` are those of the parts above."""
    part = _FIELD.sub(lambda match: values.get(match[1], match[0]), parts[0])
    if len(parts) == 1:
        names = [name for same in folders.files(folder).values() for name in same]
    else:
        names = [part] if not _FIELD.search(part) else folders.folders(folder)
    pattern = _pattern(part)
    seen = set()
    for name in names:
        match = pattern.fullmatch(name)
        if match is None:
            continue
        found = values | match.groupdict()
        if len(parts) > 1:
            yield from _walk(folders, f"{folder}/{name}" if folder else name, parts[1:], found)
        elif (key := tuple(found.values())) not in seen:  # a.png and a.jpg are one sample, with two files
            seen.add(key)
            yield found


def _pattern(part: str) -> re.Pattern[str]:
    """Return what the name of one file or folder must look like."""
    stem = part.removesuffix(_ANY_EXTENSION)
    pieces = _FIELD.split(stem)  # literal, field, literal, field, ..., literal
    pattern = re.escape(pieces[0])
    bound: set[str] = set()
    for name, literal in zip(pieces[1::2], pieces[2::2], strict=True):
        pattern += f"(?P={name})" if name in bound else f"(?P<{name}>.+)"
        pattern += re.escape(literal)
        bound.add(name)
    if stem != part:
        pattern += "(?i:" + "|".join(re.escape(extension) for extension in EXTENSIONS) + ")"
    return re.compile(pattern, re.DOTALL)
