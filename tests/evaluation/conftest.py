import pytest

from memorysam.config import DataSettings
from memorysam.data.catalog import open_dataset
from memorysam.data.remember import Remembered

from .plain import TWO, Plain, score, task


@pytest.fixture(scope="session")
def five():
    """Five small scenes, of five conditions."""
    source = open_dataset(DataSettings(dataset="scenes", scenes=(1, 1, 5)), (32, 32)).source("test")
    return Remembered(source, ("rgb", "depth", "event", "lidar"))


@pytest.fixture(scope="session")
def plain(five):
    return Plain(task(five, TWO))


@pytest.fixture(scope="session")
def found(plain, five):
    """Everything there is to score."""
    return score(plain, five, by=("condition",))
