"""A page that is wrong is found out, and the message says where."""

import json

import pytest

from .blocks import blocks, commands
from .story import Story

ABOUT = {"a": 1, "b": [{"c": "x", "d": None}], "e": {"f": 1.5, "g": 2}}


@pytest.fixture
def tell(stage, tmp_path):
    """Play a page; line 5 is the first one of its first block."""

    def call(text):
        page = tmp_path / "page.md"
        page.write_text(f"# Title\n\nWords.\n{text}")
        (stage.home / "about.json").write_text(json.dumps(ABOUT))
        Story(page, stage).run()

    return call


def fenced(language, *lines):
    return "\n".join([f"```{language}", *lines, "```", ""])


HELP = fenced("sh", "memorysam --version")
WRONG = {
    "an option": (fenced("sh", "memorysam --help", "memorysam info micro --jsno"), "page.md:6: .*--jsno"),
    "a verb": (fenced("sh", "memorysam inform micro"), "page.md:5: (.|\n)*no verb 'inform'"),
    "a value": (fenced("sh", "memorysam info --model memorysam-sam3-tiny"), "page.md:5: .*sam3-tiny"),
    "a name of what comes out": (
        fenced("sh", "memorysam view scenes --size 64 64 --out a.png")
        + fenced("python", "import cv2", 'cv2.imread("b.png").shape'),
        "page.md:9: AttributeError",
    ),
    "a file": (fenced("sh", "", "memorysam \\", "  train nowhere.yaml --out runs/new"), "page.md:6: .*nowhere.yaml"),
    "a program that nobody tries": (fenced("sh", "curl example.org"), "page.md:5: nobody knows .*curl"),
    "a second command in a line": (fenced("sh", "memorysam --help && rm x"), "page.md:5: nobody knows .*rm x"),
    "a quotation mark": (fenced("sh", "memorysam info 'micro"), "page.md:5: No closing quotation"),
    "an extra": (fenced("sh", "pip install 'memorysam[exports]'"), "page.md:5: there is no extra exports"),
    "a package": (fenced("sh", "pip install numpi"), "page.md:5: what is numpi"),
    "a list of packages": (fenced("sh", "pip install -r more.txt"), "page.md:5: there is no more.txt"),
    "a target": (fenced("sh", "make demonstration"), "page.md:5: .*demonstration"),
    "a script": (fenced("sh", "python benchmarks/potato.py"), "page.md:5: there is no benchmarks/potato.py"),
    "a module": (fenced("sh", "python -m tests.fuss all"), "page.md:5: .*tests.fuss"),
    "an option of a script": (
        fenced("sh", "python benchmarks/share_sizes.py --sensors 4"), "page.md:5: (.|\n)*arguments: --sensors",
    ),
    "what no command above has made": (fenced("sh", ". .venv/bin/activate"), "page.md:5: no command above makes"),
    "an attribute": (
        fenced("python", 'predictor = memorysam.load("micro", verbose=False)', "", "predictor.forecast({})"),
        "page.md:7: AttributeError: .*forecast",
    ),
    "a name": (fenced("python", "print(predictor)"), "page.md:5: NameError: .*predictor"),
    "syntax": (fenced("python", "x = 1", "y = = 2"), "page.md:6: invalid syntax"),
    "a key of settings": (fenced("yaml", "train: {epoch: 3}"), "page.md:5: (.|\n)*epoch"),
    "a key of data": (
        fenced("yaml", "name: a", "modalities: {rgb: {path: '{id}.png', hi: 3}}", "splits: {a: a.txt}", "classes: [b]"),
        "page.md:5: (.|\n)*hi",
    ),
    "what a file in the repository says": (
        fenced('yaml title="configs/potholes.yaml"', "train: {epochs: 3}"), "page.md:5: configs/potholes.yaml says",
    ),
    "the head of a table": (
        fenced("sh", "memorysam info --model memorysam-micro --classes 3")
        + fenced('text title="Output"', "MemoriSAM"),
        "page.md:8: the command above does not print this",
    ),
    "a language": (fenced("bash", "memorysam --help"), "page.md:5: this is fenced as 'bash'"),
    "none": (fenced("", "memorysam --help"), "page.md:5: this is fenced as ''"),
    "a key that is not there": (
        fenced('json title="about.json"', '{"a": 2, "z": 1, ...}'), "page.md:5: there is no z",
    ),
    "a key that is left out": (
        fenced('json title="about.json"', '{"a": 2, "b": [{"c": "y", ...}, ...], "e": {"f": 1}}'),
        "page.md:5: e.g is left out",
    ),
    "a kind of value": (fenced('json title="about.json"', '{"a": "2", ...}'), "page.md:5: a is 1, no str"),
    "the file of JSON": (fenced("json", "{}"), "page.md:5: what file is this in"),
    "no JSON": (fenced('json title="about.json"', '{"a": 2,', ' "b": }'), "page.md:6: this is no JSON"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_the_message_names_page_and_line_of(what, tell):
    text, words = WRONG[what]
    with pytest.raises(AssertionError, match=words):
        tell(text)


def test_what_is_right_passes_whatever_its_numbers(tell):
    tell(HELP + fenced('text title="Output"', "9.9.9"))
    tell(fenced('json title="about.json"', '{"a": 7, "b": [{"c": "y", ...}, ...], "e": {"f": 0, "g": 3}}'))
    tell(fenced("yaml", "train: {epochs: 3}") + fenced("text", "anything"))


def test_a_fence_that_is_never_closed_is_told(tell):
    with pytest.raises(AssertionError, match=r"page.md:4: this fence is never closed"):
        tell("```sh\nmemorysam --help\n")


def test_blocks_in_lists_and_longer_fences_and_joined_lines(tmp_path):
    page = tmp_path / "page.md"
    page.write_text('- a list\n\n    ````sh title="x"\n    a \\\n      b  # c\n    ```\n    d && e\n    ````\n')
    (block,) = blocks(page)
    assert (block.language, block.title, block.line) == ("sh", "x", 4)
    assert block.text == "a \\\n  b  # c\n```\nd && e\n"
    assert [(one.where, one.text) for one in commands(block)] == [
        ("page.md:4", "a b"), ("page.md:6", "```"), ("page.md:7", "d"), ("page.md:7", "e"),
    ]  # fmt: skip
