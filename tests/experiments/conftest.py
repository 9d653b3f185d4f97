import pytest

from memorysam.experiments import reproduce, toy


@pytest.fixture(scope="session")
def small_worlds():
    """Fewer scenes to score on."""
    patch = pytest.MonkeyPatch()
    real = toy.shrink

    def shrunk(*args):
        settings = real(*args)
        return settings.model_copy(update={"data": settings.data.model_copy(update={"scenes": (16, 5, 5)})})

    patch.setattr(reproduce, "shrink", shrunk)
    yield
    patch.undo()
