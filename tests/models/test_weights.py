import pickle

import pytest
import torch
from safetensors.torch import save_file
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel

from memorysam.config import ModelSettings
from memorysam.errors import WeightsError
from memorysam.models import sam2, sam2_sizes, weights
from memorysam.models.formats import translate
from memorysam.models.memory_attention import grid
from memorysam.spec import Classes

from .conftest import make_images, make_task


@pytest.fixture(scope="module")
def hub_model():
    """SAM 2.1 tiny with random weights, as `transformers` has it."""
    torch.manual_seed(0)
    model = Sam2VideoModel(sam2_sizes.configuration(sam2_sizes.BACKBONES["sam2.1-tiny"], 3, 0.1)).eval()
    for parameter in model.parameters():
        if parameter.ndim < 2 or parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.fixture(scope="module")
def hub_folder(hub_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    hub_model.save_pretrained(folder, max_shard_size="60MB")
    assert len(list(folder.glob("*.safetensors"))) > 1, "the sharded form is the harder one"
    return folder


def test_transformers_folder_loads_and_computes_what_transformers_computes(hub_model, hub_folder):
    model, report = weights.load(hub_folder, make_task(1, 3), ModelSettings(lora_rank=0, prototypes="off"))
    assert model.sam2.name == "sam2.1-tiny"
    assert report.new == ()
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        theirs = hub_model.get_image_features(pixels).fpn_hidden_states
        ours = model.sam2.encode(pixels)
    for mine, other in zip((ours.s4, ours.s8, ours.s16), theirs, strict=True):
        assert torch.allclose(mine.flatten(2).permute(2, 0, 1), other, atol=1e-5)


def test_conditioning_and_memory_are_those_of_transformers(hub_model, hub_folder):
    """Memory attention and memory encoder through our functions and through their modules' own forward."""
    model, _ = weights.load(hub_folder, make_task(1, 3), ModelSettings(lora_rank=0, prototypes="off"))
    ours = model.sam2.eval()
    features = torch.randn(2, 256, 4, 4)
    logits = torch.randn(2, 3, 16, 16)
    ious = torch.tensor([[0.1, 0.9, 0.2], [0.8, 0.1, 0.3]])
    masks = sam2.Masks(logits, ious, ious.argmax(1), torch.randn(2, 256), torch.ones(2, 1))
    with torch.no_grad():
        memory = ours.memorize(features, masks)
        best = torch.stack([logits[0, 1], logits[1, 0]]).unsqueeze(1)
        full = torch.nn.functional.interpolate(best, scale_factor=4, mode="bilinear").sigmoid() * 20 - 10
        theirs, position = hub_model.memory_encoder(features, full)
        assert torch.allclose(memory.features, theirs, atol=1e-5)

        attended = ours.condition(features, [memory])
        hub_model.memory_attention.position_ids = grid(4, 4, torch.device("cpu"))
        sine = hub_model.vision_encoder.neck.position_encoding(features.shape, "cpu", torch.float32)
        offset, pointer = hub_model._process_object_pointers([1], [memory.pointer], 2, 2, 256, "cpu")[::-1]
        keys = torch.cat([theirs.flatten(2).permute(2, 0, 1), pointer])
        places = position.flatten(2).permute(2, 0, 1) + hub_model.memory_temporal_positional_encoding[-1]
        expected = hub_model.memory_attention(
            current_vision_features=features.flatten(2).permute(2, 0, 1),
            current_vision_position_embeddings=sine.flatten(2).permute(2, 0, 1),
            memory=keys,
            memory_posision_embeddings=torch.cat([places, offset]),
            num_object_pointer_tokens=4,
        )
    # Theirs is [1, B, hw, D] after its own transposition.
    expected = expected.reshape(-1, 2, 256) if expected.ndim == 3 else expected.transpose(0, 1).squeeze(1)
    assert torch.allclose(attended.flatten(2).transpose(1, 2), expected, atol=1e-4)


def test_new_head_where_the_number_of_classes_differs(hub_folder):
    model, report = weights.load(hub_folder, make_task(2, 9))
    heads = [name for name in report.new if "mask_decoder" in name]
    assert all(("mask_tokens" in n) or ("hypernetworks" in n) or ("iou_prediction_head.proj_out" in n) for n in heads)
    assert "LoRA 48" in str(report)
    assert report.trainable == sum(p.requires_grad for p in model.parameters()) > 0
    assert report.trainable + report.frozen == len(list(model.parameters()))


def test_an_option_that_the_backbone_lacks_is_new(hub_folder):
    settings = ModelSettings(lora_rank=0, prototypes="off", fusion="quality")
    model, report = weights.load(hub_folder, make_task(2, 3), settings)
    assert report.new == ("quality.score.weight",)
    assert model.quality.score.weight.requires_grad


def test_our_checkpoint_carries_everything(micro, tmp_path):
    model = micro(3, 7).eval()
    weights.save(tmp_path / "model.safetensors", model, note="kept")
    again, report = weights.load(tmp_path / "model.safetensors")
    again.eval()
    assert again.task == model.task
    assert again.settings() == model.settings()
    assert report.new == report.unused == ()
    images = make_images(model.task)
    with torch.no_grad():
        assert torch.equal(model(images).logits, again(images).logits)
    assert weights.read_about(tmp_path / "model.safetensors")["note"] == "kept"
    assert weights.carried_task(tmp_path / "model.safetensors") == model.task


def test_prototypes_are_saved_and_restored(micro, tmp_path):
    model = micro(2)
    model.prototypes.prototypes.normal_()
    weights.save(tmp_path / "model.safetensors", model)
    again, _ = weights.load(tmp_path / "model.safetensors")
    assert torch.equal(again.prototypes.prototypes, model.prototypes.prototypes)


def test_run_folder_gives_its_best_else_its_last(micro, tmp_path):
    model = micro(1)
    weights.save(tmp_path / "last.safetensors", model)
    assert weights.locate(tmp_path).name == "last.safetensors"
    weights.save(tmp_path / "best.safetensors", model)
    assert weights.locate(tmp_path).name == "best.safetensors"


def test_checkpoint_for_other_classes_is_refused_unless_reheaded(micro, tmp_path):
    path = tmp_path / "model.safetensors"
    weights.save(path, micro(2, 5))
    with pytest.raises(WeightsError, match="other classes") as error:
        weights.load(path, make_task(2, 7))
    assert "7 classes" in str(error.value)
    assert "it has 5" in str(error.value)
    model, report = weights.load(path, make_task(2, 7), ModelSettings(backbone="micro"), rehead=True)
    assert len(model.task.classes) == 7
    assert all("mask_decoder" in name or name.startswith("prototypes") for name in report.new)


def test_same_number_of_other_classes_is_refused_too(micro, tmp_path):
    weights.save(tmp_path / "model.safetensors", micro(2, 5))
    other = make_task(2, 5).model_copy(update={"classes": Classes(names=("a", "b", "c", "d", "e"))})
    with pytest.raises(WeightsError, match="other classes"):
        weights.load(tmp_path / "model.safetensors", other)


def test_missing_unexpected_and_reshaped_tensors_are_listed(hub_model, tmp_path):
    state = dict(hub_model.state_dict())
    del state["memory_attention.layer_norm.weight"]
    state["surprise"] = torch.zeros(1)
    state["memory_encoder.projection.bias"] = torch.zeros(65)
    save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError) as error:
        weights.load(tmp_path / "model.safetensors", make_task(1, 3))
    message = str(error.value)
    assert "1 missing: sam2.memory_attention.layer_norm.weight" in message
    assert "1 unexpected: sam2.surprise" in message
    assert "sam2.memory_encoder.projection.bias [65] instead of [64]" in message


