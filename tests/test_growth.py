"""Long work does not grow: predictions and training steps, in a process of their own that nothing else has grown.

The process keeps freed memory on purpose (`models.tune`). So what is measured is memory in use, by the C library's own
count, and tensors; resident memory, after all sizes were seen once, may move by what lies between two of them.
"""

import json
import subprocess
import sys

import pytest

from .tiny import write_dataset

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux to see its own memory"),
]

MEASURE = """
import ctypes, gc, json, os, sys
from pathlib import Path
import torch

class Counts(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]

def facts():
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    tensors = sum(torch.is_tensor(one) for one in gc.get_objects())
    try:
        count = ctypes.CDLL(None).mallinfo2
    except AttributeError:  # another C library
        return {"resident": resident, "used": 0.0, "tensors": tensors}
    count.restype = Counts
    now = count()
    return {"resident": resident, "used": (now.uordblks + now.hblkhd) / 2**20, "tensors": tensors}

found = []
def after(number, of):
    if number in (of - 300, of):
        found.append(facts())

def tell():
    print(json.dumps({name: found[1][name] - found[0][name] for name in found[0]}))
"""

PREDICT = """
import numpy as np
from memorysam import cli, predict
from memorysam.evaluation.pictures import encode_png

run, folder, precision = sys.argv[1:]
rng = np.random.default_rng(0)
sizes = [(40 + 9 * i, 50 + 7 * j) for i in range(4) for j in range(3)]
for kind in ("rgb", "depth"):
    (Path(folder) / kind).mkdir(parents=True, exist_ok=True)
for i in range(360):
    size = sizes[i % 12]
    (Path(folder) / "rgb" / f"{i:03}.png").write_bytes(encode_png(rng.integers(0, 255, (*size, 3)).astype(np.uint8)))
    (Path(folder) / "depth" / f"{i:03}.png").write_bytes(encode_png(rng.integers(0, 255, size).astype(np.uint8)))
done, save = 0, predict.Prediction.save
def count(*arguments):
    global done
    done += 1
    after(done, 360)
    return save(*arguments)
predict.Prediction.save = count
code = cli.main(["predict", run, "--rgb", folder + "/rgb", "--depth", folder + "/depth", "--out", folder + "/out",
                 "--precision", precision, "--json"])
assert code == 0 and done == 360
tell()
"""

TRAIN = """
from memorysam.training import loop
from tests.tiny import settings

data, out = sys.argv[1:]
log = loop.Training._log
def count(training, values):
    after(training.progress.step, 350)
    log(training, values)
loop.Training._log = count
if __name__ == "__main__":
    run = settings(
        data,
        train={"epochs": 40, "batch_size": 1, "validate_every": 1000, "log_every": 1},
        model={"image_size": (32, 32)},
        data={"workers": 1},
    )
    assert loop.train(run, Path(out), stop_after=350).progress.step == 350
    tell()
"""


def growth(script, *arguments):
    """Megabytes and tensors that 300 more rounds have added."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE + script, *map(str, arguments)], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from memorysam.training.loop import train

    from .tiny import settings

    folder = tmp_path_factory.mktemp("run")
    options = {"epochs": 1, "validate_every": 1, "batch_size": 2}
    train(settings(write_dataset(folder / "data", train=2, val=1), train=options), folder / "run")
    return folder / "run"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_three_hundred_predictions_of_a_folder_of_mixed_sizes(run, tmp_path, precision):
    grown = growth(PREDICT, run, tmp_path, precision)
    assert grown["used"] < 2
    assert grown["resident"] < 20
    assert grown["tensors"] <= 0


def test_three_hundred_training_steps(tmp_path):
    grown = growth(TRAIN, write_dataset(tmp_path / "data"), tmp_path / "run")
    assert grown["used"] < 2
    assert grown["resident"] < 20
    assert grown["tensors"] <= 0
