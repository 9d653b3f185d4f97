"""What the package computes is what the original code computes (numbers in ../shared/reference)."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from memorysam.config import ModelSettings
from memorysam.models import weights
from memorysam.models.formats.sam2 import rename_release
from memorysam.models.prototypes import PrototypeMemory
from memorysam.models.sam2_sizes import BACKBONES
from memorysam.spec import Classes, Modality, Task
from memorysam.training.objective import ohem_cross_entropy

TOLERANCE = 1e-4
NAMES = ("rgb", "depth", "event")


def reference(shared, case):
    path = shared / "reference" / f"{case}.safetensors"
    with safe_open(path, framework="pt") as file:
        return load_file(path), file.metadata()


def task_of(modalities, classes, size=256):
    return Task(
        modalities=tuple(Modality(name=name) for name in modalities),
        classes=Classes(names=tuple(f"class{i}" for i in range(classes))),
        image_size=(size, size),
    )


def close(ours, theirs, tolerance=TOLERANCE):
    assert ours.shape == theirs.shape
    assert (ours.detach() - theirs).abs().max().item() <= tolerance


def images(fill, metadata, count):
    shape = [int(metadata["batch"]), 3, int(metadata["image_size"]), int(metadata["image_size"])]
    return {name: 10 * fill.tensor(f"input.{i}", shape, int(metadata["salt"])) for i, name in enumerate(NAMES[:count])}


@pytest.fixture(scope="module")
def release_file(fill, tmp_path_factory):
    """A checkpoint as the authors publish theirs: a bare state dict in a .pth file."""
    path = tmp_path_factory.mktemp("release") / "RGBDEL.pth"
    torch.save(fill.state_dict("memorysam_hiera_t", 0), path)
    return path


@pytest.mark.parametrize(("m", "fusion"), [(1, "mean"), (2, "mean"), (3, "mean"), (3, "quality")])
def test_release_outputs(shared, fill, release_file, m, fusion):
    """Also with a quality head, which the file does not have and which starts as the release's mean."""
    ours_of, metadata = reference(shared, f"memorysam_t_m{m}")
    model, report = weights.load(release_file, task_of(NAMES[:m], 25), ModelSettings(fusion=fusion))
    assert ("quality.score.weight" in report.new) == (fusion == "quality")
    model.eval()
    with torch.no_grad():
        output = model(images(fill, metadata, m))
    full = output.at((256, 256))
    close(full[..., ::8, ::8], ours_of["logits_every_8th_pixel"])
    close(output.features, ours_of["mean_conv_s0_features"])
    for i, frame in enumerate(output.frames.values()):
        assert torch.equal(frame.masks.best, ours_of[f"{i}.best_idx"])
        close(frame.pyramid.s16, ours_of[f"{i}.image_embedding"])
        close(frame.conditioned, ours_of[f"{i}.conditioned"])
        close(frame.masks.logits, ours_of[f"{i}.low_res_logits"])
        close(frame.masks.ious, ours_of[f"{i}.ious"])
        close(frame.masks.pointer, ours_of[f"{i}.obj_ptr"])
        close(frame.masks.object_score, ours_of[f"{i}.object_score_logits"])
        with torch.no_grad():
            memory = model.memorize(frame.pyramid, frame.masks)
        close(memory.features, ours_of[f"{i}.maskmem_features"])


