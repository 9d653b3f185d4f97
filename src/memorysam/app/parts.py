"""Pieces of the pages in HTML; every word in them is escaped."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

from memorysam.errors import MemorySAMError
from memorysam.evaluation.pictures import Picture, encode_png, fit

THUMBNAIL = 288
"""Pixels of the longer side."""

CSS = """
.gradio-container {max-width: 1700px !important; margin: 0 auto !important; padding: 4px 12px !important}
footer {display: none !important}
.ms-title {display: flex; align-items: baseline; gap: 14px; flex-wrap: wrap}
.ms-title b {font-size: 22px; letter-spacing: -.02em}
.ms-title span, .ms-note {color: var(--body-text-color-subdued); font-size: 13px}
.ms-grid {display: grid; gap: 10px}
.ms-card {margin: 0; background: var(--background-fill-secondary); border-radius: 8px; overflow: hidden;
  border: 1px solid var(--border-color-primary)}
.ms-card img {display: block; width: 100%; image-rendering: pixelated}
.ms-card figcaption {display: flex; justify-content: space-between; gap: 8px; padding: 5px 9px; font-size: 13px}
.ms-card figcaption b {font-weight: 600}
.ms-card figcaption span { color: var(--body-text-color-subdued); white-space: nowrap}
.ms-off img {filter: grayscale(1) brightness(.35)}
.ms-off figcaption b {text-decoration: line-through; color: var(--body-text-color-subdued)}
.ms-facts {display: flex; gap: 8px 22px; flex-wrap: wrap; margin: 2px 0 10px}
.ms-facts div {font-size: 12px; color: var(--body-text-color-subdued)}
.ms-facts b {display: block; font-size: 20px; color: var(--body-text-color); font-variant-numeric: tabular-nums}
.ms-legend {display: grid; grid-template-columns: repeat(auto-fill, minmax(215px, 1fr)); gap: 3px 18px; font-size: 13px}
.ms-legend div {display: grid; grid-template-columns: 14px 1fr auto; gap: 8px; align-items: center}
.ms-legend i {width: 14px; height: 14px; border-radius: 3px; border: 1px solid rgba(128,128,128,.4)}
.ms-legend em {font-style: normal; font-variant-numeric: tabular-nums; color: var(--body-text-color-subdued)}
.ms-bar {height: 12px; border-radius: 3px}
.ms-bars {display: grid; grid-template-columns: max-content 1fr max-content; gap: 4px 12px; align-items: center;
  font-size: 13px; font-variant-numeric: tabular-nums}
.ms-head {font-size: 14px; font-weight: 650; margin: 2px 0 8px}
.ms-tags {display: flex; gap: 6px; flex-wrap: wrap; margin-bottom: 12px}
.ms-tags span {font-size: 12px; padding: 2px 9px; border-radius: 9px; background: var(--background-fill-secondary);
  border: 1px solid var(--border-color-primary); overflow-wrap: anywhere}
#inputs, #summary, #attention, #sample, #histogram {padding: 0 !important; border: 0 !important;
  background: none !important; box-shadow: none !important}
#segmentation img, #confidence img, #difference img, #sample img {image-rendering: pixelated}
#segmentation img {cursor: crosshair}
"""


def message(error: MemorySAMError) -> str:
    """Return what went wrong, for a page."""
    return "<br>".join(escape(line.strip()) for line in str(error).splitlines())


def title(name: str, facts: Sequence[str]) -> str:
    """Return the first line of a page."""
    words = "".join(f"<span>{escape(fact)}</span>" for fact in facts)
    return f'<div class="ms-title"><b>{escape(name)}</b>{words}</div>'


def card(picture: Picture, name: str, note: str = "", off: bool = False, longest: int = THUMBNAIL) -> str:
    """Return a picture with its name and a note."""
    small = fit(picture, longest) if max(picture.shape[:2]) > longest else picture
    source = base64.b64encode(encode_png(small)).decode()
    return (
        f'<figure class="ms-card{" ms-off" if off else ""}">'
        f'<img alt="{escape(name)}" src="data:image/png;base64,{source}">'
        f"<figcaption><b>{escape(name)}</b><span>{escape(note)}</span></figcaption></figure>"
    )


def grid(cards: Sequence[str], columns: int) -> str:
    """Return cards beside each other."""
    return f'<div class="ms-grid" style="grid-template-columns: repeat({columns}, 1fr)">{"".join(cards)}</div>'


def facts(found: Mapping[str, str]) -> str:
    """Return numbers with what they are."""
    words = "".join(f"<div><b>{escape(value)}</b>{escape(key)}</div>" for key, value in found.items())
    return f'<div class="ms-facts">{words}</div>'


def legend(shares: Sequence[tuple[str, tuple[int, int, int], float, float]]) -> str:
    """Return class colours, names, shares, and what they were with all sensors."""
    rows = []
    for name, colour, now, before in shares:
        moved = "" if abs(now - before) < 0.0005 else f" ({(now - before) * 100:+.1f})"
        rows.append(
            f'<div><i style="background: rgb{colour}"></i>{escape(name)}<em>{now * 100:.1f} %{moved}</em></div>'
        )
    return f'<div class="ms-legend">{"".join(rows)}</div>'


def bars(shares: Sequence[tuple[str, tuple[int, int, int], float]]) -> str:
    """Return a histogram."""
    most = max([share for *_, share in shares], default=1.0)
    rows = [
        f'<span>{escape(name)}</span><div class="ms-bar" style="width: {max(0.4, 100 * share / most):.1f}%; '
        f'background: rgb{colour}"></div><span>{share * 100:.1f} %</span>'
        for name, colour, share in shares
    ]
    return f'<div class="ms-bars">{"".join(rows)}</div>' if rows else note("no label")


def attention(found: Mapping[str, Mapping[str, tuple[Picture, float, float]]]) -> str:
    """Return where each modality looks: a card for each pair of one that looks and an earlier one."""
    cards = [
        card(picture, f"{name} \N{RIGHTWARDS ARROW} {other}", _weight(share, pointer))
        for name, glances in found.items()
        for other, (picture, share, pointer) in glances.items()
    ]
    return grid(cards, max(3, len(found)))


def _weight(share: float, pointer: float) -> str:
    """Say how much of the weight went there, and if it went to no place: the map then shows next to nothing."""
    return f"{share * 100:.0f} %" + (f", pointer {pointer * 100:.0f} %" if pointer >= 0.005 else "")


def tags(found: Mapping[str, str]) -> str:
    """Return what is known of a sample besides."""
    words = "".join(f"<span>{escape(key)}: {escape(value)}</span>" for key, value in found.items())
    return f'<div class="ms-tags">{words}</div>'


def heading(text: str) -> str:
    """Return a small heading."""
    return f'<div class="ms-head">{escape(text)}</div>'


def note(text: str) -> str:
    """Return a remark."""
    return f'<div class="ms-note">{escape(text)}</div>'
