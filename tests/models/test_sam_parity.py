"""SAM-LoRA and CWSAM compute what their releases do (../shared/reference), and SAM what `transformers` does."""

import re

import pytest
import torch
from torch.nn import functional as F
from transformers.models.sam.modeling_sam import SamModel

from memorysam.config import ModelSettings
from memorysam.errors import WeightsError
from memorysam.models import sam, weights
from memorysam.models.base import count
from memorysam.models.cwsam_adapters import low_pass
from memorysam.models.formats import translate

from .conftest import make_task
from .test_parity import close, images, reference, task_of

NO_PROMPTS = 5_964
"""Parameters of SAM's prompt encoder that have no effect without a prompt; we do not have them."""


@pytest.fixture(scope="module")
def released(fill, tmp_path_factory):
    """Checkpoints under the names of the released code, as bare state dicts."""
    folder = tmp_path_factory.mktemp("released")

    def path_of(case):
        path = folder / f"{case}.pth"
        if not path.exists():
            torch.save(fill.state_dict(case, 0), path)
        return path

    return path_of


@pytest.mark.parametrize("case", ["sam_lora_b", "cwsam_b"])
def test_release_outputs(shared, fill, released, case):
    ours_of, metadata = reference(shared, case)
    model, report = weights.load(released(case), task_of(["rgb"], 25))
    assert report.new == ()
    with torch.no_grad():
        output = model.eval()(images(fill, metadata, 1))
    frame = output.frames["rgb"]
    close(frame.embedding, ours_of["image_embedding"])
    close(frame.logits, ours_of["low_res_logits"])
    close(frame.ious[:, : ours_of["ious"].shape[1]], ours_of["ious"])  # CWSAM's release gives that of its one mask
    close(output.at((256, 256))[..., ::4, ::4], ours_of["logits_every_4th_pixel"])


def test_cwsam_prompt_features(shared, fill, released):
    ours_of, metadata = reference(shared, "cwsam_b")
    model, _ = weights.load(released("cwsam_b"), task_of(["rgb"], 25))
    pixels = images(fill, metadata, 1)["rgb"]
    with torch.no_grad():
        smooth = low_pass(pixels)
        close(smooth[..., ::4, ::4], ours_of["lowpass_every_4th_pixel"])
        close(model.prompts.handcrafted(smooth), ours_of["handcrafted_feature"])
        tokens = model.sam.patches(pixels)
        close(model.prompts.token_feature(tokens), ours_of["embedding_feature"])
        model.prompts.scrambled = False
        assert (model.prompts.token_feature(tokens) - ours_of["embedding_feature"]).abs().max() > 0.1


def test_sam_lora_counts_are_the_published_ones(shared, released):
    metadata = reference(shared, "sam_lora_b")[1]
    model, report = weights.load(released("sam_lora_b"), task_of(["rgb"], 25))
    parts = {name: count(parameters) for name, parameters in model.parts().items()}
    assert count(list(model.parameters())) == int(metadata["parameters"]) - NO_PROMPTS == 93_825_433
    assert parts["lora"] == int(metadata["lora_parameters"]) == 147_456
    # The release also counts as trained what no loss reaches: prompts that are never given, and the IoU head.
    trained = count([p for p in model.parameters() if p.requires_grad])
    assert trained == int(metadata["trainable_parameters"]) - NO_PROMPTS - parts["heads"] == 7_014_784
    assert len(report.unused) == 15
    assert all(re.search("point_embed|not_a_point|mask_downscaling", name) for name in report.unused)


def test_cwsam_counts_are_the_published_ones(shared, released):
    metadata = reference(shared, "cwsam_b")[1]
    model, report = weights.load(released("cwsam_b"), task_of(["rgb"], 25))
    parts = {name: count(parameters) for name, parameters in model.parts().items()}
    assert count(list(model.parameters())) == int(metadata["parameters"]) == 103_972_116
    assert count(list(model.prompts.parameters())) == int(metadata["prompt_generator_parameters"])
    assert count(list(model.class_upscaling.parameters())) == int(metadata["class_upscaling_parameters"])
    assert parts["unused"] == 3_550_464
    # The release also counts as trained what no loss reaches: adapters that are never called, three of the four
    # hyper-networks, and the IoU head.
    trained = count([p for p in model.parameters() if p.requires_grad])
    assert trained == int(metadata["trainable_parameters"]) - parts["unused"] - parts["heads"] == 13_196_976
    assert report.unused == ("criterionBCE.weight",)
    assert model.settings()["scrambled_tokens"]


