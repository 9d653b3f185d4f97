"""Where everything is on the page of `memorysam app`, and what is connected with what."""

from collections.abc import Sequence
from typing import Any

from memorysam.app import parts
from memorysam.app.noise import Level
from memorysam.app.page import Page, Shown, told
from memorysam.app.serve import library

_PATIENCE = 3600
"""Seconds that a tab's last view is kept."""
_HOUR = 3600


class Layout:
    """The components.

    Args:
        page: what happens.
        title: of the page.
        facts: said beside it.
    """

    def __init__(self, page: Page, title: str, facts: Sequence[str]) -> None:
        self.page, self.gr = page, library()
        gr, self.task = self.gr, page.session.task
        with gr.Blocks(
            title=title, analytics_enabled=False, fill_width=True, delete_cache=(_HOUR, 4 * _HOUR)
        ) as self.blocks:
            self.shown = gr.State(None, time_to_live=_PATIENCE)
            gr.HTML(parts.title(title, facts))
            with gr.Row():
                with gr.Column(scale=1, min_width=260):
                    self._left()
                with gr.Column(scale=4, min_width=640):
                    self._right()
            self._connect()

    def _left(self) -> None:
        gr, task = self.gr, self.task
        ids = self.page.examples.ids if self.page.examples else []
        with gr.Tabs():
            if ids:
                with gr.Tab("Examples"):
                    self.example = gr.Dropdown(
                        ids,
                        value=ids[0],
                        label=self.page.examples.title if self.page.examples else "",
                        elem_id="example",
                    )
                    with gr.Row():
                        self.previous = gr.Button("Previous", size="sm", min_width=60)
                        self.next = gr.Button("Next", size="sm", min_width=60, elem_id="next")
            with gr.Tab("Own images"):
                gr.HTML(parts.note("PNG, JPEG, TIFF or NPY, with the values as they are stored. Any subset will do."))
                self.files = [
                    gr.File(label=self._expects(m.name), height=92, type="filepath", elem_id=f"file-{m.name}")
                    for m in task.modalities
                ]
                self.segment = gr.Button("Segment these", variant="primary", elem_id="segment")
        self.sensors = gr.CheckboxGroup(
            list(task.sensors), value=list(task.sensors), label="Sensors that are on", elem_id="sensors"
        )
        self.density = gr.Slider(
            0, 0.5, 0, step=0.01, label="Salt and pepper", info="share of pixels", elem_id="density"
        )
        self.sigma = gr.Slider(
            0, 1, 0, step=0.05, label="Gaussian noise", info="standard deviation; events get none", elem_id="sigma"
        )
        self.opacity = gr.Slider(0, 1, 0.6, step=0.05, label="Opacity of the classes", elem_id="opacity")
        self.base = gr.Dropdown(["first sensor", *task.names], value="first sensor", label="Drawn over", elem_id="base")
        with gr.Accordion("More", open=False):
            self.seed = gr.Number(0, label="Seed of the noise", precision=0, minimum=0)
        self.save = gr.Button("Files to download", size="sm", elem_id="save")
        self.downloads = gr.File(
            label="labels, overlay, probabilities",
            file_count="multiple",
            interactive=False,
            visible=False,
            elem_id="files",
        )

    def _right(self) -> None:
        gr = self.gr
        self.inputs = gr.HTML(padding=False, elem_id="inputs")
        options = {"type": "numpy", "format": "png", "interactive": False, "buttons": ["fullscreen"]}
        with gr.Row():
            self.segmentation = gr.Image(label="segmentation (click a pixel)", elem_id="segmentation", **options)
            self.confidence = gr.Image(label="confidence (blue 0, yellow 1)", elem_id="confidence", **options)
            self.difference = gr.Image(label="changed, against all sensors", elem_id="difference", **options)
        with gr.Row():
            with gr.Column(scale=4, min_width=300):
                self.summary = gr.HTML(padding=False, elem_id="summary")
            with gr.Column(scale=5, min_width=400):
                self.attention = gr.HTML(padding=False, elem_id="attention")

    def _expects(self, name: str) -> str:
        modality = next(m for m in self.task.modalities if m.name == name)
        high = "" if modality.high == "type" else f", {modality.low:g} to {modality.high:g}"
        what = (
            "map of regions"
            if modality.role == "regions"
            else f"{modality.channels} channel{'s' * (modality.channels > 1)}{high}"
        )
        return f"{name}: {what}"

    def _connect(self) -> None:
        gr = self.gr
        noise = [self.density, self.sigma, self.seed]
        everything = [self.inputs, self.segmentation, self.confidence, self.difference, self.summary, self.attention]
        draw = {
            "fn": self._draw,
            "inputs": [self.shown, self.opacity, self.base],
            "outputs": everything,
            "show_progress": "hidden",
        }
        if self.page.examples:
            load = {
                "fn": self._example,
                "inputs": [self.example, self.sensors, *noise, self.shown],
                "outputs": [self.shown, self.sensors],
            }
            self.example.input(**load).success(**draw)
            for button, by in ((self.previous, -1), (self.next, 1)):
                button.click(
                    lambda id_, by=by: self.page.step(id_, by), [self.example], [self.example], show_progress="hidden"
                ).then(**load).success(**draw)
            self.blocks.load(**load).success(**draw)
        self.segment.click(self._uploaded, [*noise, *self.files], [self.shown, self.sensors]).success(**draw)
        change = {"fn": self._changed, "inputs": [self.shown, self.sensors, *noise], "outputs": [self.shown]}
        self.sensors.input(**change).success(**draw)
        for slider in (self.density, self.sigma):
            slider.release(**change).success(**draw)
        self.seed.submit(**change).success(**draw)
        over = {
            "fn": self._over,
            "inputs": [self.shown, self.opacity, self.base],
            "outputs": [self.segmentation, self.difference],
            "show_progress": "hidden",
        }
        self.opacity.release(**over)
        self.base.input(**over)

        def clicked(shown: Shown | None, event: Any) -> Shown | None:
            return self.page.clicked(shown, event.index[0], event.index[1])

        clicked.__annotations__["event"] = gr.SelectData  # by which gradio knows what to give
        self.segmentation.select(clicked, [self.shown], [self.shown], show_progress="hidden").success(**draw)
        self.save.click(self._files, [self.shown], [self.downloads])
        gr.on([self.shown.change], lambda: gr.update(visible=False, value=None), None, [self.downloads])

    @staticmethod
    def _level(density: float, sigma: float, seed: float | None) -> Level:
        return Level(float(density or 0), float(sigma or 0), int(seed or 0))

    def _over_base(self, base: str | None) -> str | None:
        return base if base in self.task.names else None

    def _draw(self, shown: Shown | None, opacity: float, base: str | None) -> tuple[Any, ...]:
        page, under = self.page, self._over_base(base)
        return (
            page.inputs(shown),
            page.segmentation(shown, opacity, under),
            page.confidence(shown),
            page.difference(shown, under),
            page.summary(shown),
            page.attention(shown),
        )

    def _over(self, shown: Shown | None, opacity: float, base: str | None) -> tuple[Any, ...]:
        under = self._over_base(base)
        return self.page.segmentation(shown, opacity, under), self.page.difference(shown, under)

    @told
    def _example(
        self, id_: str, sensors: list[str], density: float, sigma: float, seed: float, before: Shown | None
    ) -> tuple[Any, ...]:
        return self._with_sensors(self.page.example(id_, sensors, self._level(density, sigma, seed), before))

    @told
    def _uploaded(self, density: float, sigma: float, seed: float, *files: str | None) -> tuple[Any, ...]:
        return self._with_sensors(self.page.uploaded(files, self._level(density, sigma, seed)))

    @told
    def _changed(self, shown: Shown | None, sensors: list[str], density: float, sigma: float, seed: float) -> Shown:
        return self.page.changed(shown, sensors, self._level(density, sigma, seed))

    @told
    def _files(self, shown: Shown | None) -> Any:
        return self.gr.update(value=self.page.files(shown), visible=True)

    def _with_sensors(self, shown: Shown) -> tuple[Any, ...]:
        there = self.page.session.sensors(shown.view.scene)
        return shown, self.gr.update(choices=list(there), value=list(shown.view.choice.sensors))
