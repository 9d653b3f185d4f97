"""Figures show what models, scores and logs say; looked at through their axes, and as the files that are written."""

import importlib
import json
import sys
from types import SimpleNamespace

import cv2
import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.text import Text

from memorysam.config import DataSettings, ModelSettings
from memorysam.data.catalog import open_dataset
from memorysam.data.dataset import normalise
from memorysam.errors import DataError, MemorySAMError, SettingsError
from memorysam.evaluation.metrics import Scores
from memorysam.evaluation.pictures import as_picture, colourise
from memorysam.experiments import figures, panels
from memorysam.models.factory import create
from memorysam.predict import Predictor
from memorysam.spec import IGNORE, Classes, Task

from ..tiny import SIZE, write_dataset

SUBSETS = (("depth",), ("rgb",), ("depth", "rgb"))
CLASSES = Classes(names=("road", "$car$", "sky"), colors=((9, 9, 9), (200, 0, 0), (0, 0, 200)))
SERIES = {
    "theirs": [(1, 50.0, None), (2, 60.0, None), (4, 65.0, None)],
    "ours": [(2, 58.0, 1.5), (1, 49.0, 0.5)],
    "without points": [],
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = write_dataset(tmp_path_factory.mktemp("tiny"), train=1, val=5)
    return open_dataset(DataSettings(dataset=str(path)), SIZE).source("val")


@pytest.fixture(scope="module")
def predictor(source):
    torch.manual_seed(3)
    task = Task(modalities=source.modalities, classes=source.classes, image_size=SIZE)
    return Predictor(create(ModelSettings(backbone="micro"), task).eval())


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A run's folder: 30 logged steps, three validations of which one has no mIoU, a last line that is cut off."""
    folder = tmp_path_factory.mktemp("run")
    lines = [{"step": step, "loss": 2 + (-1) ** step / 2, "lr": 1e-3 / step} for step in range(1, 31)]
    lines += [{"step": step, "validation": {"miou": miou}} for step, miou in ((10, 20.0), (20, None), (30, 31.0))]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 31, "lo')
    return folder


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved in a test."""
    kept = []
    real = panels.save
    monkeypatch.setattr(panels, "save", lambda figure, path: kept.append(figure) or real(figure, path))
    return kept


@pytest.fixture
def write(predictor, source, log):
    """Each kind of figure -> a function that writes it."""
    results = {"one": scores([[5, 1, 0], [0, 0, 0], [2, 0, 9]]), "other": scores([[5, 1, 0], [2, 0, 0], [2, 0, 9]])}
    return {
        "predictions": lambda path: figures.predictions(predictor, source, [0, 3], SUBSETS, path),
        "features": lambda path: figures.features(predictor, source, ["rgb", "depth"], path, points=60)[0],
        "modalities_curve": lambda path: figures.modalities_curve(SERIES, path, published={"theirs"}),
        "confusion": lambda path: figures.confusion(results["one"], path),
        "class_bars": lambda path: figures.class_bars(results, path),
        "training_curves": lambda path: figures.training_curves({"run": log, "same": log}, path),
    }


def scores(counts, classes=CLASSES):
    return Scores(classes, "strict", 1, np.array(counts, np.int64))


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def render(figure):
    """A figure's pixels `[H, W, 3]` and, for each of its axes, the part that it takes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[:, :, :3]
    parts = []
    for ax in figure.axes:
        (left, bottom), (right, top) = np.rint(ax.get_window_extent().get_points()).astype(int)
        parts.append(pixels[len(pixels) - top : len(pixels) - bottom, left:right])
    return pixels, parts


def colours_in(picture, share=0.0):
    colours, counts = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)
    return {tuple(map(int, colour)) for colour, n in zip(colours, counts, strict=True) if n > share * counts.sum()}


