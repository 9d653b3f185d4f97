"""A self-contained HTML page: headings, words, tables with bars, pictures. No script; light or dark."""

import base64
import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from memorysam.evaluation.pictures import encode_png
from memorysam.files import write_text
from memorysam.spec import Classes

_STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --faint: #5a5a5a; --line: #d8d8d8; --strong: #444; --paper: #fff;
  --shade: #f4f4f4; --bar: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --faint: #a4a4a4; --line: #3a3a3a; --strong: #999;
  --paper: #161616; --shade: #212121; --bar: #56b4e9; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 72rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.8rem; overflow-wrap: anywhere; }
h2 { margin-top: 2.2rem; font-size: 1.3rem; border-bottom: 1px solid var(--line); }
.scroll { overflow-x: auto; margin: 1rem 0; } table { border-collapse: collapse; }
th, td { padding: .25rem .8rem; text-align: left; } th { border-bottom: 2px solid var(--strong); }
tr:nth-child(even) td { background: var(--shade); }
.number { text-align: right; font-variant-numeric: tabular-nums; } td.bar { width: 16rem; min-width: 8rem; }
td.bar div { background: var(--bar); height: .9rem; }
img { max-width: 100%; display: block; } figure { margin: 1rem 0; }
figcaption { color: var(--faint); font-size: .9rem; overflow-wrap: anywhere; }
img.drawn { background: #fff; padding: .5rem; border-radius: .3rem; box-sizing: border-box; }
.legend span { display: inline-block; margin-right: 1rem; white-space: nowrap; }
.legend i { display: inline-block; width: .9rem; height: .9rem; margin-right: .35rem; border: 1px solid #888; }
summary { cursor: pointer; margin: .6rem 0; }
pre { background: var(--shade); padding: .6rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
@media print { details { display: block; } figure, tr { break-inside: avoid; } }
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

    def more(self, title: str, text: str) -> None:
        """Add a long text as it is, which shows when its title is clicked."""
        self._parts.append(f"<details><summary>{html.escape(title)}</summary><pre>{html.escape(text)}</pre></details>")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[Any]], bar: int | None = None) -> None:
        """Add a table; column number `bar`, in percent, is also drawn. None and NaN are shown as a dash."""
        numbers = [any(_is_number(row[i]) for row in rows) for i in range(len(head))]
        cells = "".join(
            f"<th{_NUMBER if right else ''}>{html.escape(name)}</th>" for name, right in zip(head, numbers, strict=True)
        )
        cells += "<th></th>" if bar is not None else ""
        lines = [f"<tr>{cells}</tr>"]
        for row in rows:
            line = "".join(_cell(value, right) for value, right in zip(row, numbers, strict=True))
            if bar is not None:
                width = max(0.0, min(100.0, float(row[bar]))) if _is_number(row[bar]) else 0.0
                line += f'<td class="bar"><div style="width:{width:.1f}%"></div></td>'
            lines.append(f"<tr>{line}</tr>")
        self._parts.append(f'<div class="scroll"><table>{"".join(lines)}</table></div>')

    def picture(self, picture: NDArray[Any], caption: str) -> None:
        """Add a picture with words below it."""
        self._image(encode_png(picture), "png", caption)

    def drawing(self, svg: bytes, caption: str) -> None:
        """Add a figure in SVG, on white, for its colours are made for that."""
        self._image(svg, "svg+xml", caption, ' class="drawn"')

    def _image(self, content: bytes, kind: str, caption: str, look: str = "") -> None:
        data, text = base64.b64encode(content).decode(), html.escape(caption)
        self._parts.append(
            f'<figure><img{look} alt="{text}" src="data:image/{kind};base64,{data}">'
            f"<figcaption>{text}</figcaption></figure>"
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


_NUMBER = ' class="number"'


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not math.isnan(value)


def _cell(value: object, right: bool) -> str:
    """Return a cell; `right`: of a column of numbers."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        text = "-"
    else:
        text = f"{value:.1f}" if isinstance(value, float) else html.escape(str(value))
    return f"<td{_NUMBER if right else ''}>{text}</td>"
