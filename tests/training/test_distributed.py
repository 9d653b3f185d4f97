"""Two processes train as one would. One launch does all the work and leaves files; the tests look at them."""

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from memorysam.tensors import read_tensors
from memorysam.training import loop
from memorysam.training.checkpoint import LAST, PREVIOUS

from ..tiny import settings, write_dataset
from .test_kill import wait_for_steps

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
SHORT = {"train": {"epochs": 3, "validate_every": 2}}  # six steps, validation after the fourth and the last
EXACT = {"model": {"dropout": 0.0}, "augment": {"scale": [1, 1]}}  # as many pixels on each rank, and all of them count
ONE_STEP = {
    "prototypes": {**EXACT, "train": {"ohem_probability": 0.999999, "prototype_weight": 100}},
    "accumulated": {
        "augment": EXACT["augment"],
        "model": {"dropout": 0.0, "prototypes": "off"},
        "train": {"ohem_probability": 0.999999, "accumulate": 2},
    },
}
VARIANTS = {
    "one-modality": {"data": {"modalities": ["rgb"]}},
    "memory-off": {"model": {"memory": False}},
    "residual-off": {"model": {"residual": False}},
    "prototypes-off": {"model": {"prototypes": "off"}},
    "prototypes-released": {"model": {"prototypes": "released"}},
    "lora-alone": {"model": {"lora_rank": 2, "train": {"encoder": False, "memory": False, "decoder": False}}},
    "modality-dropout": {"train": {"modality_dropout": 1.0}},
    "shuffled-quality": {
        "model": {"fusion": "quality"},
        "train": {"modality_dropout": 0.5, "modality_order": "shuffle"},
    },
    "quality-of-one": {"model": {"fusion": "quality"}, "data": {"modalities": ["depth"]}},
    "bf16-recomputed": {"train": {"precision": "bf16", "checkpointing": True}},
}
SCRIPT = """
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import torch

from memorysam.config import EvaluateSettings, ModelSettings
from memorysam.data.scenes import ScenesSource
from memorysam.evaluation.evaluate import evaluate
from memorysam.models.factory import create
from memorysam.spec import Task
from memorysam.training import loop
from tests.tiny import settings

out, plan = Path(sys.argv[1]), json.loads(sys.argv[2])
rank = int(os.environ["RANK"])
facts = {}


class Watched(loop.Training):
    signal_after = None

    def __init__(self, *args):
        super().__init__(*args)
        Watched.last = self

    def step(self, batches):
        facts = super().step(batches)
        if rank == 1 and self.progress.step + 1 == self.signal_after:
            signal.raise_signal(signal.SIGTERM)
        return facts


loop.Training = Watched


def train(name, groups, **options):
    groups = {**groups, "train": {"device": "cpu", **groups.get("train", {})}}
    outcome = loop.train(settings(Path(plan["dataset"]), **groups), out / name, **options)
    torch.save(Watched.last.model.state_dict(), out / f"{name}-{rank}.pt")
    wrapped = Watched.last.wrapped
    facts[name] = {
        "step": outcome.progress.step,
        "finished": outcome.finished,
        "signal": outcome.signal,
        "wrapper": type(wrapped).__name__,
        "looks_for_unused": wrapped.find_unused_parameters,
    }


def score(count):
    source = ScenesSource("test", count, model.task.image_size)
    result = evaluate(model, source, EvaluateSettings(), by=("condition",))
    parts = {value: scores.counts.tolist() for value, scores in result.by["condition"].items()}
    return {"all": result.scores.counts.tolist(), "images": result.scores.images, "condition": parts}


torch.manual_seed(5)
task = Task(modalities=ScenesSource.modalities, classes=ScenesSource.classes, image_size=(64, 64))
model = create(ModelSettings(backbone="micro"), task)
alone = {count: score(count) for count in (5, 1)}  # there is no process group yet

train("whole", plan["short"])
together = {count: score(count) for count in (5, 1)}
facts["scores"] = {"alone": alone, "together": together}

Watched.signal_after = 3
train("stopped", plan["short"])
Watched.signal_after = None
if rank == 0:
    shutil.copytree(out / "stopped", out / "resumed")
    shutil.copytree(out / "stopped", out / "alone")
torch.distributed.barrier()
train("resumed", plan["short"], resume=True)
for name, groups in plan["one_step"].items():
    train(name, groups, stop_after=1)
for name, groups in plan["variants"].items():
    train(name, groups, stop_after=3)
(out / f"facts-{rank}.json").write_text(json.dumps(facts))
torch.distributed.destroy_process_group()
"""


