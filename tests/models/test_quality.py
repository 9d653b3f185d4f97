"""The learned weights of the modalities in MemorySAM's mean."""

import pytest
import torch

from memorysam.config import ModelSettings, TrainedParts
from memorysam.errors import SettingsError, WeightsError
from memorysam.models import weights
from memorysam.models.cost import forward_flops, kept_for_backward
from memorysam.models.factory import create
from memorysam.models.quality import QualityHead
from memorysam.models.systems import SYSTEMS
from memorysam.models.tune import for_inference
from memorysam.tensors import read_tensors, write_tensors
from memorysam.training.objective import training_loss

from .conftest import make_images, make_task


def learned(model):
    """Give the head weights as training might, large enough to matter."""
    with torch.no_grad():
        model.quality.score.weight.normal_(std=0.5)
    return model


def test_it_starts_as_the_published_mean(micro):
    mean, quality = micro(3).eval(), micro(3, fusion="quality").eval()
    quality.load_state_dict(mean.state_dict(), strict=False)
    images = make_images(mean.task, batch=2)
    for shown in (["m0"], ["m2", "m1"], ["m0", "m1", "m2"]):
        with torch.no_grad():
            some = {name: images[name] for name in shown}
            assert torch.equal(mean(some).logits, quality(some).logits)


def test_what_is_fused_is_a_mean_whose_weights_sum_to_one_over_the_modalities_present(micro):
    model = learned(micro(3, fusion="quality").eval())
    images = make_images(model.task, batch=2)
    for shown in (["m1"], ["m0", "m2"], ["m0", "m1", "m2"]):
        with torch.no_grad():
            output = model({name: images[name] for name in shown})
            frames = list(output.frames.values())
            found = model.quality.weights([frame.conditioned for frame in frames], output.logits.shape[-2:])
        assert found.shape == (len(shown), 2, 1, 16, 24)
        assert (found > 0).all()
        assert torch.allclose(found.sum(dim=0), torch.ones(2, 1, 16, 24))
        fused = sum(weight * frame.masks.logits for weight, frame in zip(found, frames, strict=True))
        assert torch.allclose(output.logits, fused, atol=1e-5)
    assert found.std(dim=(2, 3, 4)).min() > 0.01, "each pixel has weights of its own"


def test_one_modality_alone_is_what_it_says(micro):
    model = learned(micro(2, fusion="quality").eval())
    with torch.no_grad():
        output = model({"m1": make_images(model.task)["m1"]})
    assert torch.equal(output.logits, output.frames["m1"].masks.logits)


def test_a_modality_that_is_left_out_does_not_matter_whatever_is_in_it(micro):
    model = learned(micro(3, fusion="quality").eval())
    images = make_images(model.task)
    broken = {**images, "m1": torch.full_like(images["m1"], torch.nan)}
    with torch.no_grad():
        assert not model(broken).logits.isfinite().all()
        without = {name: image for name, image in broken.items() if name != "m1"}
        assert torch.equal(model(without).logits, model({k: images[k] for k in without}).logits)


def test_large_qualities_do_not_overflow():
    head = QualityHead(4)
    with torch.no_grad():
        head.score.weight.copy_(torch.tensor([1e4, 0, 0, 0]).view(1, 4, 1, 1))
    features = [torch.tensor([value, 0, 0, 1.0]).view(1, 4, 1, 1).expand(1, 4, 2, 2) for value in (3.0, -2.0, 0.5)]
    logits = [torch.full((1, 3, 8, 8), value) for value in (5.0, 6.0, 7.0)]
    fused = head(features, logits)
    fused.sum().backward()
    assert torch.allclose(fused, logits[0]), "all the weight is with the best"
    assert head.score.weight.grad.isfinite().all()


def test_the_size_of_a_modalitys_features_buys_no_weight(micro):
    """The first one has not been through the norm of memory attention."""
    head = learned(micro(2, fusion="quality")).quality
    one, two = (torch.randn(1, head.score.in_channels, 4, 6) for _ in range(2))
    size = torch.Size((16, 24))
    assert torch.allclose(head.weights([one, two], size), head.weights([50 * one, two], size), atol=1e-3)


