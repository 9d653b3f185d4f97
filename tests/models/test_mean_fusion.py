import torch

from .conftest import make_images


@torch.no_grad()
def test_levels_are_the_mean_over_the_sensors_given(micro):
    model = micro(3, name="mean-fusion").eval()
    images = make_images(model.task, batch=2)
    alone = [model.levels({name: image}) for name, image in images.items()]
    for i, level in enumerate(model.levels(images)):
        assert torch.allclose(level, torch.stack([levels[i] for levels in alone]).mean(dim=0), atol=1e-5)


@torch.no_grad()
def test_sensors_share_everything_so_that_their_names_do_not_matter(micro):
    model = micro(2, name="mean-fusion").eval()
    images = make_images(model.task)
    exchanged = {"m0": images["m1"], "m1": images["m0"]}
    assert torch.allclose(model(images).logits, model(exchanged).logits, atol=1e-5)
    assert torch.equal(model({"m0": images["m0"]}).logits, model({"m1": images["m0"]}).logits)


def test_the_encoder_is_called_once(micro):
    model = micro(4, name="mean-fusion").eval()
    seen = []
    model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    model(make_images(model.task, batch=2))
    assert seen == [(8, 3, 64, 96)]


def test_only_encoder_head_and_learned_stems_hold_weights(micro):
    model = micro(2, name="mean-fusion", channels=2)
    parts = {part: len(parameters) for part, parameters in model.parts().items()}
    assert parts.keys() == {"encoder", "stem", "decoder"}
    assert all(parts.values())
    assert model.head.project[0].out_channels == 256
