"""Settings on the command line: what is not one word."""

from dataclasses import dataclass, field

import pytest

from memorysam.commands.arguments import parse
from memorysam.config import RunSettings
from memorysam.errors import SettingsError
from memorysam.strict import build


@dataclass
class Arguments:
    """Of no verb."""

    settings: RunSettings = field(default_factory=RunSettings)


def read(*words, **train):
    """Parse words where a settings file says `train`."""
    default = Arguments(build(RunSettings, {"train": train}, "file.yaml"))
    return parse(Arguments, "verb", words, "", default).settings.train


@pytest.mark.parametrize("there", [{}, {"decoder": 10}, {"lora": 3, "stem": 1}], ids=["none", "same", "others"])
def test_factors_are_names_and_numbers_whatever_the_file_says(there):
    assert read(lr_factors=there).lr_factors == there
    assert read("--train.lr-factors", "decoder", "5", lr_factors=there).lr_factors == {"decoder": 5.0}
    both = read("--train.lr-factors", "decoder", "5", "encoder", "1e-1", "--train.lr", "1", lr_factors=there)
    assert both.lr_factors == {"decoder": 5.0, "encoder": 0.1}
    assert both.lr == 1
    assert read("--train.lr-factors", lr_factors=there).lr_factors == {}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["decoder", "fast"], "valid number"),
        (["decoder", "0"], "greater than 0"),
        (["decoder", "-1"], "greater than 0"),
    ],
)
def test_a_wrong_factor_is_told_with_its_part(words, expected):
    with pytest.raises(SettingsError) as error:
        read("--train.lr-factors", *words)
    assert all(word in str(error.value) for word in (words[1], "--train.lr-factors.decoder", expected))


@pytest.mark.parametrize("words", [["decoder"], ["decoder", "1", "lora"], ["decoder", "1", "decoder", "2"]])
def test_names_without_numbers_and_names_given_twice_are_refused(words, capsys):
    with pytest.raises(SystemExit) as ended:
        read("--train.lr-factors", *words)
    assert ended.value.code == 2
    assert "each once and each with its value" in " ".join(capsys.readouterr().err.split())


def test_class_weights_are_numbers():
    assert read("--train.class-weights", "1", "0.5", "2").class_weights == (1.0, 0.5, 2.0)
    assert read("--train.class-weights", class_weights=[1, 2]).class_weights == ()


def test_help_shows_what_is_there_and_none_where_there_is_nothing(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    for factors, shown in (({}, "(default: none)"), ({"decoder": 10, "lora": 2}, "(default: decoder 10.0 lora 2.0)")):
        with pytest.raises(SystemExit):
            read("--help", lr_factors=factors)
        text = " ".join(capsys.readouterr().out.replace("│", " ").split())
        after = text.split("--train.lr-factors [NAME VALUE ...]")[1].split("--train.")[0]
        assert shown in after
        assert "(default: none)" in text.split("--train.class-weights")[1].split("--train.")[0]