KINDS = ("predictions", "features", "modalities_curve", "confusion", "class_bars", "training_curves")


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_is_a_picture_with_something_on_it(write, tmp_path, kind):
    path = tmp_path / "new folder" / f"{kind}.png"
    assert write[kind](path) == path
    picture = cv2.imread(str(path))
    height, width = picture.shape[:2]
    assert 2 * panels.DPI < width < 9 * panels.DPI
    assert 0.8 * panels.DPI < height < 9 * panels.DPI
    assert picture.std() > 10
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_lies_on_another_or_outside(write, drawn, tmp_path, monkeypatch, kind):
    write[kind](tmp_path / "figure.png")
    boxes = []
    real = Text.draw

    def draw(text, renderer):
        real(text, renderer)
        if text.get_visible() and text.get_text().strip():
            boxes.append((text.get_text(), text.get_window_extent(renderer)))

    monkeypatch.setattr(Text, "draw", draw)
    pixels, _ = render(drawn[0])
    assert boxes
    for i, (word, box) in enumerate(boxes):
        assert min(box.x0, box.y0, pixels.shape[1] - box.x1, pixels.shape[0] - box.y1) >= -2, word
        for other, there in boxes[:i]:
            assert not box.shrunk(0.9, 0.8).overlaps(there.shrunk(0.9, 0.8)), (word, other)


@pytest.mark.parametrize("suffix", [".pdf", ".svg", ".PNG"])
def test_the_suffix_names_the_format_and_one_figure_is_one_file(write, tmp_path, suffix):
    first, second = (write["confusion"](tmp_path / f"{name}{suffix}").read_bytes() for name in "ab")
    assert first.startswith({".pdf": b"%PDF", ".svg": b"<?xml", ".PNG": b"\x89PNG"}[suffix])
    assert first == second


def test_predictions_are_those_of_each_subset_beside_sensors_and_truth(predictor, source, write, drawn, tmp_path):
    write["predictions"](tmp_path / "figure.png")
    axes = np.array(drawn[0].axes).reshape(2, 6)
    assert [ax.get_title() for ax in axes[0]] == [
        "RGB", "depth", "truth", "predicted from\ndepth", "predicted from\nRGB", "predicted from\nRGB + depth",
    ]  # fmt: skip
    assert [ax.get_ylabel() for ax in axes[:, 0]] == [source.ids[0], source.ids[3]]
    for row, index in zip(axes, (0, 3), strict=True):
        raw = source.read(index, ["rgb", "depth"])
        expected = [as_picture(raw.images[m.name], m) for m in source.modalities]
        expected.append(colourise(raw.label, source.classes))
        for subset in SUBSETS:
            labels = predictor.predict({name: raw.images[name] for name in subset}).labels
            expected.append(colourise(labels, source.classes))
        for ax, picture in zip(row, expected, strict=True):
            assert np.array_equal(ax.get_images()[0].get_array(), picture)


def test_class_colours_are_seen_and_explained(predictor, source, write, drawn, tmp_path):
    write["predictions"](tmp_path / "figure.png")
    pixels, parts = render(drawn[0])
    known = dict(zip(source.classes.names, source.classes.colors, strict=True)) | {"not labelled": (0, 0, 0)}
    labels = [source.read(index, ["rgb"]).label for index in (0, 3)]
    predicted = set()
    for row, label in enumerate(labels):
        truth, *predictions = parts[6 * row + 2 : 6 * row + 6]
        expected = {(0, 0, 0) if i == IGNORE else source.classes.colors[i] for i in np.unique(label)}
        assert colours_in(truth[3:-3, 3:-3]) == expected, "no colour that is no class's"
        for picture in predictions:
            found = colours_in(picture[3:-3, 3:-3])
            assert found <= set(source.classes.colors)
            predicted |= found
    assert predicted
    occurring = [name for name in known if known[name] in predicted or name in ("ground", "wall", "box")]
    assert legend(drawn[0]) == [*occurring, "not labelled"]
    marks = [to_hex(line.get_markerfacecolor()) for line in drawn[0].legends[0].get_lines()]
    assert marks == ["#{:02x}{:02x}{:02x}".format(*known[name]) for name in legend(drawn[0])]
    below = pixels[-int(0.2 * panels.DPI) :]
    assert {known[name] for name in legend(drawn[0])} <= colours_in(below)


