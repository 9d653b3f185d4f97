"""What the page shows of a model, computed without a page."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from memorysam.app.noise import Level, unnormalised
from memorysam.app.session import Choice, Scene, Session
from memorysam.data.dataset import normalise
from memorysam.errors import InputError
from memorysam.predict import Predictor, predict_files
from memorysam.spec import Modality

from .conftest import SENSORS, images, model


def test_all_sensors_and_no_noise_are_the_start_and_nothing_has_changed(session, scene):
    view = session.look(scene)
    assert view.choice.sensors == SENSORS
    assert view.prediction is view.whole
    assert view.changed_share == 0
    assert np.array_equal(view.prediction.probabilities, session.predictor.predict(scene.images).probabilities)


def test_a_sensor_that_is_off_changes_the_prediction_as_leaving_its_file_out_does(session, scene):
    view = session.look(scene, Choice(("colour", "bands")))
    alone = session.predictor.predict({name: scene.images[name] for name in ("colour", "bands")})
    assert np.array_equal(view.prediction.probabilities, alone.probabilities)
    assert view.changed_share > 0
    assert view.changed_share == np.mean(alone.labels != session.look(scene).prediction.labels)


def test_what_a_sensor_holds_that_is_off_does_not_matter(session, scene):
    before = session.predict(scene, Choice(("range",)))
    broken = np.full_like(scene.images["bands"], np.nan)
    other = replace(scene, images={**scene.images, "bands": broken, "colour": 255 - scene.images["colour"]})
    assert np.array_equal(session.predict(other, Choice(("range",))).probabilities, before.probabilities)


def test_no_sensor_or_one_that_is_not_there_is_refused(session, scene):
    with pytest.raises(InputError, match="all sensors are off"):
        session.look(scene, Choice(()))
    with pytest.raises(InputError, match="no heat"):
        session.look(scene, Choice(("heat",)))


def test_noise_depends_on_its_seed_and_on_the_scene_and_is_gone_afterwards(session, scene):
    def noisy(of, seed):
        return session.look(of, Choice(SENSORS, Level(0.2, 0.3, seed)))

    first = noisy(scene, 0)
    assert np.array_equal(first.prediction.probabilities, noisy(scene, 0).prediction.probabilities)
    assert not np.array_equal(first.prediction.probabilities, noisy(scene, 1).prediction.probabilities)
    renamed = replace(scene, name="another")
    assert not np.array_equal(first.prediction.probabilities, noisy(renamed, 0).prediction.probabilities)
    assert not np.array_equal(first.prediction.probabilities, first.whole.probabilities)
    assert np.array_equal(session.look(scene).prediction.probabilities, first.whole.probabilities)


def test_noise_is_seen_in_the_pictures_of_sensors_that_are_on(session, scene):
    plain, noisy = session.look(scene), session.look(scene, Choice(("colour", "range"), Level(0.3)))
    assert np.array_equal(noisy.shown["bands"], plain.shown["bands"])
    colour = noisy.shown["colour"].reshape(-1, 3)
    # Salt is the largest value of each channel, pepper the smallest: three tenths of all pixels are one of the two.
    ends = (colour == colour.max(axis=0)).all(axis=1) | (colour == colour.min(axis=0)).all(axis=1)
    assert 0.25 < ends.mean() < 0.35


@pytest.mark.parametrize(
    "modality",
    [
        Modality(name="a", channels=2, high=65535, mean=(0.2, 0.4), std=(0.3, 0.1)),
        Modality(name="a", channels=2, high="type", zero="median", std=(0.1,)),
        Modality(name="a", channels=2, low=100, high=10),
    ],
    ids=["range", "median", "upside down"],
)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_stored_values_come_back_from_normalised_ones(modality, kind):
    stored = np.random.default_rng(0).integers(0, 255, (9, 7, 2)).astype(kind)
    back = unnormalised(normalise(stored, modality).numpy(), modality, stored)
    assert back.dtype == kind
    assert np.allclose(back, stored, atol=0.02)


def test_the_prediction_with_all_sensors_is_made_once_for_a_scene(session, scene, monkeypatch):
    first, calls = session.look(scene), []
    ours = session.predictor.predict

    def counted(given):
        calls.append(tuple(given))
        return ours(given)

    monkeypatch.setattr(session.predictor, "predict", counted)
    second = session.look(scene, Choice(("range",)), first)
    assert second.whole is first.whole
    session.look(replace(scene), Choice(("range",)), second)  # another scene of the same name
    assert calls == [("range",), ("range",), SENSORS]


def test_files_are_those_of_predict(session, scene, tmp_path):
    cv2.imwrite(str(tmp_path / "x.png"), scene.images["colour"][:, :, ::-1])
    cv2.imwrite(str(tmp_path / "y.tif"), scene.images["range"])
    files = {"colour": tmp_path / "x.png", "range": tmp_path / "y.tif"}
    predict_files(session.predictor, files, tmp_path / "theirs", probabilities=True)
    session.look(scene, Choice(("colour", "range"))).prediction.save(tmp_path / "ours", "x", probabilities=True)
    names = sorted(path.name for path in (tmp_path / "theirs").iterdir())
    assert names == ["x_labels.png", "x_overlay.png", "x_probabilities.npy"]
    for name in names:
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()


def test_shares_have_all_classes_of_both_predictions(session, scene):
    view = session.look(scene, Choice(("bands",)))
    rows = view.shares()
    assert sum(row[2] for row in rows) == pytest.approx(1)
    assert sum(row[3] for row in rows) == pytest.approx(1)
    assert len({row[0] for row in rows}) == len(rows)


def test_right_pixels_are_counted_where_there_is_truth(session, scene):
    view = session.look(scene)
    assert view.right_share == pytest.approx(float((view.prediction.labels[3:] == 0).mean()))
    assert session.look(replace(scene, label=None)).right_share is None


def test_each_later_sensor_looks_at_the_earlier_ones_and_shares_sum_to_one(session, scene):
    view = session.look(scene)
    for point in ((0, 0), (49, 80), (20, 3)):
        found = view.attention(point)
        assert {name: list(glances) for name, glances in found.items()} == {
            "range": ["colour"],
            "bands": ["colour", "range"],
        }
        for glances in found.values():
            assert sum(share for _, share, _ in glances.values()) == pytest.approx(1, abs=1e-5)
            assert all(picture.shape == (178, 288, 3) for picture, _, _ in glances.values())
    assert list(session.look(scene, Choice(("colour", "bands"))).attention((0, 0))) == ["bands"]
    alone = session.look(scene, Choice(("colour",)))
    assert alone.attention((0, 0)) == {}
    assert "one sensor alone" in alone.blind


def test_a_system_without_memory_says_so(scene):
    session = Session(Predictor(model(name="mean-fusion", backbone="default", lora_rank=4).eval()))
    view = session.look(scene)
    assert view.looks == ()
    assert "no memory" in view.blind


def test_one_sensor_is_enough_for_a_model():
    view = Session(Predictor(model(("range",)).eval())).look(Scene("a", {"range": images()["range"]}))
    assert view.overlay(0.5).shape == view.confidence().shape == view.difference().shape == (50, 81, 3)


def test_opacity_goes_from_the_picture_to_the_colours(session, scene):
    view = session.look(scene)
    assert np.array_equal(view.overlay(0.0), scene.images["colour"])
    assert len(np.unique(view.overlay(1.0).reshape(-1, 3), axis=0)) <= 3
    assert not np.array_equal(view.overlay(0.0, "range"), view.overlay(0.0))


def test_the_difference_is_grey_where_nothing_changed_and_coloured_where_it_did(session, scene):
    view = session.look(scene, Choice(("bands",)))
    picture, changed = view.difference(), view.changed
    assert 0 < changed.mean() < 1
    still = picture[~changed]
    assert (still == still[:, :1]).all()
    assert {tuple(c) for c in picture[changed].tolist()} <= set(session.task.classes.colors)
