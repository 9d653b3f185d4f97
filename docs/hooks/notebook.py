"""The notebook as a page: its words, its code, and what it printed and drew when it last ran."""

import base64
import json
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

DOCS = Path(__file__).resolve().parents[1]
_KINDS = {"image/jpeg": "jpg", "image/png": "png"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page, and its pictures, for each notebook."""
    for path in sorted(DOCS.glob("*.ipynb")):
        content, pictures = as_page(json.loads(path.read_text(encoding="utf-8")), path.stem)
        files.append(File.generated(config, f"{path.stem}.md", content=content))
        for name, data in pictures.items():
            files.append(File.generated(config, name, content=data))
    return files


def as_page(notebook: dict[str, Any], stem: str) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and its pictures by name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(_fenced(source, "sh" if source.startswith("!") else "python"))
        for output in cell["outputs"]:
            data = output.get("data", {})
            drawn = [kind for kind in _KINDS if kind in data]
            if drawn:
                name = f"pictures/{stem}-{len(pictures)}.{_KINDS[drawn[0]]}"
                pictures[name] = base64.b64decode("".join(data[drawn[0]]))
                parts.append(f"![what the cell above draws]({name})")
            else:
                parts.append(_fenced("".join(output.get("text", data.get("text/plain", ""))).strip("\n"), "text"))
    note = f"This page is the notebook [`docs/{stem}.ipynb`]({stem}.ipynb), as it last ran."
    title, _, rest = parts[0].partition("\n")
    return "\n\n".join([title, note, rest.strip(), *parts[1:]]) + "\n", pictures


def _fenced(text: str, language: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"