@pytest.mark.parametrize("name", ["a/" + "b" * 60 + "/c", "some_name_of_words_" * 3])
def test_long_names_of_scenes_stay_within_their_row(name):
    picture = np.zeros((8, 16, 3), np.uint8)
    rows = {name: [picture, picture], "d": [picture, picture]}
    figure = panels.grid(rows, ["RGB", "truth"], CLASSES, [0, 1, 2, IGNORE])
    _, (first, *_) = render(figure)
    label = figure.axes[0].yaxis.label
    assert label.get_window_extent().height <= len(first) + 2
    assert label.get_text().replace("\n", "") == name.replace("/", "")
    assert "_" not in name or all(line.endswith("_") for line in label.get_text().splitlines())


def test_features_are_those_of_the_model_at_pixels_of_their_class(predictor, source):
    views = [source.modalities[1:], source.modalities]
    found, labels = figures.sample_features(predictor, source, views, 90, seed=1, scenes=3)
    assert np.bincount(labels).tolist() == [30, 30, 30]
    everything = [set(), set()]
    for index in range(len(source.ids)):
        raw = source.read(index, ["rgb", "depth"])
        for view, vectors in zip(views, everything, strict=True):
            with torch.no_grad():
                output = predictor({m.name: normalise(raw.images[m.name], m)[None] for m in view})
            for y, x in np.ndindex(*output.features.shape[2:]):
                vectors.add((int(raw.label[4 * y + 2, 4 * x + 2]), *output.features[0, :, y, x].numpy().round(4)))
    for vectors, known in zip(found, everything, strict=True):
        assert {(int(i), *vector.round(4)) for i, vector in zip(labels, vectors, strict=True)} <= known


def test_features_tell_how_separate_classes_are_and_a_seed_decides_all(predictor, source, drawn, tmp_path):
    from sklearn.metrics import silhouette_score

    predictor.train()

    def draw(seed):
        return figures.features(predictor, source, ["depth", "rgb"], tmp_path / f"{seed}.png", points=90, seed=seed)

    first, again, other = draw(0), draw(0), draw(1)
    assert predictor.model.training, "as it was"
    predictor.eval()
    assert first.path == tmp_path / "0.png"
    assert list(first.silhouettes) == ["depth alone", "RGB + depth, fused"]
    assert first == again
    assert first.silhouettes != other.silhouettes
    embedded = [[ax.collections[0].get_offsets() for ax in figure.axes] for figure in drawn]
    assert np.array_equal(embedded[0], embedded[1])
    found, labels = figures.sample_features(predictor, source, [source.modalities], 90, seed=0, scenes=64)
    expected = silhouette_score(found[0], labels)
    assert first.silhouettes["RGB + depth, fused"] == pytest.approx(expected, abs=1e-6)
    assert f"silhouette {expected:.2f}".replace("-", "−") in drawn[0].axes[1].get_title()


def test_feature_panels_hold_every_point_in_the_colour_of_its_class(predictor, source, drawn, tmp_path):
    names = ["rgb", "depth"]
    figures.features(predictor, source, names, tmp_path / "figure.png", points=90, alone=names, scenes=2)
    axes = [ax for ax in drawn[0].axes if ax.get_visible()]
    assert [ax.get_title().splitlines()[0] for ax in axes] == ["RGB alone", "depth alone", "RGB + depth, fused"]
    for ax in axes:
        assert sum(len(cloud.get_offsets()) for cloud in ax.collections) == 90
        rgb = [tuple(int(v) for v in np.rint(255 * cloud.get_facecolor()[0, :3])) for cloud in ax.collections]
        assert rgb == list(source.classes.colors)
    assert legend(drawn[0]) == list(source.classes.names)


