"""For tests of robustness: a model in which every image counts by itself, so that numbers are equal to the last bit."""

import re

import torch
from torch import nn
from torch.nn import functional as F

from memorysam.config import EvaluateSettings
from memorysam.errors import InputError
from memorysam.evaluation.robustness_run import Plan, Robustness
from memorysam.models.base import Segmentation, SegmentationModel
from memorysam.spec import Task

TWO = ("rgb", "event")
WAY = EvaluateSettings(protocol="strict", batch_size=2)


class Plain(SegmentationModel):
    """The mean of the sensors that are there, and classes by thresholds of it."""

    PARTS = ("all",)
    BASE = ()
    FOLLOWS_CLASSES = re.compile("(?!)")

    def __init__(self, task, slope=1.0):
        super().__init__()
        self.task = task
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, images):
        self.check_input(images)
        shown = [F.avg_pool2d(images[name].mean(1, keepdim=True), 4) for name in images if name in self.task.sensors]
        value = self.slope * sum(shown) / len(shown)
        places = torch.linspace(-2, 2, len(self.task.classes))
        return Segmentation(-(value - places[:, None, None]).abs(), value)

    def part_of(self, name):
        return "all"

    def settings(self):
        return {"name": "plain", "thresholds": (-2, 2)}


class Picky(Plain):
    """It does not do without any of its sensors."""

    def check_input(self, images):
        super().check_input(images)
        if len(images) < len(self.task.modalities):
            raise InputError("this model needs all of its sensors")


def task(source, names):
    chosen = tuple(m for m in source.modalities if m.name in names)
    return Task(modalities=chosen, classes=source.classes, image_size=(32, 32))


def score(model, source, settings=WAY, workers=0, **plan):
    return Robustness(model, source, settings, Plan(model.task.sensors, **plan), split="test").run(workers)


def mious(found, start=""):
    return {name: content["miou"] for name, content in found.passes.items() if name.startswith(start)}


class Shuffled:
    """The same samples in another order."""

    def __init__(self, source, order):
        self.modalities, self.classes = source.modalities, source.classes
        self.ids = [source.ids[i] for i in order]
        self._source, self._order = source, order

    def tags(self, index):
        return self._source.tags(self._order[index])

    def read(self, index, modalities):
        return self._source.read(self._order[index], modalities)
