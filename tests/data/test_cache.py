import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from memorysam.config import DataSettings, RunSettings, packaged
from memorysam.data.cache import FOLDER
from memorysam.data.cache_writer import write_cache
from memorysam.data.catalog import open_dataset
from memorysam.errors import DataError
from memorysam.strict import build
from memorysam.tensors import read_tensors
from memorysam.training.loop import train

from . import fakes


def load(name, root, **settings):
    return open_dataset(DataSettings(dataset=name, root=root, **settings), (32, 32))


def everything(dataset, split, **options):
    source = dataset.source(split, **options)
    return {name: source.read(index, dataset.usual) for index, name in enumerate(source.ids)}


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, raw in theirs.items():
        assert list(ours[name].images) == list(raw.images)
        for kind, image in raw.images.items():
            assert ours[name].images[kind].dtype == image.dtype
            assert np.array_equal(ours[name].images[kind], image)
        assert np.array_equal(ours[name].label, raw.label)
    return True


def count_decoding(monkeypatch):
    """Count how often a file is decoded."""
    from memorysam.data import folder_source

    calls = []
    for reader in ("read_image", "read_label"):
        real = getattr(folder_source, reader)
        monkeypatch.setattr(folder_source, reader, lambda *a, real=real: calls.append(a[0].name) or real(*a))
    return calls


@pytest.mark.parametrize(
    ("name", "write"), [("deliver", fakes.write_deliver), ("mcubes", fakes.write_mcubes), ("muses", fakes.write_muses)]
)
def test_what_is_cached_is_what_is_read_and_no_file_is_decoded_again(tmp_path, monkeypatch, name, write):
    write(tmp_path)
    plain = load(name, tmp_path)
    before = {split: everything(plain, split) for split in plain.splits}
    masked = everything(plain, "train", ignore_invalid=True)
    report = write_cache(plain, tmp_path / FOLDER)
    assert report.made > 0
    assert report.bytes > 0
    cached = load(name, tmp_path)
    assert cached.source("train").cached == len(cached.source("train").ids)
    calls = count_decoding(monkeypatch)
    for split in plain.splits:
        assert same(everything(cached, split), before[split])
    assert same(everything(cached, "train", ignore_invalid=True), masked)
    assert calls == []
    same(everything(load(name, tmp_path, cache="off"), "train"), before["train"])
    assert calls, "off means off"


def test_it_travels_to_worker_processes(tmp_path):
    fakes.write_mcubes(tmp_path)
    write_cache(load("mcubes", tmp_path), tmp_path / FOLDER)
    source = load("mcubes", tmp_path).source("train")
    source.read(0, ["rgb"])
    there = pickle.loads(pickle.dumps(source))
    assert np.array_equal(there.read(1, ["rgb"]).images["rgb"], source.read(1, ["rgb"]).images["rgb"])


def test_filling_again_makes_nothing_and_a_changed_file_is_noticed(tmp_path):
    content = fakes.write_mcubes(tmp_path)
    dataset = load("mcubes", tmp_path)
    first = write_cache(dataset, tmp_path / FOLDER)
    again = write_cache(dataset, tmp_path / FOLDER)
    assert (again.made, again.kept) == (0, first.made)
    name = dataset.source("train").ids[1]
    new = content[name]["GT"][::-1].copy()
    fakes.put(tmp_path / "GT" / f"{name}.png", new)
    cached = load("mcubes", tmp_path)
    assert np.array_equal(cached.source("train").read(1, ["rgb"]).label, new[:, 192:])
    third = write_cache(dataset, tmp_path / FOLDER)
    assert (third.made, third.kept) == (1, first.made - 1)
    assert np.array_equal(load("mcubes", tmp_path).source("train").read(1, ["rgb"]).label, new[:, 192:])


def test_a_file_that_is_gone_is_not_replaced_by_its_memory(tmp_path):
    fakes.write_mcubes(tmp_path)
    dataset = load("mcubes", tmp_path)
    write_cache(dataset, tmp_path / FOLDER)
    source = load("mcubes", tmp_path).source("train")
    path = tmp_path / "polL_color" / f"{source.ids[0]}.png"
    path.unlink()
    with pytest.raises(DataError, match="no such file"):
        source.read(0, ["rgb"])


def test_another_way_of_reading_does_not_use_the_old_arrays(tmp_path):
    fakes.write_mcubes(tmp_path)
    dataset = load("mcubes", tmp_path)
    write_cache(dataset, tmp_path / FOLDER)
    own = (tmp_path / "own.yaml").resolve()

    own.write_text(packaged("datasets")["mcubes"].read_text().replace("left: 192", "left: 100"))
    other = load(str(own), tmp_path)
    assert other.source("train").read(0, ["rgb"]).images["rgb"].shape[1] == 120
    assert other.source("train").cached == 0