def test_pixels_are_balanced_as_far_as_there_are_any():
    labels = np.repeat([0, 1, 2, IGNORE], [3, 50, 500, 900])
    chosen = figures.balanced(labels, 43, 4, np.random.default_rng(0))
    assert np.bincount(labels[chosen]).tolist() == [3, 20, 20]
    assert len(set(chosen.tolist())) == 43
    with pytest.raises(DataError, match="too few"):
        figures.balanced(labels[:3], 40, 4, np.random.default_rng(0))
    with pytest.raises(DataError, match="too few"):
        figures.balanced(labels, 4, 4, np.random.default_rng(0))


def test_curve_has_the_points_that_were_given_and_sets_the_published_apart(write, drawn, tmp_path):
    write["modalities_curve"](tmp_path / "figure.png")
    (ax,) = drawn[0].axes
    theirs, ours = (container.lines for container in ax.containers)
    assert theirs[0].get_xydata().tolist() == [[1, 50], [2, 60], [4, 65]]
    assert ours[0].get_xydata().tolist() == [[1, 49], [2, 58]], "in the order of their numbers"
    assert [line[0].get_linestyle() for line in (theirs, ours)] == ["--", "-"]
    assert theirs[0].get_color() != ours[0].get_color()
    assert theirs[0].get_marker() != ours[0].get_marker()
    assert not theirs[2], "no bars without a spread"
    assert [segment[:, 1].tolist() for segment in ours[2][0].get_segments()] == [[48.5, 49.5], [56.5, 59.5]]
    assert ax.get_xticks().tolist() == [1, 2, 4]
    assert legend(drawn[0]) == ["theirs", "ours"]


def test_methods_are_told_apart_without_their_lines():
    figure = panels.curve({str(i): [(1, i, None), (2, i + 1, None)] for i in range(14)}, ())
    looks = {(line.get_color(), line.get_marker()) for line in figure.axes[0].lines}
    assert len(looks) == 14


def test_confusion_is_in_shares_of_the_true_class(write, drawn, tmp_path):
    write["confusion"](tmp_path / "figure.png")
    ax = drawn[0].axes[0]
    shares = ax.get_images()[0].get_array()
    assert shares[0].tolist() == pytest.approx([500 / 6, 100 / 6, 0])
    assert shares.mask.tolist() == [[False] * 3, [True] * 3, [False] * 3]
    assert "does not occur" in ax.get_ylabel()
    assert [(text.get_position(), text.get_text()) for text in ax.texts] == [
        ((0, 0), "83"), ((1, 0), "17"), ((0, 2), "18"), ((2, 2), "82"),
    ]  # fmt: skip
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        assert [label.get_text() for label in labels] == list(CLASSES.names)


def test_confusion_of_many_classes_prints_no_values():
    many = Classes(names=tuple(f"class {i}" for i in range(60)))
    figure = panels.heat_map(scores(np.eye(60), many))
    assert not figure.axes[0].texts
    assert max(figure.get_size_inches()) < 10


def test_class_bars_are_sorted_by_pixels_and_tell_zero_from_absent(drawn, tmp_path):
    one, other = scores([[5, 1, 0], [0, 0, 0], [2, 0, 9]]), scores([[6, 0, 0], [0, 0, 0], [11, 0, 0]])
    figures.class_bars({"one": one, "other": other}, tmp_path / "figure.png")
    ax = drawn[0].axes[0]
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["sky (64.7 %)", "road (35.3 %)", "$car$ (0.0 %)"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first one is on top"
    first, second = ax.containers
    assert [bar.get_width() for bar in first] == pytest.approx([900 / 11, 62.5, 0])
    assert [text.get_text() for text in ax.texts] == ["81.8", "62.5", "0", "0", "35.3", "absent"]
    assert [bar.get_hatch() for bar in (first[0], second[0])] == ["", "////"]
    assert legend(drawn[0]) == ["one (mean 48.1)", "other (mean 17.6)"]


def test_training_curves_show_what_was_logged(write, log, drawn, tmp_path):
    write["training_curves"](tmp_path / "figure.png")
    loss, miou, rate = drawn[0].axes
    assert [len(cloud.get_offsets()) for cloud in loss.collections] == [30, 30]
    smooth = loss.lines[0].get_ydata()
    assert len(smooth) == 30
    assert np.ptp(smooth[3:-3]) < 0.4 * np.ptp(loss.collections[0].get_offsets()[:, 1])
    assert miou.lines[0].get_xydata().tolist() == [[10, 20], [30, 31]]
    assert rate.lines[0].get_xydata()[:2].tolist() == [[1, 1e-3], [2, 5e-4]]
    assert loss.lines[0].get_linestyle() != loss.lines[1].get_linestyle()
    assert rate.lines[0].get_linestyle() != rate.lines[1].get_linestyle()
    assert legend(drawn[0]) == ["run", "same"]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100])
