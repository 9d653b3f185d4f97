"""Two processes without a launcher, one of which fails: the other ends too, soon, and says why."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from memorysam.tensors import read_tensors
from memorysam.training.checkpoint import LAST

from ..tiny import write_dataset

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]
REPOSITORY = Path(__file__).parents[2]
SETTINGS = {
    "model": {
        "backbone": "micro",
        "image_size": [32, 32],
        "lora_rank": 2,
        "train": {"encoder": False, "memory": False},
    },
    "train": {"device": "cpu", "epochs": 2, "batch_size": 2, "validate_every": 1, "tensorboard": False},
    "evaluate": {"batch_size": 1},
}
"""Four steps, each rank one image in each; after two and four steps each rank validates three images."""


@pytest.fixture(scope="module")
def fail(tmp_path_factory):
    """Let a rank fail; return the exit codes and what both said."""
    folder = tmp_path_factory.mktemp("ranks")
    dataset = write_dataset(folder / "data", train=4, val=6)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.training.ranks"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=REPOSITORY, env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip

        def order(out, how, place="", victim=1, lingers=0, minutes=10):
            settings = {**SETTINGS, "data": {"dataset": str(dataset), "workers": 0}}
            settings["train"] = {**SETTINGS["train"], "timeout": minutes}
            path = out.with_suffix(".yaml")
            path.write_text(yaml.safe_dump(settings))
            facts = {
                "out": str(out), "settings": str(path), "how": how, "place": place, "victim": victim, "lingers": lingers
            }  # fmt: skip
            process.stdin.write(json.dumps(facts) + "\n")
            process.stdin.flush()
            codes = json.loads(process.stdout.readline())
            said = [Path(f"{out}-{rank}.txt") for rank in range(2)]
            return codes, [path.read_text() if path.exists() else "" for path in said]

        yield order
        process.stdin.close()


@pytest.mark.parametrize("place", ["step", "validation", "save of the other"])
@pytest.mark.parametrize("victim", [1, 0])
def test_a_rank_that_is_killed_ends_the_other_with_its_number(fail, tmp_path, fault, place, victim):
    with fault("rank killed"):
        codes, said = fail(tmp_path / "run", "killed", place, victim)
        other = said[1 - victim]
        assert codes[victim] == -9
        assert codes[1 - victim] == 2, other
        assert "Traceback" not in other
        assert "another process of this run is gone" in other
        assert f"rank {victim} of 2" in other
        assert "--resume continues from the last save" in other
        if place != "step":
            assert read_tensors(tmp_path / "run" / LAST)[1]["training"]["progress"]["step"] == 2


def test_a_rank_that_does_not_answer_is_given_up_in_the_time_of_the_setting(fail, tmp_path, fault):
    with fault("rank hangs"):
        codes, said = fail(tmp_path / "run", "stopped", "step", minutes=0.1)
        assert codes[0] == 2, said[0]
        assert "another process of this run does not answer" in said[0]
        assert "rank 1 of 2" in said[0]
        assert "train.timeout" in said[0]
        assert "Traceback" not in said[0]


def test_a_rank_that_never_comes_is_given_up_too(fail, tmp_path, fault):
    with fault("rank absent"):
        codes, said = fail(tmp_path / "run", "absent", minutes=0.05)
        assert codes[0] == 2, said[0]
        assert "the 2 processes of this run have not found each other" in said[0]
        assert "Traceback" not in said[0]


@pytest.mark.parametrize(
    ("how", "place", "victim", "words"),
    [
        ("data error", "read", 1, "this image is damaged"),
        ("data error", "read in validation", 1, "this image is damaged"),
        ("data error", "read in validation", 0, "this image is damaged"),
        ("disk full", "save", 0, "no space left on the disk"),
    ],
)
def test_nobody_waits_for_a_rank_that_cannot_go_on(fail, tmp_path, fault, how, place, victim, words):
    """Not even if its process lives on, as in a notebook: then nothing but its word ends the others."""
    with fault(f"{how} of a rank"):
        codes, said = fail(tmp_path / "run", how, place, victim, lingers=600)
        assert words in said[victim]
        assert codes[1 - victim] == 2, said[1 - victim]
        assert f"rank {victim} of 2" in said[1 - victim]
        assert f"it said: {words}" in said[1 - victim]
        assert "Traceback" not in said[1 - victim]


def test_all_ranks_tell_a_loss_that_is_not_finite_on_one(fail, tmp_path, fault):
    with fault("not finite on a rank"):
        codes, said = fail(tmp_path / "run", "not finite", "step")
        assert codes == [2, 2]
        for text in said:
            assert "step 2 is not finite: loss nan" in text
            assert "another process" not in text