def test_meta_file_starts_sam_lora_at_another_size(fill, released, tmp_path):
    """SAM's own file has the same names, tables for 1024 pixels, and four masks."""
    state = {}
    for name, tensor in fill.state_dict("sam_lora_b", 0).items():
        if "linear_" not in name:
            state[name.removeprefix("sam.").replace("qkv.qkv", "qkv")] = tensor
    tables = {"image_encoder.pos_embed": torch.randn(1, 64, 64, 768)}
    tables |= {n: torch.randn(127, 64) for n in state if re.search(r"blocks\.(2|5|8|11)\.attn\.rel_pos", n)}
    head = {n: t for n, t in state.items() if re.search(r"mlps\.([4-9]|\d\d)\.", n)}
    four = {n: state[n][:4] for n in state if re.search(r"mask_tokens|iou_prediction_head\.layers\.2", n)}
    path = tmp_path / "sam_vit_b_01ec64.pth"
    torch.save({n: t for n, t in (state | tables | four).items() if n not in head}, path)

    model, report = weights.load(path, task_of(["rgb"], 25), ModelSettings(name="sam-lora"))
    assert set(map(model.part_of, report.new)) == {"lora", "decoder", "heads"}
    assert all(model.FOLLOWS_CLASSES.search(name) for name in report.new if model.part_of(name) != "lora")
    ours = model.state_dict()
    theirs = weights.load(released("sam_lora_b"), task_of(["rgb"], 25))[0].state_dict()
    resized = {name for name in ours if name.endswith("pos_embed") or re.search(r"\.(2|5|8|11)\.attn\.rel_pos", name)}
    assert len(resized) == 9
    for name in ours.keys() - set(report.new) - resized:
        assert torch.equal(ours[name], theirs[name]), name
    expected = F.interpolate(tables["image_encoder.pos_embed"].permute(0, 3, 1, 2), (16, 16), mode="bilinear")
    close(ours["sam.vision_encoder.pos_embed"], expected.permute(0, 2, 3, 1))
    table = tables["image_encoder.blocks.5.attn.rel_pos_w"]
    expected = F.interpolate(table[None, None], (31, 64), mode="bilinear")[0, 0]
    close(ours["sam.vision_encoder.layers.5.attn.rel_pos_w"], expected)


def test_samed_file_without_the_encoder_says_what_to_do(tmp_path):
    path = tmp_path / "epoch_159.pth"
    torch.save({"w_a_000": torch.zeros(4, 768), "w_b_000": torch.zeros(768, 4)}, path)
    with pytest.raises(WeightsError, match="without the image encoder") as error:
        weights.load(path, task_of(["rgb"], 25))
    assert str(path) in str(error.value)
    assert "load_lora_parameters" in str(error.value)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A SAM with random weights, as `transformers` has it, and the folder it is saved in."""
    torch.manual_seed(0)
    config = sam._config(sam.BACKBONES["micro"], 4)
    config.vision_config.image_size = config.prompt_encoder_config.image_size = 128
    config.prompt_encoder_config.image_embedding_size = 8
    model = SamModel(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1 if parameter.ndim > 1 else 0.5)
    folder = tmp_path_factory.mktemp("hub")
    model.save_pretrained(folder)
    return model, folder


def test_transformers_folder_loads_and_computes_what_transformers_computes(hub):
    theirs, folder = hub
    settings = ModelSettings(name="sam-lora", lora_rank=0)
    model, report = weights.load(folder, make_task(1, 4, size=(128, 128)), settings)
    assert report.new == ()
    pixels = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        frame = model.eval()({"m0": pixels}).frames["m0"]
        embedding = theirs.vision_encoder(pixels).last_hidden_state
        position = theirs.get_image_wide_positional_embeddings()
        masks, ious = theirs.mask_decoder(
            image_embeddings=embedding,
            image_positional_embeddings=position.expand(2, -1, -1, -1),
            sparse_prompt_embeddings=None,
            dense_prompt_embeddings=theirs.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1),
            multimask_output=True,
        )
    close(frame.embedding, embedding)
    close(model.sam.dense_position(8, 8), position)
    close(frame.logits[:, 1:], masks[:, 0])
    close(frame.ious[:, 1:], ious[:, 0])


def test_no_other_family_starts_from_sam(hub):
    with pytest.raises(WeightsError, match="memorysam cannot start") as error:
        weights.load(hub[1], make_task(1, 4), ModelSettings(name="memorysam"))
    assert "sam-lora, cwsam" in str(error.value)


def test_either_name_of_the_shared_position_matrix_will_do(hub):
    state = dict(hub[0].state_dict())
    matrix = state.pop("shared_image_embedding.positional_embedding")
    assert torch.equal(translate(state).tensors["positional_embedding"], matrix)


@pytest.mark.parametrize("name", ["sam-lora", "cwsam"])
def test_transformers_folder_starts_a_model_of_other_classes_and_shape(hub, name):
    _, folder = hub
    task = make_task(2, 7, size=(64, 160))
    model, report = weights.load(folder, task, ModelSettings(name=name))
    assert model.sam.vision_encoder.pos_embed.shape == (1, 4, 10, 96)
    assert model.sam.vision_encoder.layers[1].attn.rel_pos_h.shape == (7, 24)
    assert model.sam.vision_encoder.layers[1].attn.rel_pos_w.shape == (19, 24)
    new = {"sam-lora": {"lora", "decoder", "heads"}, "cwsam": {"adapters", "unused", "decoder"}}[name]
    assert set(map(model.part_of, report.new)) == new
    assert all(n.startswith(("adapters", "prompts", "class_upscaling")) for n in report.new) == (name == "cwsam")
