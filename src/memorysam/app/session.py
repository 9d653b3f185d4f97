"""What the page computes, without the page: a scene and a choice in, everything that is shown of them out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from memorysam.app.noise import Level, added, picture_of
from memorysam.data.raw import Image
from memorysam.errors import InputError, listing
from memorysam.evaluation import pictures
from memorysam.models.looking import Look, watch, why_blind
from memorysam.predict import Predictor
from memorysam.prediction import Prediction
from memorysam.spec import Classes, Modality, Task

Picture = pictures.Picture
Point = tuple[int, int]
"""Row and column of a pixel."""


@dataclass(frozen=True, eq=False)
class Scene:
    """What there is to be segmented."""

    name: str
    images: Mapping[str, Image]
    """Stored values `[H, W, K]` by modality, all of one size."""
    label: NDArray[np.uint8] | None = None
    """The truth, where it is known."""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = next(iter(self.images.values())).shape[:2]
        return height, width


@dataclass(frozen=True)
class Choice:
    """What the user has switched."""

    sensors: tuple[str, ...]
    """Those that are on."""
    noise: Level = field(default_factory=Level)


@dataclass(frozen=True, eq=False)
class View:
    """What is shown."""

    scene: Scene
    choice: Choice
    task: Task
    prediction: Prediction
    whole: Prediction
    """With all sensors of the scene, and no noise."""
    shown: Mapping[str, Picture]
    """What is there of each modality, off or not; noisy as the model sees it."""
    looks: tuple[Look, ...]
    blind: str | None
    """Why there are no looks."""

    @cached_property
    def changed(self) -> NDArray[np.bool_]:
        """Pixels `[H, W]` that got another class than with all sensors."""
        return np.asarray(self.prediction.labels != self.whole.labels)

    @property
    def changed_share(self) -> float:
        """Their share."""
        return float(self.changed.mean())

    @property
    def right_share(self) -> float | None:
        """Share of the labelled pixels that got their true class; None without truth."""
        label = self.scene.label
        if label is None or not (counts := label < len(self.task.classes)).any():
            return None
        return float((self.prediction.labels == label)[counts].mean())

    def base(self, name: str | None = None) -> Picture:
        """Return the picture that things are laid over: of a modality, or of the first sensor that is on."""
        if name is not None and name in self.scene.images:
            return pictures.as_picture(self.scene.images[name], self.modality(name))
        return self.prediction.picture

    def modality(self, name: str) -> Modality:
        """Return a modality by name."""
        return next(m for m in self.task.modalities if m.name == name)

    def overlay(self, strength: float, base: str | None = None) -> Picture:
        """Lay the segmentation over a picture; `strength` from 0 (the picture) to 1 (colours alone)."""
        return pictures.overlay(self.base(base), self.prediction.labels, self.task.classes, strength)

    def confidence(self) -> Picture:
        """Show the probability of the chosen class."""
        return pictures.heat(self.prediction.confidence)

    def difference(self, base: str | None = None) -> Picture:
        """Show which pixels changed, and into what."""
        return pictures.changes(self.base(base), self.prediction.labels, self.changed, self.task.classes)

    def shares(self) -> list[tuple[str, tuple[int, int, int], float, float]]:
        """Return name, colour, share, and share with all sensors, of each class that is in either, largest first."""
        now, before = self.prediction.shares(), self.whole.shares()
        classes: Classes = self.task.classes
        colours = dict(zip(classes.names, classes.colors, strict=True))
        names = [*now, *(name for name in before if name not in now)]
        return [(name, colours[name], now.get(name, 0.0), before.get(name, 0.0)) for name in names]

    def at(self, point: Point, count: int = 3) -> list[tuple[str, float]]:
        """Return the most probable classes of a pixel."""
        found = self.prediction.probabilities[:, point[0], point[1]]
        return [(self.task.classes.names[i], float(found[i])) for i in np.argsort(-found, kind="stable")[:count]]

    def attention(self, point: Point) -> dict[str, dict[str, tuple[Picture, float, float]]]:
        """Say where each later modality looks from a pixel.

        Returns:
            Modality that looks -> earlier one -> picture, share of the weight, and how much of that went to its object
            pointer, which has no place. Shares of one modality sum to 1.
        """
        height, width = self.scene.size
        y, x = (point[0] + 0.5) / height, (point[1] + 0.5) / width
        found: dict[str, dict[str, tuple[Picture, float, float]]] = {}
        for look in self.looks:
            glances = look.at(int(y * look.size[0]), int(x * look.size[1]))
            found[look.name] = {
                name: (
                    pictures.marked(pictures.glow(pictures.fit(self.shown[name], 288), glance.weights.numpy()), y, x),
                    glance.share,
                    glance.pointer,
                )
                for name, glance in glances.items()
            }
        return found


class Session:
    """A model that is looked at. Calls from several threads wait for each other.

    Args:
        predictor: a loaded model.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.task: Task = predictor.model.task
        self._lock = Lock()

    def sensors(self, scene: Scene) -> tuple[str, ...]:
        """Return the sensors that a scene has."""
        return tuple(name for name in self.task.sensors if name in scene.images)

    def predict(self, scene: Scene, choice: Choice) -> Prediction:
        """Segment what is on."""
        return self._run(scene, choice)[0]

    def look(self, scene: Scene, choice: Choice | None = None, before: View | None = None) -> View:
        """Segment a scene and gather what is shown.

        Args:
            scene: what.
            choice: which sensors, how noisy; all of them and not at all for None.
            before: what was shown last; of the same scene, the prediction with all sensors is taken from it.

        Raises:
            InputError: no sensor is on, or one is that is not there.
        """
        everything = Choice(self.sensors(scene))
        choice = choice or everything
        prediction, looks, seen = self._run(scene, choice)
        if before is not None and before.scene is scene:
            whole = before.whole
        else:
            whole = prediction if choice == everything else self.predict(scene, everything)
        modalities = {m.name: m for m in self.task.modalities if m.name in scene.images}
        shown = {
            name: picture_of(seen[name], modality, scene.images[name])
            if name in seen
            else pictures.as_picture(scene.images[name], modality)
            for name, modality in modalities.items()
        }
        count = len(choice.sensors) + len(self.task.regions)
        return View(scene, choice, self.task, prediction, whole, shown, looks, why_blind(self.predictor.model, count))

    def _run(self, scene: Scene, choice: Choice) -> tuple[Prediction, tuple[Look, ...], dict[str, Tensor]]:
        there = self.sensors(scene)
        if not choice.sensors:
            raise InputError("all sensors are off", fix=f"switch one on: {listing(there)}")
        if wrong := [name for name in choice.sensors if name not in there]:
            raise InputError(f"this scene has no {listing(wrong)}", expected=listing(there))
        model = self.predictor.model
        images = {
            name: scene.images[name]
            for name in self.task.names
            if name in choice.sensors or (name in self.task.regions and name in scene.images)
        }
        with self._lock, watch(model) as record, added(model, choice.noise, scene.name) as seen:
            prediction = self.predictor.predict(images)
        return prediction, record.looks, dict(seen)