@pytest.mark.parametrize("damage", ["flip", "cut", "index", "empty"])
def test_a_damaged_cache_costs_time_and_nothing_else(tmp_path, damage):
    fakes.write_mcubes(tmp_path)
    dataset = load("mcubes", tmp_path)
    before = everything(dataset, "train")
    write_cache(dataset, tmp_path / FOLDER)
    for path in (tmp_path / FOLDER).glob("train.*.bin"):
        data = bytearray(path.read_bytes())
        if damage == "flip":
            data[len(data) // 2] ^= 1
        path.write_bytes({"flip": data, "cut": data[: len(data) // 2], "index": data, "empty": b""}[damage])
    if damage == "index":
        for path in (tmp_path / FOLDER).glob("train.*.jsonl"):
            path.write_text(path.read_text()[:-30])
    assert same(everything(load("mcubes", tmp_path), "train"), before)


SLOW = """
import sys, time
from pathlib import Path
from memorysam.config import DataSettings, RunSettings, packaged
from memorysam.strict import build
from memorysam.data.cache_writer import write_cache
from memorysam.data.catalog import open_dataset
dataset = open_dataset(DataSettings(dataset="deliver", root=Path(sys.argv[1])), (32, 32))
def tell(done, total):
    print(done, flush=True)
    time.sleep(0.002)
write_cache(dataset, Path(sys.argv[2]), progress=tell)
"""


@pytest.mark.slow
def test_killed_while_writing_it_goes_on(tmp_path):
    fakes.write_deliver(tmp_path / "data")
    dataset = load("deliver", tmp_path / "data")
    cache = tmp_path / "cache"
    total = sum(len(dataset.source(split).ids) * 5 for split in dataset.splits)
    for stop in (40, 200, 330):
        command = [sys.executable, "-c", SLOW, str(tmp_path / "data"), str(cache)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            while int(process.stdout.readline()) < stop:
                pass
            os.kill(process.pid, signal.SIGKILL)
    report = write_cache(dataset, cache)
    assert report.kept >= 300
    assert report.made + report.kept == total
    for split in dataset.splits:
        assert same(everything(load("deliver", tmp_path / "data", cache=cache), split), everything(dataset, split))


def fill_at_once(root, cache, results):
    report = write_cache(load("deliver", root), cache)
    results.put((report.made, report.kept))


@pytest.mark.slow
def test_two_processes_at_once_make_every_array_once(tmp_path):
    fakes.write_deliver(tmp_path / "data")
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    both = [context.Process(target=fill_at_once, args=(tmp_path / "data", tmp_path / "cache", results)) for _ in "ab"]
    for process in both:
        process.start()
    reports = [results.get(timeout=120) for _ in both]
    for process in both:
        process.join()
    dataset = load("deliver", tmp_path / "data")
    total = sum(len(dataset.source(split).ids) * 5 for split in dataset.splits)
    assert sum(made for made, _ in reports) == total
    assert all(made + kept == total for made, kept in reports)
    cached = load("deliver", tmp_path / "data", cache=tmp_path / "cache")
    assert same(everything(cached, "val"), everything(dataset, "val"))


def test_too_little_space_is_said_before_anything_is_decoded(tmp_path, monkeypatch):
    fakes.write_mcubes(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 1000})())
    with pytest.raises(DataError, match="GB are free"):
        write_cache(load("mcubes", tmp_path), tmp_path / FOLDER)
    assert not list((tmp_path / FOLDER).glob("*.bin"))


def test_the_command(tmp_path, capsys):
    from memorysam.cli import main

    fakes.write_mcubes(tmp_path / "data")
    words = ["cache", "mcubes", "--root", str(tmp_path / "data"), "--out", str(tmp_path / "cache"), "--splits", "val"]
    assert main([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["made"] == 2 * 6  # four modalities, label and mask
    assert main(words) == 0
    assert "12 were there" in capsys.readouterr().out


def test_a_run_may_go_on_with_or_without_the_cache(tmp_path):
    fakes.write_mcubes(tmp_path / "data")
    cache = tmp_path / "cache"

    def settings(chosen):
        values = {
            "model": {"backbone": "micro", "image_size": [32, 32], "lora_rank": 0},
            "data": {"dataset": "mcubes", "root": str(tmp_path / "data"), "cache": str(chosen), "workers": 0},
            "train": {"epochs": 3, "batch_size": 1},
        }
        return build(RunSettings, values, "test")

    train(settings("off"), tmp_path / "plain", stop_after=4)
    train(settings("off"), tmp_path / "both", stop_after=2)
    write_cache(load("mcubes", tmp_path / "data"), cache)
    train(settings(cache), tmp_path / "both", resume=True, stop_after=4)
    ours, theirs = (read_tensors(tmp_path / name / "last.safetensors")[0] for name in ("both", "plain"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_whoever_reads_the_old_arrays_is_not_disturbed_by_new_ones(tmp_path):
    """A file that shrinks under a process that has it mapped kills that process."""
    fakes.write_mcubes(tmp_path)
    write_cache(load("mcubes", tmp_path), tmp_path / FOLDER)
    source = load("mcubes", tmp_path).source("train")
    before = source.read(2, ["rgb"]).images["rgb"].copy()
    own = tmp_path / "own.yaml"
    own.write_text(packaged("datasets")["mcubes"].read_text().replace("left: 192", "left: 215"))
    write_cache(load(str(own), tmp_path), tmp_path / FOLDER)
    assert np.array_equal(source.read(2, ["rgb"]).images["rgb"], before)


def test_arrays_that_were_deleted_are_made_again(tmp_path):
    fakes.write_mcubes(tmp_path)
    dataset = load("mcubes", tmp_path)
    first = write_cache(dataset, tmp_path / FOLDER)
    for path in (tmp_path / FOLDER).glob("val.*.bin"):
        path.unlink()
    again = write_cache(dataset, tmp_path / FOLDER)
    assert (again.made, again.kept) == (2 * 6, first.made - 2 * 6)
    assert same(everything(load("mcubes", tmp_path), "val"), everything(load("mcubes", tmp_path, cache="off"), "val"))
