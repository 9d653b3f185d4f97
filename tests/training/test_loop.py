import json

import pytest
import torch

from memorysam.errors import SettingsError, TrainingError
from memorysam.models import weights
from memorysam.models.memorysam import MemorySAM
from memorysam.models.systems import SYSTEMS
from memorysam.tensors import read_tensors
from memorysam.training.checkpoint import LAST
from memorysam.training.loop import train

from ..tiny import settings, write_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny"))


def state(folder):
    tensors, header = read_tensors(folder / LAST)
    return tensors, header["training"]


def log(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


@pytest.fixture(scope="module")
def twenty_steps(dataset, tmp_path_factory):
    """The run that the others must equal: 20 steps in one go, 2 per epoch."""
    folder = tmp_path_factory.mktemp("whole")
    outcome = train(settings(dataset), folder)
    assert outcome.finished
    assert outcome.progress.step == 20
    return folder


@pytest.mark.parametrize(
    "stops", [(7,), (8,), (9,), (1, 13), (7, 8)], ids=lambda stops: "-".join(str(stop) for stop in stops)
)
def test_stopping_and_resuming_changes_nothing(dataset, twenty_steps, tmp_path, stops):
    """In mid-epoch, at its end, one step before; once or twice: parameters, moments, prototypes, losses are equal."""
    for i, stop in enumerate(stops):
        assert not train(settings(dataset), tmp_path, resume=i > 0, stop_after=stop).finished
    assert train(settings(dataset), tmp_path, resume=True).finished
    ours, ours_at = state(tmp_path)
    theirs, theirs_at = state(twenty_steps)
    assert ours_at == theirs_at
    assert ours.keys() == theirs.keys()
    assert any("exp_avg" in name for name in ours)
    assert "prototypes.prototypes" in ours
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name
    assert log(tmp_path) == log(twenty_steps)


SGD = {
    "optimizer": "sgd", "lr": 0.02, "lr_factors": {"decoder": 3}, "schedule": "cosine", "lr_min": 1e-4,
    "loss": "cross-entropy", "dice": 0.5, "class_weights": [1, 2, 0.5], "clip": 1.0, "epochs": 4,
}  # fmt: skip


def test_sgd_with_factors_resumes_bit_for_bit_too(dataset, tmp_path):
    """With the other losses and the other schedule; they learn, and the log names them."""
    chosen = settings(dataset, train=SGD)
    assert train(chosen, tmp_path / "whole").finished
    for stop in (3, 4, None):
        train(chosen, tmp_path / "parts", resume=stop != 3, stop_after=stop)
    (ours, ours_at), (theirs, theirs_at) = state(tmp_path / "parts"), state(tmp_path / "whole")
    assert ours_at == theirs_at
    assert ours.keys() == theirs.keys()
    moments = [name for name in ours if name.startswith("training/optimizer/")]
    assert {name.rsplit("/", 1)[1] for name in moments} == {"momentum_buffer"}
    assert all(ours[name].abs().sum() > 0 for name in moments if name.endswith("decoder.conv_s0.weight"))
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name
    assert log(tmp_path / "parts") == log(tmp_path / "whole")
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert all({"cross_entropy", "dice", "prototype"} <= line.keys() and "ohem" not in line for line in steps)
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert steps[-1]["lr"] == pytest.approx(1e-4)


def test_shuffled_subsets_weighed_by_quality_resume_bit_for_bit_too(dataset, tmp_path, monkeypatch):
    """Stopped twice, with two passes a step; each modality is the first one in some passes."""
    seen = []
    real = MemorySAM.forward
    monkeypatch.setattr(
        MemorySAM, "forward", lambda self, images: (seen.append((self.training, tuple(images))), real(self, images))[1]
    )
    chosen = settings(
        dataset,
        model={"fusion": "quality"},
        train={"modality_order": "shuffle", "modality_dropout": 0.5, "accumulate": 2, "epochs": 5},
    )
    assert train(chosen, tmp_path / "whole").finished
    whole, evaluated = ([names for training, names in seen if training == mode] for mode in (True, False))
    assert set(whole) == {("rgb",), ("depth",), ("rgb", "depth"), ("depth", "rgb")}
    assert set(evaluated) == {("rgb", "depth")}, "evaluation shows them in the task's order"
    seen.clear()
    for stop in (3, 6, None):
        train(chosen, tmp_path / "parts", resume=stop != 3, stop_after=stop)
    assert [names for training, names in seen if training] == whole
    ours, theirs = state(tmp_path / "parts")[0], state(tmp_path / "whole")[0]
    assert ours.keys() == theirs.keys()
    assert theirs["quality.score.weight"].abs().sum() > 0
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name
    assert log(tmp_path / "parts") == log(tmp_path / "whole")


@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_a_random_order_is_refused_where_no_memory_could_start_from_any(dataset, tmp_path, name):
    model = {"memory": False} if name == "memorysam" else {"name": name, "lora_rank": 4}
    with pytest.raises(SettingsError) as error:
        train(settings(dataset, model=model, train={"modality_order": "shuffle"}), tmp_path)
    assert "train.modality_order" in str(error.value)
    assert "it has an effect with `model.name: memorysam` and its memory only" in str(error.value)


def test_another_optimizer_begins_its_moments_anew_and_says_so(dataset, tmp_path, capfd):
    for i, name in enumerate(("adamw", "sgd", "adamw")):
        chosen = settings(dataset, train={"optimizer": name})
        train(chosen, tmp_path, resume=i > 0, allow_changes=True, stop_after=2 * (i + 1))
        kinds = {name.rsplit("/", 1)[1] for name in state(tmp_path)[0] if name.startswith("training/optimizer/")}
        assert kinds == ({"momentum_buffer"} if name == "sgd" else {"step", "exp_avg", "exp_avg_sq"})
    assert "saved with the optimizer SGD, continued with AdamW" in capfd.readouterr().err


@pytest.mark.slow
def test_resuming_is_exact_with_workers_too(dataset, twenty_steps, tmp_path):
    with_workers = settings(dataset, data={"workers": 2})
    train(with_workers, tmp_path, stop_after=7)
    train(with_workers, tmp_path, resume=True)
    for name, tensor in state(twenty_steps)[0].items():
        assert torch.equal(state(tmp_path)[0][name], tensor), name


def test_two_runs_with_one_seed_are_equal_and_another_seed_differs(dataset, twenty_steps, tmp_path):
    train(settings(dataset), tmp_path / "a", stop_after=4)
    train(settings(dataset, train={"seed": 1}), tmp_path / "b", stop_after=4)
    expected = {step: loss for step, loss in log(twenty_steps).items() if step <= 4}
    assert log(tmp_path / "a") == expected
    assert log(tmp_path / "b") != expected


def test_training_learns(twenty_steps):
    losses = log(twenty_steps)
    assert losses[20] < 0.7 * losses[1]


def test_run_folder_holds_what_a_result_depends_on(twenty_steps):
    names = {path.name for path in twenty_steps.iterdir()}
    assert {"settings.yaml", "environment.json", "log.jsonl", "last.safetensors", "best.safetensors"} <= names
    environment = json.loads((twenty_steps / "environment.json").read_text())
    assert {"torch", "transformers", "memorysam"} <= environment["packages"].keys()
    about = weights.read_about(twenty_steps / "best.safetensors")
    assert about["scores"]["split"] == "val"
    assert about["settings"]["train"]["lr"] == 2e-3
    assert not [name for name in names if name.endswith(".tmp")]


def test_best_is_the_best_validated(twenty_steps):
    lines = [json.loads(line) for line in (twenty_steps / "log.jsonl").read_text().splitlines()]
    scores = {line["step"]: line["validation"]["miou"] for line in lines if "validation" in line}
    assert scores.keys() == {10, 20}
    best = weights.read_about(twenty_steps / "best.safetensors")
    assert best["scores"]["miou"] == max(scores.values()) == state(twenty_steps)[1]["progress"]["best"]


def test_a_folder_with_a_run_is_not_overwritten(dataset, twenty_steps):
    with pytest.raises(TrainingError, match="already holds a run"):
        train(settings(dataset), twenty_steps)


def test_nothing_to_resume_is_an_error(dataset, tmp_path):
    with pytest.raises(TrainingError, match="no run to resume"):
        train(settings(dataset), tmp_path, resume=True)


def test_changed_settings_are_refused_with_the_difference(dataset, tmp_path):
    train(settings(dataset), tmp_path, stop_after=1)
    with pytest.raises(SettingsError, match=r"train\.lr: 0\.002, now 0\.1"):
        train(settings(dataset, train={"lr": 0.1}), tmp_path, resume=True)
    train(settings(dataset, train={"lr": 0.1}), tmp_path, resume=True, allow_changes=True, stop_after=2)
    train(settings(dataset, train={"lr": 0.1, "log_every": 5}), tmp_path, resume=True, stop_after=3)


def test_changed_data_are_refused_with_the_difference(tmp_path):
    dataset = write_dataset(tmp_path / "data")
    train(settings(dataset), tmp_path / "run", stop_after=1)
    listed = (tmp_path / "data" / "train.txt").read_text().splitlines()
    (tmp_path / "data" / "train.txt").write_text("\n".join(listed[:-1]))
    with pytest.raises(TrainingError, match=r"10 samples.*now 9"):
        train(settings(dataset), tmp_path / "run", resume=True)
    train(settings(dataset), tmp_path / "run", resume=True, allow_changes=True, stop_after=2)


def test_a_damaged_newest_state_falls_back_loudly(dataset, tmp_path, capfd):
    train(settings(dataset), tmp_path, stop_after=3)
    train(settings(dataset), tmp_path, resume=True, stop_after=5)
    data = (tmp_path / LAST).read_bytes()
    (tmp_path / LAST).write_bytes(data[: len(data) // 2])
    train(settings(dataset), tmp_path, resume=True, stop_after=6)
    said = capfd.readouterr().err
    assert "last.safetensors cannot be used" in said
    assert "falling back to previous.safetensors, of step 3" in said
    assert state(tmp_path)[1]["progress"]["step"] == 6
    assert list(log(tmp_path)) == [1, 2, 3, 4, 5, 6]


def test_accumulated_passes_give_the_gradient_of_their_mean(dataset, tmp_path):
    # Every pixel counts, and as many in each pass: then the mean over passes is the mean over the batch.
    plain = {"model": {"dropout": 0.0, "prototypes": "off"}, "augment": {"scale": [1, 1]}}
    options = {"ohem_probability": 0.999999, "modality_dropout": 0}
    train(settings(dataset, **plain, train=options), tmp_path / "one", stop_after=1)
    train(settings(dataset, **plain, train={**options, "accumulate": 2}), tmp_path / "two", stop_after=1)
    assert log(tmp_path / "one")[1] == pytest.approx(log(tmp_path / "two")[1], rel=1e-6)
    one, two = state(tmp_path / "one")[0], state(tmp_path / "two")[0]
    moments = [name for name in one if name.endswith("/exp_avg")]
    assert moments
    for name in moments:
        assert torch.allclose(one[name], two[name], atol=1e-6), name


def test_a_batch_that_cannot_be_shared_is_refused(dataset, tmp_path):
    with pytest.raises(SettingsError, match="multiple of 3"):
        train(settings(dataset, train={"accumulate": 3}), tmp_path)


def test_a_backbone_without_weights_is_refused(dataset, tmp_path):
    with pytest.raises(SettingsError, match="needs pretrained weights"):
        train(settings(dataset, model={"backbone": "sam2-tiny"}), tmp_path)


def test_bfloat16_trains_like_float32_and_keeps_float32_weights(dataset, tmp_path):
    options = {"checkpointing": True, "modality_dropout": 0}
    plain = {"model": {"dropout": 0.0}}
    train(settings(dataset, train={**options, "precision": "bf16"}, **plain), tmp_path / "bf16", stop_after=4)
    train(settings(dataset, train=options, **plain), tmp_path / "fp32", stop_after=4)
    tensors, _ = state(tmp_path / "bf16")
    assert all(tensor.dtype != torch.bfloat16 for tensor in tensors.values())
    ours, theirs = log(tmp_path / "bf16"), log(tmp_path / "fp32")
    assert ours != theirs
    assert ours == pytest.approx(theirs, rel=0.05)


def test_training_starts_from_a_checkpoint(dataset, twenty_steps, tmp_path):
    chosen = settings(dataset, model={"weights": str(twenty_steps), "lora_rank": 4})
    train(chosen, tmp_path, stop_after=2)
    start, _ = read_tensors(twenty_steps / "best.safetensors")
    now, _ = state(tmp_path)
    frozen = [name for name in start if "vision_encoder" in name]
    assert frozen
    assert all(torch.equal(start[name], now[name]) for name in frozen), "the encoder's own weights stay"
    assert any("q_up" in name for name in now)


def test_the_best_checkpoint_holds_the_average_of_the_weights(twenty_steps):
    last, _ = state(twenty_steps)
    best, about = read_tensors(twenty_steps / "best.safetensors")
    assert about["step"] == 20, "or this test compares different steps"
    averaged = [name.removeprefix("training/average/") for name in last if name.startswith("training/average/")]
    assert len(averaged) > 100
    assert all(torch.equal(best[name], last[f"training/average/{name}"]) for name in averaged)
    assert any(not torch.equal(best[name], last[name]) for name in averaged)