def test_files_that_do_not_say_their_task_ask_for_it(hub_folder):
    with pytest.raises(WeightsError, match=r"modalities=\[\.\.\.\], classes=\[\.\.\.\]"):
        weights.load(hub_folder)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    "name", ["bomb.pt", "text.pt", "empty.pt", "other.pt", "numbers.pt", "odd.txt", "cut.safetensors"]
)
def test_what_is_not_weights_is_explained(tmp_path, name):
    path, canary = tmp_path / name, tmp_path / "canary"
    if name == "bomb.pt":
        torch.save({"model": Bomb(canary)}, path)
    elif name == "other.pt":
        torch.save({"layer.weight": torch.zeros(3)}, path)
    elif name == "numbers.pt":
        torch.save({"model": {"a": 1}}, path)
    elif name == "cut.safetensors":
        save_file({"a": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:-500])
    else:
        path.write_bytes(b"" if name == "empty.pt" else b"hello")
    with pytest.raises(WeightsError) as error:
        weights.load(path, make_task(1, 3))
    assert str(path) in str(error.value)
    assert not canary.exists()


def test_plain_pickle_is_refused(tmp_path):
    path, canary = tmp_path / "old.pt", tmp_path / "canary"
    path.write_bytes(pickle.dumps({"model": Bomb(canary)}))
    with pytest.raises(WeightsError):
        weights.load(path, make_task(1, 3))
    assert not canary.exists()


def test_nothing_there_says_what_would_be_right(tmp_path):
    with pytest.raises(WeightsError, match="Hub id"):
        weights.load(tmp_path / "absent.pt")
    with pytest.raises(WeightsError, match="holds no weights"):
        weights.load(tmp_path)


def test_names_from_distributed_training_are_understood(hub_model):
    state = {f"module.{name}": tensor for name, tensor in hub_model.state_dict().items()}
    assert translate(state).backbone == "sam2.1-tiny"
