import pytest

from memorysam.config import RunSettings
from memorysam.errors import SettingsError
from memorysam.strict import build, read_yaml


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"train": {"lrr": 1}}, ["unknown setting 'train.lrr'", "did you mean 'lr'"]),
        ({"modle": {}}, ["unknown setting 'modle'", "did you mean 'model'"]),
        ({"model": {"train": {"lorra": True}}}, ["model.train.lorra", "did you mean 'lora'"]),
        ({"train": {"lr": -1}}, ["train.lr", "greater than 0"]),
        ({"train": {"epochs": "many"}}, ["train.epochs", "integer"]),
        ({"train": {"clip": "x"}}, ["train.clip", "number"]),
        ({"train": {"precision": "fp16"}}, ["train.precision", "'fp32' or 'bf16'"]),
        ({"model": {"image_size": [250, 100]}}, ["model.image_size", "nearest legal size is [256, 96]"]),
        ({"model": {"image_size": 256}}, ["model.image_size"]),
        ({"model": {"lora_rank": -1}}, ["model.lora_rank"]),
        ({"train": {"optimizer": "adam"}}, ["train.optimizer", "'adamw' or 'sgd'"]),
        ({"train": {"lr_factors": {"decoder": 0}}}, ["train.lr_factors.decoder", "greater than 0"]),
        ({"train": {"lr_factors": [10]}}, ["train.lr_factors", "dictionary"]),
        ({"train": {"class_weights": [1, -1]}}, ["train.class_weights.1", "greater than or equal to 0"]),
        ({"train": {"class_weights": [0, 0]}}, ["train.class_weights", "above 0"]),
        ({"train": {"dice": 1.1}}, ["train.dice", "less than or equal to 1"]),
        ({"train": {"momentum": 1, "optimizer": "sgd"}}, ["train.momentum", "less than 1"]),
        ({"train": {"momentum": 0.8}}, ["train.momentum", "`optimizer: sgd` only"]),
        ({"train": {"lr_min": 1e-7}}, ["train.lr_min", "`schedule: cosine` only"]),
        ({"train": {"power": 1, "schedule": "cosine"}}, ["train.power", "`schedule: poly` only"]),
        ({"train": {"ohem_least": 1, "loss": "cross-entropy"}}, ["train.ohem_least", "`loss: ohem` only"]),
        ({"train": {"lr": 0.1, "lr_min": 0.2, "schedule": "cosine"}}, ["train.lr_min", "at most", "0.1"]),
        ({"augment": {"scale": [2, 1]}}, ["augment.scale", "above the largest"]),
        ({"augment": {"flip": 1.5}}, ["augment.flip"]),
        ({"evaluate": {"overlap": 1}}, ["evaluate.overlap"]),
        ({"evaluate": {"scales": [0]}}, ["evaluate.scales"]),
        ({"data": "here"}, ["'data'"]),
        ({"data": {"scenes": [0, 1, 1]}}, ["data.scenes"]),
        ({"train": {"lr": -1, "epochs": 0}}, ["and 1 more"]),
    ],
)
def test_wrong_settings_are_explained(values, words):
    with pytest.raises(SettingsError) as error:
        build(RunSettings, values, "file.yaml")
    assert all(word in str(error.value) for word in [*words, "file.yaml"])
    assert len(str(error.value).splitlines()) <= 5


def test_numbers_as_yaml_writes_them():
    assert build(RunSettings, {"train": {"lr": "1e-4"}}, "x").train.lr == 1e-4


def write(tmp_path, text):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    return path


def test_empty_file_is_the_defaults(tmp_path):
    assert build(RunSettings, read_yaml(write(tmp_path, "# nothing\n")), "x") == RunSettings()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "not valid YAML"),
        ("- 1\n- 2\n", "does not hold settings"),
        ("a: 1\na: 2\n", "given twice"),
        ("a: {b: 1, b: 2}\n", "given twice"),
        ("a: !!python/object/apply:os.system ['touch canary']\n", "not valid YAML"),
        ("a: !!python/name:os.system\n", "not valid YAML"),
        ("a: \xe9".encode("latin-1").decode("latin-1"), None),
    ],
)
def test_yaml_that_is_not_settings(tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, text)
    if words is None:
        assert read_yaml(path) == {"a": "é"}
        return
    with pytest.raises(SettingsError, match=words):
        read_yaml(path)
    assert not (tmp_path / "canary").exists()


def test_missing_file(tmp_path):
    with pytest.raises(SettingsError, match="no such file"):
        read_yaml(tmp_path / "absent.yaml")