def launch(*script):
    """Start a script in two processes that meet on this machine."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        [*command, "--nproc-per-node", "2", *map(str, script)], env=environment, stderr=subprocess.PIPE, text=True
    )


def errors_of(process, seconds):
    try:
        return process.communicate(timeout=seconds)[1]
    except subprocess.TimeoutExpired:
        process.terminate()  # the launcher ends its processes
        raise AssertionError(f"the processes do not come to an end: {process.communicate()[1]}") from None


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny"), val=5)


@pytest.fixture(scope="module")
def runs(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    (folder / "script.py").write_text(SCRIPT)
    plan = {"dataset": str(dataset), "short": SHORT, "one_step": ONE_STEP, "variants": VARIANTS}
    process = launch(folder / "script.py", folder, json.dumps(plan))
    errors = errors_of(process, 300)
    assert process.returncode == 0, errors[-4000:]
    return folder


def facts(runs, name):
    """What both ranks say of a run."""
    return [json.loads((runs / f"facts-{rank}.json").read_text())[name] for rank in range(2)]


def on_rank(runs, name, rank):
    """The model of a rank at the end of a run."""
    return torch.load(runs / f"{name}-{rank}.pt", weights_only=True)


def log(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


@pytest.mark.parametrize("name", ["whole", "stopped", "resumed", *ONE_STEP, *VARIANTS])
def test_both_ranks_hold_the_same_parameters_and_prototypes(runs, name):
    ours, theirs = on_rank(runs, name, 0), on_rank(runs, name, 1)
    assert ours.keys() == theirs.keys()
    for key, tensor in ours.items():
        assert torch.equal(tensor, theirs[key]), key
    assert facts(runs, name)[0] == facts(runs, name)[1]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_trains_without_looking_for_unused_parameters(runs, name):
    for fact in facts(runs, name):
        assert fact["step"] == 3, "a parameter that gets no gradient would have stopped the second step"
        assert fact["wrapper"] == "DistributedDataParallel"
        assert fact["looks_for_unused"] is False
    assert list(log(runs / name)) == [1, 2, 3]


@pytest.mark.parametrize("name", ONE_STEP)
def test_two_ranks_take_the_step_of_one_process_with_the_same_samples(dataset, runs, tmp_path, name):
    loop.train(settings(dataset, **ONE_STEP[name]), tmp_path, stop_after=1)
    one, two = read_tensors(tmp_path / LAST)[0], read_tensors(runs / name / LAST)[0]
    moments = [key for key in one if key.endswith("/exp_avg")]
    assert sum(one[key].abs().sum() for key in moments) > 0
    for key in moments:
        assert torch.allclose(one[key], two[key], rtol=1e-4, atol=1e-6), key
    for key in (
        two.keys() & on_rank(runs, name, 0).keys()
    ):  # Adam divides by the gradient's size: where that is noise, so is the step
        assert (one[key] - two[key]).abs().mean() < 1e-5, key
    if name == "prototypes":
        assert one["prototypes.prototypes"].abs().min() > 0
        assert torch.allclose(one["prototypes.prototypes"], two["prototypes.prototypes"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("count", ["5", "1"], ids=["uneven", "one-rank-has-none"])
def test_shared_evaluation_counts_what_one_process_counts(runs, count):
    for scores in facts(runs, "scores"):
        assert scores["together"][count] == scores["alone"][count]
        assert scores["together"][count]["images"] == int(count)
        assert torch.tensor(scores["alone"][count]["all"]).sum() > 0


def test_a_signal_to_one_rank_stops_both_at_one_step_and_saves_once(runs):
    for fact in facts(runs, "stopped"):
        assert (fact["step"], fact["signal"], fact["finished"]) == (3, 15, False)
    assert (runs / "stopped" / LAST).exists()
    assert not (runs / "stopped" / PREVIOUS).exists(), "a second save would have kept the first"


def test_a_resumed_run_of_two_ranks_equals_an_uninterrupted_one(runs):
    (ours, ours_about), (theirs, theirs_about) = (read_tensors(runs / name / LAST) for name in ("resumed", "whole"))
    assert ours_about["training"] == theirs_about["training"]
    assert ours_about["training"]["ranks"] == 2
    assert {name.split("/")[2] for name in theirs if name.startswith("training/generator/")} == {"0", "1"}
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name
    assert log(runs / "resumed") == log(runs / "whole")
    assert list(log(runs / "whole")) == [1, 2, 3, 4, 5, 6]
    assert facts(runs, "resumed")[0]["finished"]


def test_ranks_draw_different_dropout(runs):
    tensors, _ = read_tensors(runs / "stopped" / LAST)
    assert not torch.equal(tensors["training/generator/0/cpu"], tensors["training/generator/1/cpu"])


def test_one_process_continues_a_run_of_two_and_says_that_it_is_not_the_same(dataset, runs, capfd):
    changes = {"train": {**SHORT["train"], "device": "cpu"}}
    assert loop.train(settings(dataset, **changes), runs / "alone", resume=True).finished
    errors = capfd.readouterr().err
    assert "saved by 2 processes, continued by 1" in errors
    assert "will not be identical" in errors
    assert list(log(runs / "alone")) == [1, 2, 3, 4, 5, 6]
    shared = log(runs / "whole")
    assert {step: loss for step, loss in log(runs / "alone").items() if step <= 3} == {s: shared[s] for s in (1, 2, 3)}


def test_reading_processes_leave_sigterm_to_the_process_that_trains(dataset, tmp_path, monkeypatch):
    """A batch system and `torchrun` send it to all at once; the step that is under way still needs its data."""
    step, told = loop.Training.step, []

    def disturbed(self, batches):
        for reader in multiprocessing.active_children():
            reader.terminate()  # that is SIGTERM
            told.append(reader)
        return step(self, batches)

    monkeypatch.setattr(loop.Training, "step", disturbed)
    loop.train(settings(dataset, data={"workers": 1}), tmp_path, stop_after=9)  # more than is read ahead
    assert told
    assert len(log(tmp_path)) == 9


def test_sigterm_to_the_launcher_saves_although_it_reaches_the_reading_processes_too(tmp_path):
    """As batch systems and `torchrun` end a job: all processes get the signal, most likely while data are awaited."""
    large = write_dataset(tmp_path / "large", size=(768, 1152))
    (tmp_path / "settings.yaml").write_text(
        "model: {backbone: micro, image_size: [32, 32], lora_rank: 0}\n"
        f"data: {{dataset: {large}, workers: 1}}\n"
        "train: {device: cpu, epochs: 400, log_every: 1, validate_every: 400}\n"
    )
    run = tmp_path / "run"
    process = launch("-m", "memorysam", "train", tmp_path / "settings.yaml", "--out", run)
    wait_for_steps(run, 3, process)
    process.terminate()
    errors = errors_of(process, 300)
    assert "a process that reads data died" not in errors
    assert "--resume continues from here" in errors
    assert read_tensors(run / LAST)[1]["training"]["progress"]["step"] >= 3


@pytest.mark.skipif(torch.accelerator.is_available(), reason="two processes would need two devices")
def test_where_there_is_no_gpu_two_processes_share_the_work_without_being_told(dataset, tmp_path):
    (tmp_path / "settings.yaml").write_text(
        "model: {backbone: micro, image_size: [64, 96], lora_rank: 0}\n"
        f"data: {{dataset: {dataset}, workers: 0}}\n"
        "train: {epochs: 2, log_every: 1}\n"
    )
    process = launch("-m", "memorysam", "train", tmp_path / "settings.yaml", "--out", tmp_path / "run")
    errors = errors_of(process, 300)
    assert process.returncode == 0, errors[-4000:]
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines if '"loss"' in line] == [1, 2, 3, 4]
    assert read_tensors(tmp_path / "run" / LAST)[1]["training"]["ranks"] == 2