def test_release_checkpoint_under_a_key(fill, tmp_path, release_file):
    """The release also saves its state dict under `model_state_dict`, with other things beside it."""
    path = tmp_path / "checkpoint.pth"
    torch.save({"model_state_dict": fill.state_dict("memorysam_hiera_t", 0), "epoch": 95}, path)
    bare, _ = weights.load(release_file, task_of(NAMES[:2], 25))
    keyed, _ = weights.load(path, task_of(NAMES[:2], 25))
    for (name, one), other in zip(bare.state_dict().items(), keyed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_release_losses_and_gradients(shared, fill, release_file):
    ours_of, metadata = reference(shared, "memorysam_t_m2_train")
    expected = json.loads(metadata["grad_norms"])
    model, _ = weights.load(release_file, task_of(NAMES[:2], 25), ModelSettings(dropout=0.0))
    model.train()
    labels = ours_of["labels"].long()
    output = model(images(fill, metadata, 2))
    close(output.features, ours_of["features"])
    loss = ohem_cross_entropy(output.at(labels.shape[-2:]), labels)
    assert loss.item() == pytest.approx(float(metadata["ohem_loss"]), rel=1e-3)
    released = PrototypeMemory(25, 32, form="released")(output.features, labels)
    assert released.item() == pytest.approx(float(metadata["prototype_loss_of_released_code"]), rel=1e-3)
    loss.backward()
    names = json.loads((shared / "reference" / "keys.json").read_text())["memorysam_hiera_t"]
    gradients = release_gradients(model, names)
    # Behind the object gate, which is off here and open there: no gradient is a gradient of zero.
    assert expected.pop("sam.no_obj_ptr") == 0
    largest = max(expected.values())
    for name, norm in expected.items():
        assert gradients[name].norm().item() == pytest.approx(norm, rel=1e-3, abs=1e-7 * largest), name
    for key, theirs in ours_of.items():
        if key.startswith("grad."):
            ours = gradients[key.removeprefix("grad.")].reshape(theirs.shape)
            assert (ours - theirs).abs().max() <= 1e-3 * theirs.abs().max(), key


def release_gradients(model, names):
    """Our gradients under the release's names; its narrow deltas are the rows of ours that it has."""
    ours = {name: parameter.grad for name, parameter in model.named_parameters()}
    gradients = {}
    for name, shape in names.items():
        gradient = ours.get("sam2." + rename_release(name))
        if gradient is None:
            continue
        if name.endswith("linear_b_q.weight"):
            gradient = gradient[: shape[0]]
        elif name.endswith("linear_b_v.weight"):
            gradient = gradient[-shape[0] :]
        gradients[name] = gradient
    return gradients


def test_sam2_parts_from_meta_file(shared, fill, tmp_path):
    ours_of, _ = reference(shared, "sam2.1_t_parts")
    path = tmp_path / "sam2.1_hiera_tiny.pt"
    torch.save({"model": fill.state_dict("sam2.1_hiera_t", 0)}, path)
    model, report = weights.load(path, task_of(["rgb"], 3), ModelSettings(lora_rank=0, prototypes="off"))
    assert report.new == ()
    model.eval()
    sam2 = model.sam2
    pixels = 10 * fill.tensor("input.0", [2, 3, 256, 256], 0)
    with torch.no_grad():
        pyramid = sam2.encode(pixels)
        masks = sam2.decode(sam2.condition(pyramid.s16, []), pyramid)
        memory = sam2.memorize(pyramid.s16, masks)
        # The stored case gives the pointer tokens no position.
        torch.nn.init.zeros_(sam2.temporal_positional_encoding_projection_layer.weight)
        torch.nn.init.zeros_(sam2.temporal_positional_encoding_projection_layer.bias)
        attended = sam2.condition(pyramid.s16, [memory])
    close(pyramid.s4, ours_of["backbone_fpn.0"])
    close(pyramid.s8, ours_of["backbone_fpn.1"])
    close(pyramid.s16, ours_of["backbone_fpn.2"])
    close(sam2._sine(pyramid.s16, 256).expand(2, -1, -1, -1), ours_of["position_encoding.2"])
    close(masks.logits, ours_of["multimask_logits"])
    close(masks.ious, ours_of["ious"])
    close(masks.pointer, ours_of["object_pointer"])
    close(masks.object_score, ours_of["object_score"])
    close(memory.features, ours_of["memory_features"])
    close(sam2._sine(pyramid.s16, 64).expand(2, -1, -1, -1), ours_of["memory_position"])
    close(attended, ours_of["attended_to_own_memory"])


META = {"t": "tiny", "s": "small", "b+": "base-plus", "l": "large"}


@pytest.mark.slow
@pytest.mark.parametrize("size", META)
@pytest.mark.parametrize("version", ["sam2", "sam2.1"])
def test_every_meta_file_loads_with_nothing_unexplained(shared, tmp_path, version, size):
    """Every tensor of the file is loaded or on the list of what the method has no use for."""
    shapes = json.loads((shared / "reference" / "keys.json").read_text())[f"{version}_hiera_{size}"]
    path = tmp_path / "sam2.pt"
    torch.save({"model": {name: torch.full(shape, 0.25) for name, shape in shapes.items()}}, path)
    model, report = weights.load(path, task_of(NAMES, 7))
    assert model.sam2.name == f"{version}-{META[size]}"
    blocks = sum(BACKBONES[model.sam2.name].blocks)
    heads = [name for name in report.new if "mask_decoder" in name]
    assert len(report.unused) == 17
    # New: four deltas per block, the prototypes, and the head for 7 classes instead of 3 masks.
    assert len(report.new) == 4 * blocks + 1 + len(heads)
    assert len(heads) == 1 + 8 * 6 + 2
    reheaded_in_file = 1 + 4 * 6 + 2
    assert report.loaded == len(shapes) - 17 - reheaded_in_file
    state = model.state_dict()
    assert all((state[name] == 0.25).all() for name in state if name not in report.new)
