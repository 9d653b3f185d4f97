import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from memorysam.training.average import WeightAverage
from memorysam.training.statistics import running_statistics, share_statistics

SCRIPT = """
import torch
from torch import distributed, nn
from memorysam.training.statistics import running_statistics, share_statistics

distributed.init_process_group("gloo")
rank = distributed.get_rank()
model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
with torch.no_grad():
    model[0].weight.fill_(rank)
    model[1].running_mean.copy_(torch.tensor([1.0, 2.0]) * (rank + 1))
    model[1].running_var.fill_(10.0 * rank)
share_statistics(model)
assert model[1].running_mean.tolist() == [1.5, 3.0]
assert model[1].running_var.tolist() == [5.0, 5.0]
assert model[0].weight.unique().tolist() == [rank]
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_share_the_mean_of_their_statistics_and_nothing_else(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_one_process_keeps_its_own():
    model = nn.BatchNorm2d(3)
    model.running_mean.fill_(7)
    share_statistics(model)
    assert model.running_mean.unique().tolist() == [7]


def test_statistics_are_averaged_with_the_weights():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    assert set(running_statistics(model)) == {"1.running_mean", "1.running_var"}
    average = WeightAverage(model, 0.5)
    with torch.no_grad():
        model[1].running_mean.fill_(4.0)
    average.update(1000)
    with average.lent():
        assert model[1].running_mean.tolist() == [2.0, 2.0]
    assert model[1].running_mean.tolist() == [4.0, 4.0]
