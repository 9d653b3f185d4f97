import json
import subprocess
import sys

import pytest

from memorysam.benchmark import start_up
from memorysam.cli import VERBS, main

HEAVY = {"torch", "transformers", "cv2", "accelerate", "safetensors"}


def loaded(code):
    """Top-level packages in a fresh process that has run `code`."""
    code += "\nimport sys, json; sys.stderr.write(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr))


def test_the_import_and_the_help_need_nothing_but_python():
    found = loaded("import memorysam\nfrom memorysam.cli import main\nassert main(['--help']) == 0")
    assert not found & (HEAVY | {"numpy", "pydantic", "tyro", "yaml"})


def test_the_help_of_no_verb_needs_pytorch():
    calls = "\n".join(f"assert main([{verb!r}, '--help']) == 0" for verb in VERBS)
    assert not loaded(f"from memorysam.cli import main\n{calls}") & HEAVY


@pytest.mark.slow
def test_the_start_of_everything_as_json_and_as_a_table(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(start_up, "rounds_of", lambda plan: plan.repeats)  # not one more that does not count
    words = ["benchmark", "--start-up", "--backbone", "micro", "--size", "64", "--repeats", "1"]
    assert main([*words, "--out", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["start_up"].keys() == {start_up.BARE, start_up.HELP, start_up.IMPORT}
    assert found["prediction"].keys() == {"micro"}
    micro = found["prediction"]["micro"]
    seconds = {part: spread["median"] for part, spread in micro["seconds"].items()}
    assert list(seconds) == list(start_up.PREDICTION)
    assert all(value > 0 for value in seconds.values())
    assert seconds.pop("process") > sum(seconds.values())
    assert micro["checkpoint_bytes"] > 10**5
    assert micro["load_share_of_copy"] > 0
    out = capsys.readouterr().out
    for words in (found["machine"]["cpu"], "memorysam --help", "first prediction", "of copy bandwidth", "quartiles"):
        assert words in out


def test_a_process_that_fails_is_not_measured():
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        start_up.run(["-c", "1 / 0"])