def test_the_head_learns_which_modality_to_trust(micro):
    """From the loss alone, with everything else frozen: the gradient reaches it through the mean."""
    frozen = TrainedParts(encoder=False, lora=False, memory=False, decoder=False)
    model = micro(2, fusion="quality", train=frozen)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained == ["quality.score.weight"]
    images = make_images(model.task, batch=2)
    labels = torch.randint(0, 5, (2, *model.task.image_size))
    loss, _ = training_loss(model, model(images), labels)
    loss.backward()
    assert model.quality.score.weight.grad.abs().max() > 0
    optimizer = torch.optim.SGD(model.quality.parameters(), lr=0.5)
    optimizer.step()
    model.eval()
    with torch.no_grad():
        assert training_loss(model, model(images), labels)[0] < loss


def test_it_is_frozen_where_there_is_nothing_to_weigh_or_settings_say_so(micro):
    assert not micro(1, fusion="quality").quality.score.weight.requires_grad
    assert not micro(2, fusion="quality", train=TrainedParts(fusion=False)).quality.score.weight.requires_grad
    assert micro(2, fusion="quality", memory=False).quality.score.weight.requires_grad


def test_it_is_a_part_of_its_own(micro):
    model = micro(2, fusion="quality")
    assert [p.shape for p in model.parts()["fusion"]] == [model.quality.score.weight.shape]
    assert micro(2).parts()["fusion"] == []


def test_a_checkpoint_brings_it_along(micro, tmp_path):
    model = learned(micro(2, fusion="quality").eval())
    path = tmp_path / "model.safetensors"
    weights.save(path, model)
    again, report = weights.load(path)
    assert again.settings()["fusion"] == "quality"
    assert report.new == ()
    images = make_images(model.task)
    with torch.no_grad():
        assert torch.equal(model(images).logits, again.eval()(images).logits)


def test_a_model_without_it_can_go_on_with_it_and_not_the_reverse(micro, tmp_path):
    plain, path = micro(2).eval(), tmp_path / "plain.safetensors"
    weights.save(path, plain)
    wanted = ModelSettings(backbone="micro", fusion="quality")
    again, report = weights.load(path, None, wanted)
    assert report.new == ("quality.score.weight",)
    assert "1 new (fusion 1)" in str(report)
    images = make_images(plain.task)
    with torch.no_grad():
        assert torch.equal(plain(images).logits, again.eval()(images).logits)
    path = tmp_path / "quality.safetensors"
    weights.save(path, learned(micro(2, fusion="quality")))
    with pytest.raises(WeightsError, match=r"unexpected: quality\.score\.weight"):
        weights.load(path, None, ModelSettings(backbone="micro"))


def test_checkpoints_from_before_it_load_as_they_were(micro, tmp_path):
    model, path = micro(2).eval(), tmp_path / "model.safetensors"
    weights.save(path, model)
    tensors, header = read_tensors(path)
    del header["model"]["fusion"]
    write_tensors(path, tensors, header)
    again, report = weights.load(path)
    assert report.new == ()
    assert again.settings() == model.settings()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_merged_and_in_bfloat16_it_stays_close(micro, precision):
    model = learned(micro(3, fusion="quality").eval())
    images = make_images(model.task)
    with torch.no_grad():
        before = model(images).logits
        prepared = for_inference(model, precision)
        shown = {k: v.bfloat16() if precision == "bf16" else v for k, v in images.items()}
        after = prepared(shown).logits
    assert after.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
    limit = 0.1 if precision == "bf16" else 1e-4
    assert (after.float() - before).abs().max() < limit * max(1.0, float(before.abs().max()))


def test_its_cost_is_counted(micro):
    task = make_task(2)
    plain, quality = (create(ModelSettings(backbone="micro", fusion=kind), task) for kind in ("mean", "quality"))
    width = quality.quality.score.in_channels
    assert forward_flops(quality) - forward_flops(plain) == 2 * 2 * width * 4 * 6  # modalities, 2 per product, pixels
    assert kept_for_backward(quality) > kept_for_backward(plain)


def test_without_the_mean_there_is_nothing_to_weigh(micro):
    with pytest.raises(SettingsError, match="quality weighs the modalities in a mean"):
        micro(2, fusion="quality", residual=False)


@pytest.mark.parametrize("name", sorted(set(SYSTEMS) - {"memorysam"}))
def test_other_systems_refuse_it_and_say_whose_it_is(name):
    with pytest.raises(SettingsError, match=f"fusion means nothing to {name}") as error:
        create(ModelSettings(name=name, backbone="micro", fusion="quality"), make_task(2))
    assert "it is a setting of memorysam" in str(error.value)
