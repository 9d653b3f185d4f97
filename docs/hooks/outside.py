"""Pages of what lies outside of `docs`, so that links to it work on the site as they do in the repository."""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = {
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security.md",
}
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents in the repository's root, and a page for whatever else pages link to."""
    for name, place in DOCUMENTS.items():
        files.append(File.generated(config, place, content=(ROOT / name).read_text(encoding="utf-8")))
    wanted: set[str] = set()
    for file in list(files):
        if file.is_documentation_page():
            place = _place(file)
            targets = (_target(match[1], place) for match in _LINK.finditer(file.content_string))
            wanted |= {target for target in targets if _is_outside(target)}
    for target in sorted(wanted):
        files.append(File.generated(config, _page(target), content=_shown(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links that leave `docs` to the pages made of what they lead to."""
    here, place = posixpath.dirname(page.file.src_uri), _place(page.file)

    def turned(match: re.Match[str]) -> str:
        target = _target(match[1], place)
        if target in DOCUMENTS:
            found = DOCUMENTS[target]
        elif _is_outside(target):
            found = _page(target)
        elif place == "" and target.startswith("docs/"):  # in the root's documents
            found = target.removeprefix("docs/")
        else:
            return match[0]
        return f"]({posixpath.relpath(found, here or '.')}{match[2] or ''})"

    return _LINK.sub(turned, markdown)


def _place(file: File) -> str:
    """Return the folder that a page's links are relative to, from the repository's root."""
    return "" if file.src_uri in DOCUMENTS.values() else posixpath.join("docs", posixpath.dirname(file.src_uri))


def _target(link: str, place: str) -> str:
    return posixpath.normpath(posixpath.join(place, link))


def _is_outside(target: str) -> bool:
    inside = target == "docs" or target.startswith(("docs/", ".."))
    return not inside and target not in DOCUMENTS and (ROOT / target).exists()


def _page(target: str) -> str:
    return f"files/{target.replace('.', '-')}.md"


def _shown(path: Path) -> str:
    """Return a page that shows a file, or all files of a folder."""
    files = sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]
    kind = {".yaml": "yaml", ".json": "json", ".md": "text"}
    unsearched = ["---", "search: {exclude: true}", "---", ""]  # numbers by the thousand would drown the words
    lines = [*unsearched, f"# {path.relative_to(ROOT).as_posix()}", ""]
    for one in files:
        content = one.read_text(encoding="utf-8").rstrip("\n")
        lines += [f"## {one.name}", "", f"~~~~{kind.get(one.suffix, 'text')}", content, "~~~~", ""]
    return "\n".join(lines)
