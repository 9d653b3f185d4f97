import numpy as np

from memorysam.evaluation.pictures import as_picture, glow, heat, legend, sheet
from memorysam.spec import Classes, Modality


def test_regions_are_shown_in_colours_of_their_own():
    numbers = np.array([[0, 1, 2], [9, 300, 1]], np.uint16)[..., None]
    picture = as_picture(numbers, Modality(name="map", role="regions"))
    assert picture.shape == (2, 3, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture[0, 1], picture[1, 2])
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 5


def test_a_sheet_has_a_row_for_each_sample_and_every_picture_in_it():
    red, blue = (np.full((20, 30, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    made = sheet([("one", [red, blue]), ("two \u00e9", [blue, red])], ["left", "right"], height=40)
    assert made.shape == (2 * (40 + 18 + 8) + 18 + 4, 2 * 60 + 4 + 8, 3)
    for colour in ((255, 0, 0), (0, 0, 255)):
        assert (made == colour).all(axis=2).sum() == 2 * 40 * 60


def test_a_legend_has_a_patch_of_each_colour_in_the_order_of_the_classes():
    colours = ((250, 0, 0), (0, 250, 0), (0, 0, 250))
    made = legend(Classes(names=("sky", "a rather long name", "road"), colors=colours))
    rows = [np.flatnonzero((made == colour).all(axis=2).any(axis=1)) for colour in colours]
    assert rows[0].max() < rows[1].min() <= rows[1].max() < rows[2].min()
    dark = (made.astype(int).sum(axis=2) < 400) & (np.ptp(made.astype(int), axis=2) == 0)
    assert dark[: rows[0].max(), 24:].any()  # a name beside it
    assert not dark[:, -4:].any()  # and none cut off


def test_weights_glow_where_they_are_and_leave_the_rest_grey():
    picture = np.full((40, 80, 3), (200, 100, 0), np.uint8)
    weights = np.zeros((2, 4), np.float32)
    weights[1, 3] = 0.01
    shown = glow(picture, weights).astype(int)
    assert shown.shape == picture.shape
    assert shown[39, 79].sum() > shown[0, 0].sum() + 100
    assert np.ptp(shown[0, 0]) <= 3


def test_heat_rises_from_blue_to_yellow():
    low, high = heat(np.array([[0.0, 1.0]]))[0].astype(int)
    assert low[2] > low[0]
    assert high[0] > 200
    assert high[2] < 100
