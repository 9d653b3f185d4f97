"""A self-contained HTML page: headings, words, tables with bars, pictures. No script, nothing fetched."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from memorysam.evaluation.pictures import encode_png
from memorysam.files import write_text
from memorysam.spec import Classes

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.8rem; } h2 { margin-top: 2.2rem; font-size: 1.3rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .25rem .8rem; text-align: left; }
th { border-bottom: 2px solid #444; } tr:nth-child(even) td { background: #f5f5f5; }
td.number { text-align: right; font-variant-numeric: tabular-nums; } td.bar { width: 16rem; }
td.bar div { background: #0072b2; height: .9rem; }
img { max-width: 100%; display: block; } figure { margin: 1rem 0; } figcaption { color: #555; font-size: .9rem; }
.legend span { display: inline-block; margin-right: 1rem; white-space: nowrap; }
.legend i { display: inline-block; width: .9rem; height: .9rem; margin-right: .35rem; border: 1px solid #888; }
code { background: #f0f0f0; padding: .1rem .3rem; } pre { background: #f0f0f0; padding: .6rem; overflow-x: auto; }
"""


class Page:
    """Collects parts of a page, in order.

    Args:
        title: of the page.
    """

    def __init__(self, title: str) -> None:
        self._title = html.escape(title)
        self._parts = [f"<h1>{self._title}</h1>"]

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def words(self, text: str) -> None:
        """Add a paragraph."""
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def command(self, text: str) -> None:
        """Add something to type."""
        self._parts.append(f"<pre>{html.escape(text)}</pre>")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[Any]], bar: int | None = None) -> None:
        """Add a table; column number `bar`, in percent, is also drawn."""
        cells = "".join(f"<th>{html.escape(name)}</th>" for name in head) + ("<th></th>" if bar is not None else "")
        lines = [f"<tr>{cells}</tr>"]
        for row in rows:
            line = "".join(_cell(value) for value in row)
            if bar is not None:
                width = max(0.0, min(100.0, float(row[bar])))
                line += f'<td class="bar"><div style="width:{width:.1f}%"></div></td>'
            lines.append(f"<tr>{line}</tr>")
        self._parts.append(f"<table>{''.join(lines)}</table>")

    def picture(self, picture: NDArray[Any], caption: str) -> None:
        """Add a picture with words below it."""
        data = base64.b64encode(encode_png(picture)).decode()
        text = html.escape(caption)
        self._parts.append(
            f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'
        )

    def legend(self, classes: Classes) -> None:
        """Add the classes with their colours."""
        items = (
            f'<span><i style="background:rgb{colour}"></i>{html.escape(name)}</span>'
            for name, colour in zip(classes.names, classes.colors, strict=True)
        )
        self._parts.append(f'<p class="legend">{"".join(items)}</p>')

    def save(self, path: Path) -> None:
        """Write the page."""
        head = (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{self._title}</title><style>{_STYLE}</style>'
        )
        write_text(path, head + "\n".join(self._parts) + "</html>\n")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f'<td class="number">{value:.1f}</td>'
    kind = ' class="number"' if isinstance(value, int) else ""
    return f"<td{kind}>{html.escape(str(value))}</td>"
