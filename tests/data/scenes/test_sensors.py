"""What each sensor sees and what it cannot see."""

from functools import cache

import numpy as np
import pytest

from memorysam.data.scenes import ScenesSource
from memorysam.data.scenes.names import ID

ALL = ("rgb", "depth", "event", "lidar")
SOURCE = ScenesSource("val", 400, (128, 128))


def indices(count=6, **tags):
    """Samples with these tags; without a failure unless one is named."""
    want = {"failure": "none", **tags}
    return [i for i in range(400) if want.items() <= SOURCE.tags(i).items()][:count]


@cache
def sample(index):
    frame, images = SOURCE.observe(index, ALL)
    return frame, images


def grey(index):
    return sample(index)[1]["rgb"].mean(2)


def edges(index):
    """Share of pixels with an event."""
    return sample(index)[1]["event"].any(2).mean()


def moving(found):
    return [index for index in found if sample(index)[0].world.speed > 0]


def test_night_is_dark_for_the_camera_only():
    night, sun = indices(condition="night"), indices(condition="sun")
    assert np.mean([grey(i).mean() for i in night]) < 0.4 * np.mean([grey(i).mean() for i in sun])
    assert np.mean([edges(i) for i in moving(night)]) > 0.5 * np.mean([edges(i) for i in moving(sun)])
    for sensor in ("depth", "lidar"):
        a, b = (np.mean([sample(i)[1][sensor].any(2).mean() for i in found]) for found in (night, sun))
        assert a == pytest.approx(b, rel=0.25)


def test_exposure_fails_for_the_camera_only():
    dark, bright = (indices(failure=name) for name in ("underexposure", "overexposure"))
    assert max(grey(i).mean() for i in dark) < 60
    over = [i for i in bright if SOURCE.tags(i)["condition"] != "night"]
    assert min((grey(i) > 250).mean() for i in over) > 0.25
    assert max(edges(i) for i in dark + bright) > 0.03


def test_motion_blur_smears_sideways():
    def ratio(index):
        image = grey(index)
        return np.abs(np.diff(image, axis=1)).mean() / np.abs(np.diff(image, axis=0)).mean()

    sharp, smeared = (indices(12, condition="sun", failure=name) for name in ("none", "motionblur"))
    assert np.median([ratio(i) for i in smeared]) < 0.75 * np.median([ratio(i) for i in sharp])


def test_fog_hides_what_lidar_still_meets():
    """Beyond 40 m the camera sees next to no contrast, and laser pulses still come back."""
    contrast, echoes = [], []
    for index in indices(8, condition="fog"):
        frame, images = sample(index)
        far = (frame.depth > 40) & (frame.depth < 60)
        if far.sum() > 30:
            contrast.append(grey(index)[far].std())
            echoes.append(images["lidar"].any(2)[far].sum())
            assert not images["depth"][far].any()
    assert np.median(contrast) < 8
    assert np.mean(np.array(echoes) > 0) > 0.6


def test_depth_measures():
    """Disparity is proportional to inverse depth, heights rise, surfaces differ by their angle; road lines are road."""
    for index in indices(3, condition="cloud"):
        frame, images = sample(index)
        disparity, height, angle = images["depth"].transpose(2, 0, 1).astype(float)
        near = (disparity > 0) & (disparity < 255) & (frame.depth < 30)
        assert np.corrcoef(disparity[near], frame.nearness[near])[0, 1] > 0.99
        flat, wall = near & (frame.label == ID["Road"]), near & (frame.label == ID["Building"])
        assert np.median(height[flat]) < 35
        assert np.median(angle[flat]) < 10
        if wall.sum() > 50:
            assert np.median(height[wall]) > 80
            assert np.median(angle[wall]) > 110
        assert not images["depth"][frame.label == ID["Sky"]].any()
        assert not images["depth"][frame.depth > 70].any()


