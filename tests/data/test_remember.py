import numpy as np

from memorysam.data.remember import Remembered
from memorysam.data.scenes import ScenesSource


def test_each_sample_is_read_once_and_is_what_the_source_gives(monkeypatch):
    source = ScenesSource("val", 2, (32, 64))
    names = ("rgb", "depth")
    expected = [source.read(index, names) for index in range(2)]
    reads = []
    real = source.read
    monkeypatch.setattr(source, "read", lambda index, wanted: reads.append(index) or real(index, wanted))
    remembered = Remembered(source, names)
    for _ in range(2):
        for index in (0, 1):
            for wanted in (names, ("depth",)):
                raw = remembered.read(index, wanted)
                assert tuple(raw.images) == wanted
                assert all(np.array_equal(raw.images[name], expected[index].images[name]) for name in wanted)
                assert np.array_equal(raw.label, expected[index].label)
                assert raw.id == source.ids[index]
    assert reads == [0, 1]
    assert remembered.tags(1) == source.tags(1)
