"""Mirrored or in windows, NumPy gives what PyTorch gives; no graph is made for it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from memorysam.config import EvaluateSettings
from memorysam.errors import InputError, MemorySAMError, SettingsError
from memorysam.evaluation import inference
from memorysam.export import verify, views
from memorysam.export.answer import Answer
from memorysam.export.exported import Exported
from memorysam.spec import Modality

from .conftest import SENSORS, scene


class Direct:
    """The model itself, in the place of a graph."""

    def __init__(self, model, change=0.0):
        self.model, self.change = model, change
        self.about = SimpleNamespace(task=model.task, modalities=model.task.names, inputs=model.task.modalities)

    @torch.no_grad()
    def run(self, images, size):
        output = self.model({name: torch.from_numpy(np.ascontiguousarray(image)) for name, image in images.items()})
        full = output.at(size)
        logits = output.logits.numpy() + self.change
        return Answer(logits, full.softmax(dim=1).numpy(), full.argmax(dim=1).numpy())


@pytest.fixture
def direct(predictor):
    return Exported(Direct(predictor.model))


@pytest.mark.parametrize("size", [(64, 96), (97, 131), (33, 40)], ids=str)
@pytest.mark.parametrize(
    "settings",
    [{}, {"flip": True}, {"method": "windows"}, {"method": "windows", "overlap": 0.5, "flip": True}],
    ids=str,
)
def test_every_view_gives_what_the_checkpoint_gives(direct, predictor, settings, size):
    images, chosen = scene(*size), EvaluateSettings(**settings)
    ours, theirs = direct.predict(images, chosen), predictor.predict(images, chosen)
    assert ours.probabilities.shape == theirs.probabilities.shape
    assert np.abs(ours.probabilities - theirs.probabilities).max() < 1e-5
    assert (ours.labels == theirs.labels).mean() > 0.999


def test_an_angle_is_mirrored_as_in_pytorch():
    modality = Modality(name="angle", channels=2, low=-1, high=1, mean=(0.1, 0.2), std=(0.5, 2.0), mirror="cos")
    image = np.random.default_rng(0).normal(size=(1, 2, 5, 7)).astype(np.float32)
    expected = inference.mirror(torch.from_numpy(image), modality).numpy()
    assert np.abs(views.mirror(image, modality) - expected).max() < 1e-6
    assert not np.allclose(views.mirror(image, modality), image[..., ::-1])


@pytest.mark.parametrize("settings", [{"scales": (1.0, 1.5)}, {"method": "native"}], ids=str)
def test_what_one_size_cannot_show_is_refused(direct, settings):
    with pytest.raises(SettingsError, match="images of one size"):
        direct.predict(scene(64, 96), EvaluateSettings(**settings))


def test_all_modalities_are_needed_and_no_others(direct):
    images = scene(64, 96)
    with pytest.raises(
        InputError, match=r"rgb, depth, thermal together: depth, thermal is missing(.|\n)*--modalities rgb"
    ):
        direct.predict({"rgb": images["rgb"]})
    direct.graph.about.modalities = ("rgb", "depth")
    with pytest.raises(InputError, match="exported without 'thermal'"):
        direct.predict(images)
    with pytest.raises(InputError, match=r"no modality 'dept'(.|\n)*did you mean 'depth'"):
        direct.predict({"dept": images["depth"]})


def test_it_can_do_nothing_but_predict_in_float32(direct):
    with pytest.raises(SettingsError, match="predict and nothing else"):
        direct.model  # noqa: B018
    with pytest.raises(SettingsError, match="float32"):
        direct.for_inference("bf16")
    direct.for_inference()


@pytest.mark.parametrize(("change", "passes"), [(0.0, True), (5e-4, True), (0.1, False), (np.nan, False)])
def test_comparing_passes_up_to_a_thousandth_and_no_further(predictor, change, passes):
    graph = Direct(predictor.model, np.float32(change))
    assert len(SENSORS) == 3
    if passes:
        found = verify.compare(graph, predictor.model, (1, 2)).verified
        assert found.images == 3
        assert found.difference == pytest.approx(change, abs=1e-5)
        assert found.agreement == 1
    else:
        with pytest.raises(MemorySAMError, match="does not compute what the model computes"):
            verify.compare(graph, predictor.model, (1, 2))


def test_comparing_looks_at_the_classes_of_pixels_too(predictor):
    graph = Direct(predictor.model)
    plain = graph.run

    def run(images, size):
        answer = plain(images, size)
        answer.labels[:, 0, :10] = (answer.labels[:, 0, :10] + 1) % 4
        return answer

    graph.run = run
    with pytest.raises(MemorySAMError, match=r"99\.8.*% of the pixels get the same class"):
        verify.compare(graph, predictor.model, (1,))
    assert sum(verify.BATCHES) == 20
