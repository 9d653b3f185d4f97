"""Settings of the model that change what its graph computes: each is in the file, for one image and for several."""

import numpy as np
import pytest
import torch

from memorysam.config import ModelSettings
from memorysam.export.exported import open_exported
from memorysam.export.graph import inputs_of
from memorysam.export.make import export
from memorysam.models.factory import create
from memorysam.spec import Task, as_classes

from .conftest import CLASSES, SENSORS

pytestmark = pytest.mark.slow
SIZE = (64, 32)  # higher than wide
NAMES = tuple(sensor.name for sensor in SENSORS)
BATCHES = {n: dict(zip(NAMES, inputs_of(SENSORS, SIZE, n, seed=n), strict=True)) for n in (1, 3)}
CHANGED = [{"fusion": "quality", "latest": 1}, {"residual": False, "object_gate": True}]


def made(**settings):
    """Return a micro model with three sensors in which every setting tells."""
    torch.manual_seed(3)
    task = Task(modalities=SENSORS, classes=as_classes(CLASSES), image_size=SIZE)
    model = create(ModelSettings(backbone="micro", lora_rank=2, **settings), task).eval().requires_grad_(False)
    draw = torch.Generator().manual_seed(4)
    for parameter in model.parameters():
        if not parameter.any():  # what starts as zeros changes nothing
            parameter.normal_(0, 0.3, generator=draw)
    for layer in model.sam2.memory_attention.layers:
        layer.cross_attn_image.o_proj.weight *= 10  # nor does a faint memory
    score = model.sam2.mask_decoder.pred_obj_score_head.proj_out.bias
    score -= model(BATCHES[3]).frames[NAMES[-1]].masks.object_score.mean()  # the gate is open for some images
    return model


@torch.no_grad()
def logits(model, images):
    return model(images).logits.numpy()


@pytest.mark.parametrize("settings", CHANGED, ids=", ".join)
def test_the_graph_of_a_model_with_other_settings_computes_what_that_model_computes(settings, tmp_path):
    model = made(**settings)
    without = [made(**{key: value for key, value in settings.items() if key != left_out}) for left_out in settings]
    expected = {n: logits(model, images) for n, images in BATCHES.items()}
    for other in without:
        assert np.abs(logits(other, BATCHES[3]) - expected[3]).max() > 3e-3
    path = tmp_path / "model.onnx"
    export(model, path)
    graph = open_exported(path).graph
    assert settings.items() <= graph.about.model.items()
    for n, images in BATCHES.items():
        found = graph.run({name: image.numpy() for name, image in images.items()}, SIZE).logits
        assert found.shape == (n, len(CLASSES), SIZE[0] // 4, SIZE[1] // 4)
        assert np.abs(found - expected[n]).max() < 1e-4


def test_the_gate_of_these_models_is_open_for_some_images_and_shut_for_others():
    found = logits(made(**CHANGED[1]), BATCHES[3])
    shut = (found == -1024).all(axis=(1, 2, 3))
    assert shut.any()
    assert not shut.all()
