import pytest

from memorysam.benchmark import fit, machine
from memorysam.benchmark.plan import Plan, make_images, make_labels, make_model, model_settings

SIZE = 64


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch):
    """The machine's limits at sizes that a test has time for."""
    monkeypatch.setattr(machine, "SIDES", (64, 128))
    monkeypatch.setattr(machine, "COPIED", 2**16)


@pytest.fixture
def plan():
    """Make a plan for the micro backbone; keyword arguments are the plan's, `options` the model's."""

    def make(options=None, **changes):
        values = {"classes": 5, "repeats": 1, **changes}
        return Plan(model_settings("micro", SIZE, options or {}), **values)

    return make


@pytest.fixture(scope="session")
def counted():
    """All choices for the micro model with two modalities; counting them takes seconds."""
    return fit.choices(Plan(model_settings("micro", SIZE, {}), classes=5))


@pytest.fixture
def already_counted(counted, monkeypatch):
    monkeypatch.setattr(fit, "choices", lambda plan: [c for c in counted if c.precision in plan.precisions])


@pytest.fixture
def parts(plan):
    """Make model, images and labels of a plan."""

    def make(**changes):
        own = plan(**changes)
        return make_model(own), make_images(own), make_labels(own)

    return make
