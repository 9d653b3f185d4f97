import subprocess
import sys

import pytest
import torch

from memorysam.config import ModelSettings
from memorysam.models import tune
from memorysam.models.factory import create
from memorysam.models.lora import lora_layers
from memorysam.models.systems import SYSTEMS
from memorysam.spec import Modality, Task, as_classes

TASK = Task(
    modalities=(Modality(name="rgb"), Modality(name="depth", channels=1)),
    classes=as_classes(["a", "b", "c"]),
    image_size=(64, 96),
)


def model_of(system="memorysam"):
    torch.manual_seed(0)
    model = create(ModelSettings(name=system, backbone="micro"), TASK).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def images():
    torch.manual_seed(1)
    return {m.name: torch.randn(1, m.channels, *TASK.image_size) for m in TASK.modalities}


@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_predictions_stay_the_same(system):
    model = model_of(system)
    with torch.no_grad():
        before = model(images()).logits
        after = tune.for_inference(model)(images()).logits
    assert (after - before).abs().max() < 1e-4
    assert all(layer.merged for layer in lora_layers(model))


@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_bfloat16_says_nearly_the_same(system):
    model = model_of(system)
    with torch.no_grad():
        before = model(images()).logits
        model = tune.for_inference(model, "bf16")
        after = model({name: image.bfloat16() for name, image in images().items()}).logits
    assert after.dtype == torch.bfloat16
    assert (after.float() - before).abs().max() < 0.1 * float(before.abs().max())
    assert all(p.dtype == torch.bfloat16 for p in model.parameters())


def test_positions_keep_their_digits():
    model = tune.for_inference(model_of(), "bf16")
    assert model.sam2.shared_image_embedding.positional_embedding.dtype == torch.float32
    assert model.sam2.memory_attention.rotary_emb.inv_freq.dtype == torch.float32


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_freed_memory_is_kept_for_the_next_block_of_its_size():
    """Counted in page faults, in a process of its own."""
    script = """
import resource, torch
from memorysam.models.tune import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(50_000_000, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
before = faults()
keep_freed_memory()
faults()
print(before, faults())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    before, after = map(int, done.stdout.split())
    assert after < before / 10