def test_the_moving_mean_is_one_of_what_there_is(count):
    assert figures.moving_mean([2.0] * count).tolist() == pytest.approx([2.0] * count)
    assert figures.moving_mean([0.0, 3.0, 6.0]).tolist() == [1.5, 3.0, 4.5]


def test_a_run_that_has_logged_nothing_yet_leaves_room_for_it(log, tmp_path, drawn):
    (tmp_path / "log.jsonl").write_text("")
    figures.training_curves({"run": log, "young": tmp_path}, tmp_path / "figure.png")
    assert legend(drawn[0]) == ["run", "young"]


@pytest.mark.parametrize("package", ["matplotlib", "sklearn"])
def test_a_missing_package_is_explained_before_anything_is_computed(monkeypatch, tmp_path, package):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    importlib.reload(panels)  # needs neither itself
    with pytest.raises(SettingsError) as error:
        figures.features(None, None, ["rgb"], tmp_path / "figure.png")
    assert package in error.value.what
    assert "pip install 'memorysam[figures]'" in str(error.value)


@pytest.mark.parametrize("name", ["figure.bmp", "figure"])
def test_an_unknown_format_is_refused_before_anything_is_computed(tmp_path, name):
    with pytest.raises(SettingsError, match=r"\.png, \.pdf, \.svg"):
        figures.predictions(None, None, [0], SUBSETS, tmp_path / name)


def test_a_failed_write_leaves_the_old_file(write, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    path = tmp_path / "figure.png"
    path.write_bytes(b"old")

    def full(self, file, **options):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(MemorySAMError, match="no space left"):
        write["confusion"](path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]


def test_own_settings_of_a_user_neither_change_figures_nor_are_changed(write, tmp_path):
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        before = dict(mpl.rcParams)
        here = write["confusion"](tmp_path / "here.png").read_bytes()
        assert dict(mpl.rcParams) == before
    assert write["confusion"](tmp_path / "there.png").read_bytes() == here


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: figures.modalities_curve({"a": []}, path), "nothing to draw"),
        (lambda path: figures.class_bars({}, path), "nothing to draw"),
        (lambda path: figures.training_curves({}, path), "nothing to draw"),
        (lambda path: figures.training_curves({"a": path.parent / "no run"}, path), r"no log(.|\n)*log\.jsonl"),
        (
            lambda path: figures.class_bars(
                {"a": scores(np.eye(3)), "b": scores(np.eye(2), Classes(names=("x", "y")))}, path
            ),
            "different classes",
        ),
    ],
)
def test_what_cannot_be_drawn_is_told(call, message, tmp_path):
    with pytest.raises(DataError, match=message):
        call(tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())


def test_scenes_that_cannot_be_shown_are_told(predictor, source, tmp_path):
    path = tmp_path / "figure.png"
    with pytest.raises(DataError, match="no scene"):
        figures.predictions(predictor, source, [], SUBSETS, path)
    with pytest.raises(SettingsError, match="no modality 'lidar'"):
        figures.predictions(predictor, source, [0], [("lidar",)], path)
    bare = SimpleNamespace(ids=source.ids, read=lambda i, names: SimpleNamespace(id="x", label=None, images={}))
    with pytest.raises(DataError, match="no label"):
        figures.predictions(predictor, bare, [0], SUBSETS, path)
    with pytest.raises(DataError, match="no labels"):
        figures.features(predictor, bare, ["rgb"], path)