def test_depth_noise_grows_with_distance():
    errors = {10: [], 35: []}
    for index in indices(6, condition="cloud"):
        frame, images = sample(index)
        disparity = images["depth"][..., 0].astype(float)
        for middle, found in errors.items():
            there = (abs(frame.depth - middle) < 5) & (disparity > 0) & (frame.label != ID["Vegetation"])
            found.append(np.median(np.abs(255 * 2.4 / (disparity[there] + 0.5) - frame.depth[there])))
    assert np.mean(errors[35]) > 4 * np.mean(errors[10])


def test_events_need_motion():
    """A camera that stands sees only what moves; nothing happens in a clear sky."""
    standing = [i for i in range(200) if SOURCE.tags(i)["failure"] == "none" and SOURCE.tags(i)["condition"] == "sun"]
    still = [i for i in standing if sample(i)[0].world.speed == 0]
    assert still
    assert np.mean([edges(i) for i in still]) < 0.3 * np.mean([edges(i) for i in moving(standing)])
    for index in moving(standing)[:5]:
        frame, images = sample(index)
        sky = images["event"].any(2)[frame.label == ID["Sky"]].mean()
        assert sky < 0.02


def test_event_colours():
    event = sample(moving(indices(condition="sun"))[0])[1]["event"]
    assert not event[..., 1].any()
    assert not (event[..., 0] & event[..., 2]).any()
    assert event[..., 0].any()
    assert event[..., 2].any()


def test_low_resolution_events_are_small_until_read():
    (index,) = indices(1, failure="eventlowres")
    small = sample(index)[1]["event"]
    assert small.shape == (32, 32, 3)
    assert np.array_equal(SOURCE.read(index, ("event",)).images["event"], np.repeat(np.repeat(small, 4, 0), 4, 1))


def test_lidar_is_sparse_and_sees_paint():
    """Few pixels hold a point; paint on the road and signs throw more light back than the road."""
    paint, road, signs = [], [], []
    for index in indices(8, condition="night"):
        frame, images = sample(index)
        points = images["lidar"].any(2)
        assert 0.02 < points.mean() < 0.16
        strength = images["lidar"][..., 2].astype(float)
        for name, found in (("RoadLine", paint), ("Road", road), ("TrafficSign", signs)):
            found.extend(strength[points & (frame.label == ID[name]) & (frame.depth < 30)])
    assert np.median(paint) > np.median(road) + 20
    assert np.median(signs) > np.median(road) + 60


def test_lidar_sees_farther_than_depth():
    far = [(sample(i)[0].depth > 65) & sample(i)[1]["lidar"].any(2) for i in indices(6, condition="cloud")]
    assert np.mean([field.sum() for field in far]) > 3


def test_lidar_jitter_moves_points():
    """Points no longer lie where things of their height are seen."""

    def off(index):
        """Share of points that are half a metre above or below what the camera sees there."""
        frame, images = sample(index)
        there = images["lidar"].any(2) & (frame.y < 9)
        height = (images["lidar"][..., 1][there] - 40.0) / 215 * 11 - 1
        return np.mean(np.abs(height - frame.y[there]) > 0.5)

    assert max(off(i) for i in indices(5, condition="cloud")) < 0.02
    assert min(off(i) for i in indices(5, failure="lidarjitter")) > 0.06


def test_rain_takes_points():
    rain, cloud = (
        np.mean([sample(i)[1]["lidar"].any(2).mean() for i in indices(condition=c)]) for c in ("rain", "cloud")
    )
    assert rain < 0.85 * cloud


def test_sensors_are_aligned():
    """Edges of depth and of the label are at the same pixels, not beside them."""
    scores = dict.fromkeys((-3, 0, 3), 0)
    for index in indices(6, condition="cloud"):
        frame, images = sample(index)
        depth, label = images["depth"][..., 0].astype(int), frame.label
        step = np.abs(np.diff(depth, axis=1)) > 25
        border = np.diff(label.astype(int), axis=1) != 0
        for shift in scores:
            scores[shift] += (np.roll(border, shift, axis=1) & step).sum()
    assert scores[0] > 2 * max(scores[-3], scores[3])
