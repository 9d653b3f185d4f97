import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from memorysam.errors import SettingsError
from memorysam.training import wandb_log
from memorysam.training.loop import train
from memorysam.training.wandb_log import ID

from ..tiny import settings, write_dataset

FAKE = """
import json, os
class Settings(dict): pass
def tell(**what):
    with open(os.environ["TOLD"], "a") as file: file.write(json.dumps(what) + "\\n")
class Run:
    def log(self, values, step):
        if os.environ.get("FAILS"): raise RuntimeError("the service is down")
        tell(step=step, values=values)
    def finish(self, quiet): tell(finished=True)
def init(settings, **options): tell(**options); return Run()
"""


@pytest.fixture
def told(tmp_path, monkeypatch):
    """A client that writes down what it is told."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "wandb.py").write_text(FAKE)
    monkeypatch.syspath_prepend(tmp_path / "fake")
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setenv("TOLD", str(tmp_path / "told"))
    yield lambda: [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    sys.modules.pop("wandb", None)


def short(tmp_path, mode, name="run", **options):
    dataset = tmp_path / "data" / "dataset.yaml"
    if not dataset.exists():
        write_dataset(tmp_path / "data", train=4, val=2)
    train_settings = {"epochs": 2, "batch_size": 2, "validate_every": 1, "tensorboard": False, "wandb": mode}
    return train(settings(dataset, train=train_settings), tmp_path / name, **options)


def test_every_number_of_the_log_is_told_and_a_continued_run_keeps_its_id(tmp_path, told):
    short(tmp_path, "offline", stop_after=2)
    short(tmp_path, "offline", resume=True)
    begins = [one for one in told() if "project" in one]
    logged = [one for one in told() if "values" in one]
    assert len(begins) == 2
    assert {one["id"] for one in begins} == {(tmp_path / "run" / ID).read_text().strip()}
    assert {(one["mode"], one["name"], one["resume"]) for one in begins} == {("offline", "run", "allow")}
    assert begins[0]["config"]["train"]["batch_size"] == 2
    losses = {one["step"]: one["values"]["loss"] for one in logged if "loss" in one["values"]}
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert losses == {line["step"]: line["loss"] for line in lines if "loss" in line}
    assert losses.keys() == {1, 2, 3, 4}
    assert any("validation/miou" in one["values"] for one in logged)
    assert told()[-1] == {"finished": True}


def test_it_is_off_unless_asked_for(tmp_path, told):
    short(tmp_path, "off")
    assert not (tmp_path / "told").exists()
    assert not (tmp_path / "run" / ID).exists()


def test_a_service_that_fails_ends_the_curves_and_not_the_run(tmp_path, told, monkeypatch, capsys):
    monkeypatch.setenv("FAILS", "yes")
    assert short(tmp_path, "online").finished
    assert capsys.readouterr().err.count("the service is down") == 1


def test_what_is_asked_for_and_not_installed_is_told_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(wandb_log, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="not installed"):
        short(tmp_path, "offline")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("wandb") is None, reason="needs wandb: pip install 'memorysam[wandb]'")
def test_the_real_client_keeps_an_offline_run_in_the_folder(tmp_path):
    short(tmp_path, "off", name="other")  # writes the data
    code = (
        "import sys; from pathlib import Path; from tests.training.test_wandb_log import short;"
        "assert short(Path(sys.argv[1]), 'offline').finished"
    )
    here = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": here, "WANDB_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "no more curves" not in done.stderr
    (stored,) = (tmp_path / "run").rglob("*.wandb")
    assert stored.stat().st_size > 500
