"""The page of `memorysam view`: a data set, sample by sample."""

from typing import Any

from memorysam.app import parts
from memorysam.app.browse import Browser, Filter
from memorysam.app.page import told
from memorysam.app.serve import library
from memorysam.errors import DataError

_ANY = "any"


class ViewPage:
    """What happens on the page, and the components.

    Args:
        browsers: by split, of the splits that can be looked at.
        split: the first that is shown.
        title: of the page.
    """

    def __init__(self, browsers: dict[str, Browser], split: str, title: str) -> None:
        self.browsers, self.gr = browsers, library()
        gr = self.gr
        first = browsers[split]
        self._tags = sorted({f"{k}: {v}" for b in browsers.values() for k, vs in b.tag_values().items() for v in vs})
        with gr.Blocks(title=title, analytics_enabled=False, fill_width=True, delete_cache=(3600, 3600)) as self.blocks:
            self.index = gr.State(0)
            gr.HTML(parts.title(title, [f"{name}: {len(b)} samples" for name, b in browsers.items()]))
            with gr.Row():
                with gr.Column(scale=1, min_width=240):
                    self.split = gr.Dropdown(list(browsers), value=split, label="Split", elem_id="split")
                    with gr.Row():
                        self.previous = gr.Button("Previous", size="sm", min_width=60, elem_id="previous")
                        self.next = gr.Button("Next", size="sm", variant="primary", min_width=60, elem_id="next")
                    self.id = gr.Textbox(
                        first.source.ids[0],
                        label="Sample",
                        info="type a name, or a part that only one has",
                        lines=1,
                        max_lines=1,
                        elem_id="id",
                    )
                    self.wanted = gr.Dropdown(
                        [_ANY, *first.source.classes.names], value=_ANY, label="Only with the class", elem_id="class"
                    )
                    self.tags = gr.Dropdown(
                        self._tags,
                        value=[],
                        multiselect=True,
                        label="Only with the tags",
                        elem_id="tags",
                        visible=bool(self._tags),
                    )
                    self.opacity = gr.Slider(0, 1, 0.55, step=0.05, label="Opacity of the label", elem_id="opacity")
                    self.base = gr.Dropdown(list(first.names), value=first.names[0], label="Drawn over", elem_id="base")
                with gr.Column(scale=4, min_width=520):
                    self.pictures = gr.HTML(padding=False, elem_id="sample")
                with gr.Column(scale=2, min_width=260):
                    self.facts = gr.HTML(padding=False, elem_id="histogram")
            self._connect()

    def _connect(self) -> None:
        where = [self.split, self.index, self.wanted, self.tags]
        draw = {
            "fn": self.draw, "inputs": [self.split, self.index, self.opacity, self.base],
            "outputs": [self.id, self.pictures, self.facts], "show_progress": "hidden",
        }  # fmt: skip
        for button, step in ((self.next, 1), (self.previous, -1)):
            button.click(lambda *given, step=step: self.move(step, *given), where, [self.index]).success(**draw)
        for filtered in (self.wanted, self.tags):
            filtered.input(lambda *given: self.move(0, *given), where, [self.index]).success(**draw)
        self.split.input(lambda: 0, None, [self.index]).success(**draw)
        self.id.submit(self.jump, [self.split, self.id], [self.index]).success(**draw)
        self.opacity.release(**draw)
        self.base.input(**draw)
        self.blocks.load(**draw)

    @told
    def move(self, step: int, split: str, index: int, class_name: str, tags: list[str]) -> int:
        """Return the next sample that is wanted, in the direction of `step`; 0 stays where that is possible.

        Raises:
            DataError: there is none.
        """
        pairs = tuple((name, value) for name, _, value in (tag.partition(": ") for tag in tags or ()))
        wanted = Filter(pairs, None if class_name == _ANY else class_name)
        browser = self.browsers[split]
        found = browser.following(index + step, wanted, step or 1)
        if found is None and step == 0:
            found = browser.following(0, wanted)
        if found is None:
            raise DataError(
                f"no {'more ' if step else ''}samples of {split} fit" + (" in this direction" if step else "")
            )
        return found

    @told
    def jump(self, split: str, id_: str) -> int:
        """Return the sample of a name, or of a part of it that only one has."""
        return self.browsers[split].index_of(id_.strip())

    @told
    def draw(self, split: str, index: int, opacity: float, base: str) -> tuple[str, str, str]:
        """Return name, pictures and numbers of a sample."""
        browser = self.browsers[split]
        raw = browser.read(index)
        shown = browser.pictures_of(raw, opacity, base)
        notes = {name: _told(raw.images[name]) for name in raw.images}
        cards = [parts.card(p, name, notes.get(name, ""), longest=560) for name, p in shown.items()]
        height, width = next(iter(shown.values())).shape[:2]
        found = {"sample": f"{index + 1} of {len(browser)}", "pixels": f"{height} x {width}"}
        head = parts.facts(found) + parts.tags(raw.tags) + parts.heading("Classes in this label")
        return raw.id, parts.grid(cards, 2 if len(cards) in (2, 4) else 3), head + parts.bars(browser.shares(raw))


def _told(image: Any) -> str:
    """Say what is stored."""
    return f"{image.dtype}, {image.min():g} to {image.max():g}"
