"""The doctor of installations finds what is wrong, and says what to do."""

import json
from importlib import metadata

import pytest

from memorysam import doctor
from memorysam.cli import main


@pytest.fixture
def installed(monkeypatch):
    """Pretend that these versions are installed; others are as they are."""

    def pretend(versions, requires=None):
        real = metadata.version

        def version(name):
            if name not in versions:
                return real(name)
            if versions[name] is None:
                raise metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(metadata, "version", version)
        if requires is not None:
            monkeypatch.setattr(metadata, "requires", lambda _: requires)

    return pretend


def test_this_installation_is_sound():
    problems = [finding for finding in doctor.examine() if finding.state == "problem"]
    assert not problems


def test_a_version_outside_the_range_is_a_problem_with_its_command(installed):
    installed({"torch": "2.1.0"}, ["torch>=2.8,<3"])
    (found,) = doctor.packages()
    assert (found.about, found.state) == ("torch", "problem")
    assert "2.1.0" in found.text
    assert found.fix.startswith("pip install 'torch")


def test_a_missing_package_is_a_problem_and_a_missing_extra_is_not(installed):
    installed({"tyro": None, "gradio": None}, ["tyro>=1", 'gradio>=5; extra == "app"'])
    found = {finding.about: finding for finding in doctor.packages()}
    assert found["tyro"].state == "problem"
    assert found["extra app"].state == "fine"
    assert "gradio" in found["extra app"].text


def test_what_is_for_other_systems_is_not_missed(installed):
    installed({"colorama": None}, ['colorama; sys_platform == "never"'])
    assert not list(doctor.packages())


def test_two_distributions_of_opencv_are_a_problem(installed):
    installed({"opencv-python": "4.10", "opencv-python-headless": "4.10"})
    (found,) = doctor.one_opencv()
    assert found.state == "problem"
    assert "opencv-python, opencv-python-headless" in found.text


def test_one_distribution_of_opencv_is_none(installed):
    installed({"opencv-python": None, "opencv-contrib-python": None})
    assert not list(doctor.one_opencv())


@pytest.mark.parametrize(("free", "state"), [(4.9e9, "hint"), (5.1e9, "fine")])
def test_a_disk_that_is_nearly_full_is_a_hint(monkeypatch, tmp_path, free, state):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("usage", (), {"free": free}))
    assert next(iter(doctor.limits(tmp_path))).state == state


def test_more_threads_than_cores_are_a_hint(monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 10_000)
    assert next(iter(doctor.processor())).state == "hint"


def test_the_command_prints_json_and_its_exit_code_tells(installed, capsys):
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == 0
    installed({"torch": "2.1.0"})
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "! torch" in out
    assert "1 problems (!)" in out
