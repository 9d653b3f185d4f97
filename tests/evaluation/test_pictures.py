import numpy as np

from memorysam.evaluation.pictures import as_picture
from memorysam.spec import Modality


def test_regions_are_shown_in_colours_of_their_own():
    numbers = np.array([[0, 1, 2], [9, 300, 1]], np.uint16)[..., None]
    picture = as_picture(numbers, Modality(name="map", role="regions"))
    assert picture.shape == (2, 3, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture[0, 1], picture[1, 2])
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 5
