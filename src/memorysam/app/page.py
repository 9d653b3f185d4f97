"""The page of `memorysam app`: what is where, and what happens when. All that is shown comes from `session`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from tempfile import mkdtemp
from typing import ParamSpec, TypeVar

from memorysam.app import parts
from memorysam.app.examples import Examples
from memorysam.app.noise import Level
from memorysam.app.serve import library
from memorysam.app.session import Choice, Point, Scene, Session, View
from memorysam.app.uploads import read_uploads, safe_stem
from memorysam.errors import MemorySAMError
from memorysam.evaluation.pictures import Picture, colourise, fit, marked

LONGEST = 640
"""Pixels of the longer side of the large pictures."""
_HINT = "Click on the segmentation to see what is known of a pixel, and where its sensors looked."

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Shown:
    """What a browser's tab has before it."""

    view: View
    point: Point | None = None
    """The pixel that was clicked."""


def told(function: Callable[P, R]) -> Callable[P, R]:
    """Let mistakes appear on the page instead of a traceback in the terminal."""

    @wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except MemorySAMError as error:
            raise library().Error(parts.message(error), duration=None, print_exception=False) from None

    return inner


class Page:
    """What happens on the page. Its methods take the values of components and return new ones.

    Args:
        session: the model.
        examples: scenes to begin with, if any.
        folder: where uploads lie, and downloads are put.
    """

    def __init__(self, session: Session, examples: Examples | None, folder: Path) -> None:
        self.session, self.examples, self.folder = session, examples, folder

    def example(self, id_: str, sensors: Sequence[str], noise: Level, before: Shown | None) -> Shown:
        """Load an example; sensors that were off stay off."""
        if self.examples is None or id_ not in (ids := self.examples.ids):
            raise MemorySAMError(f"there is no example {id_!r}")
        return self._first(self.examples.scene(ids.index(id_)), sensors, noise, before)

    def step(self, id_: str, by: int) -> str:
        """Return the example before or after."""
        ids = self.examples.ids if self.examples else [id_]
        return ids[(ids.index(id_) + by) % len(ids)] if id_ in ids else ids[0]

    def uploaded(self, files: Sequence[str | None], noise: Level) -> Shown:
        """Read what was uploaded, one file or None for each modality of the model, and segment it with all sensors."""
        given = dict(zip(self.session.task.names, files, strict=True))
        name, images = read_uploads(given, self.folder, self.session.task)
        return self._first(Scene(name, images), (), noise, None)

    def changed(self, shown: Shown | None, sensors: Sequence[str], noise: Level) -> Shown:
        """Segment the same scene with other sensors or other noise."""
        if shown is None:
            raise MemorySAMError("there is no scene yet", fix="load an example, or images of your own")
        scene = shown.view.scene
        on = tuple(name for name in self.session.sensors(scene) if name in sensors)
        return replace(shown, view=self.session.look(scene, Choice(on, noise), shown.view))

    def clicked(self, shown: Shown | None, x: int, y: int) -> Shown | None:
        """Remember the pixel under a place in the large picture."""
        if shown is None:
            return None
        height, width = shown.view.scene.size
        scale = LONGEST / max(height, width)
        return replace(shown, point=(min(height - 1, int(y / scale)), min(width - 1, int(x / scale))))

    def files(self, shown: Shown | None) -> list[str]:
        """Write what `memorysam predict --probabilities` writes, into a folder of its own."""
        if shown is None:
            raise MemorySAMError("there is nothing to save yet", fix="load an example, or images of your own")
        target = Path(mkdtemp(prefix="files-", dir=self.folder))
        written = shown.view.prediction.save(target, safe_stem(shown.view.scene.name + ".x"), probabilities=True)
        return [str(path) for path in written.values()]

    def segmentation(self, shown: Shown | None, opacity: float, base: str | None) -> Picture | None:
        """Return the overlay, with the clicked pixel."""
        return None if shown is None else self._large(shown, shown.view.overlay(opacity, base))

    def difference(self, shown: Shown | None, base: str | None) -> Picture | None:
        """Return what changed."""
        return None if shown is None else self._large(shown, shown.view.difference(base))

    def confidence(self, shown: Shown | None) -> Picture | None:
        """Return the heat map."""
        return None if shown is None else self._large(shown, shown.view.confidence())

    def inputs(self, shown: Shown | None) -> str:
        """Return what the sensors saw."""
        if shown is None:
            return parts.note("Choose an example or images of your own.")
        view = shown.view
        sensors, on = self.session.task.sensors, view.choice.sensors
        noisy = "" if view.choice.noise.none else "noisy"
        cards = []
        for name, picture in view.shown.items():
            off = name in sensors and name not in on
            note = "regions" if name not in sensors else "off" if off else noisy
            cards.append(parts.card(picture, name, note, off))
        if view.scene.label is not None:
            cards.append(parts.card(colourise(view.scene.label, self.session.task.classes), "truth"))
        return parts.grid(cards, max(4, len(cards)))

    def summary(self, shown: Shown | None) -> str:
        """Return numbers and the legend."""
        if shown is None:
            return ""
        view = shown.view
        found = {
            "pixels changed": f"{view.changed_share * 100:.1f} %",
            "mean confidence": f"{view.prediction.confidence.mean() * 100:.1f} %",
            "sensors on": f"{len(view.choice.sensors)} of {len(self.session.sensors(view.scene))}",
        }
        if (right := view.right_share) is not None:
            found["pixels right"] = f"{right * 100:.1f} %"
        return parts.facts(found) + parts.legend(view.shares())

    def attention(self, shown: Shown | None) -> str:
        """Return where later modalities looked from the clicked pixel."""
        head = parts.heading("Memory attention: where each modality looked")
        if shown is None:
            return ""
        view = shown.view
        if shown.point is None:
            return head + parts.note(_HINT)
        y, x = shown.point
        words = ", ".join(f"{name} {share * 100:.0f} %" for name, share in view.at(shown.point))
        where = parts.note(f"Row {y}, column {x}: {words}.")
        if view.blind is not None:
            return head + where + parts.note(f"No map: {view.blind}.")
        return head + where + parts.attention(view.attention(shown.point))

    def _first(self, scene: Scene, sensors: Sequence[str], noise: Level, before: Shown | None) -> Shown:
        there = self.session.sensors(scene)
        on = tuple(name for name in there if name in sensors) or there
        point = before.point if before is not None and before.view.scene.size == scene.size else None
        return Shown(self.session.look(scene, Choice(on, noise)), point)

    def _large(self, shown: Shown, picture: Picture) -> Picture:
        large = fit(picture, LONGEST)
        if shown.point is None:
            return large
        height, width = shown.view.scene.size
        return marked(large, (shown.point[0] + 0.5) / height, (shown.point[1] + 0.5) / width)
