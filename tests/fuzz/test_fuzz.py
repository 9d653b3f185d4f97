"""What was once found stays mended; a little of everything is fuzzed again; and the fuzzer notices what it is for."""

import os
import random
import time
from pathlib import Path

import numpy as np
import pytest

from . import engine
from .engine import Target, Wrong, fuzz
from .targets import TARGETS

CORPUS = sorted(path for path in (Path(__file__).parent / "corpus").rglob("*") if path.is_file())
FEW = dict.fromkeys(("settings", "dataset", "header", "cache", "pickle"), 1000)  # what takes longest


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of its own, in which a canary would be created."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.timeout(120)  # some of them once took for ever
@pytest.mark.parametrize("path", CORPUS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_was_once_found_is_refused(path, here):
    accepted = TARGETS[path.parent.name].check(path.read_bytes(), here)
    assert bool(accepted) == path.name.startswith("as-label-")
    assert not (here / "canary").exists()


def test_the_corpus_is_small():
    assert len(CORPUS) > 40
    assert {path.parent.name for path in CORPUS} <= TARGETS.keys()
    assert max(path.stat().st_size for path in CORPUS) < 2048


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_little_of_everything(name):
    result = fuzz(name, TARGETS[name], FEW.get(name, 2000), seed=2)
    assert result.findings == []
    assert result.inputs == result.accepted + result.refused == FEW.get(name, 2000)
    assert result.accepted, "a target that refuses everything is not tested"
    assert result.refused


def target(check):
    """A target whose inputs are numbers below 100, as one byte; about 3 of 300 are 7."""
    return Target(lambda rng: bytes([rng.randrange(100)]), check, "bin")


def run(check, inputs=300, **options):
    result = fuzz("test", target(check), inputs, 1, **options)
    sevens = [n for n in range(inputs) if engine.input_of("test", target(check), 1, n) == b"\7"]
    assert sevens
    return result, sevens


def test_a_crash_is_noticed_with_its_input_and_the_rest_goes_on():
    result, sevens = run(lambda data, _: os.abort() if data == b"\7" else data < b"\x20")
    assert result.crashes == len(sevens)
    assert [at for at, _ in result.findings] == sevens
    assert all("signal 6" in what for _, what in result.findings)
    assert result.accepted + result.refused + result.crashes == result.inputs == 300
    assert result.accepted
    assert result.hangs == result.wrong == 0


def test_leaving_is_a_crash():
    result, sevens = run(lambda data, _: os._exit(0) if data == b"\7" else True)
    assert result.crashes == len(sevens)
    assert result.accepted == 300 - len(sevens)


@pytest.mark.slow
def test_a_hang_is_ended():
    first = run(lambda *_: True)[1][0]
    result, sevens = run(lambda data, _: time.sleep(3600) if data == b"\7" else True, first + 5, patience=5.0)
    assert result.hangs == len(sevens)
    assert [at for at, _ in result.findings] == sevens
    assert result.accepted == first + 5 - len(sevens)


def test_another_exception_than_a_message_and_a_wrong_value_are_told():
    def check(data, _):
        if data == b"\7":
            raise KeyError("what")
        if data == b"\x08":
            raise Wrong("value")
        return True

    result, sevens = run(check)
    assert result.wrong == len(result.findings) >= len(sevens)
    assert {at for at, what in result.findings if "KeyError: 'what'" in what} == set(sevens)
    assert any("Wrong: value" in what for _, what in result.findings)


def test_hunger_for_memory_is_told(monkeypatch):
    monkeypatch.setattr(engine, "MEMORY", 32 * 2**20)
    result, sevens = run(lambda data, _: bool(np.ones(2**23).any()) if data == b"\7" else True)
    assert [at for at, _ in result.findings][:1] == sevens[:1]  # what is taken once stays resident
    assert "MB of memory for one input" in result.findings[0][1]


def test_an_input_is_known_by_its_number():
    for name, found in TARGETS.items():
        assert engine.input_of(name, found, 3, 5) == found.make(random.Random(f"{name} 3 5"))[: engine.LONGEST]
