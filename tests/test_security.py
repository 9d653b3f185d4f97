"""Nothing runs that should not: the source has no way to, and files that try are refused.

What readers do with damaged files is in tests/fuzz.
"""

import ast
import csv
import html.parser
import io
import json
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from memorysam.cli import main
from memorysam.data.cache import FOLDER, Shelf, fill
from memorysam.errors import MemorySAMError, WeightsError
from memorysam.evaluation import report
from memorysam.evaluation.page import Page
from memorysam.models import weights
from memorysam.spec import Classes
from memorysam.strict import read_yaml
from memorysam.tensors import write_tensors

from .tiny import write_dataset

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "memorysam"
CORPUS = Path(__file__).parent / "fuzz" / "corpus"


# What the source may do

ALLOWED = {
    # Names that stand in these files.
    "import by name": {"cli.py", "__init__.py", "experiments/panels.py", "app/serve.py"},
    "a process": {"training/run.py", "benchmark/start_up.py"},  # git describe; Python itself
    "imports pickle": {"data/transport.py"},  # between a process and its own workers, through no file
    "torch.export.load": {"export/torch_file.py"},  # of a file that the user has called his own
    "yaml.load": {"strict.py"},  # with its own loader, which is a stricter safe one
}
CODE_LOADERS = {
    "pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "runpy",
    "code",
    "codeop",
    "tarfile",
    "imp",
}
WORDS = {
    "eval": "code from words", "exec": "code from words", "compile": "code from words",
    "__import__": "import by name", "import_module": "import by name", "system": "a shell", "popen": "a shell",
    "unsafe_load": "yaml with code", "full_load": "yaml with code", "extractall": "an archive",
    "unpack_archive": "an archive", "read_array": "pickled arrays", "open_memmap": "pickled arrays",
}  # fmt: skip


def dangers(text):
    """Yield what a source text does that may run something, by kind."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"imports {name}" for name in names if name.split(".")[0] in CODE_LOADERS)
        if isinstance(node, ast.Name | ast.Attribute):
            word = node.id if isinstance(node, ast.Name) else node.attr
            if word in ("UnsafeLoader", "FullLoader", "Unpickler"):
                yield word
        if isinstance(node, ast.Call):
            yield from call(node)


def call(node):
    whole = ast.unparse(node.func)
    owner, _, name = whole.rpartition(".")
    said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if name in WORDS and not (name in ("eval", "compile", "exec") and owner):  # model.eval() and re.compile are others
        yield WORDS[name]
    if owner == "subprocess" or (owner == "os" and re.match("exec|spawn|fork|posix_spawn", name)):
        yield "a process"
    if said.get("shell", "False") != "False":
        yield "a shell"
    if whole in ("torch.load", "torch.jit.load", "torch.hub.load") and said.get("weights_only") != "True":
        yield f"{whole} without weights_only=True"
    if whole == "torch.export.load":  # reads pickles, and formulas as code
        yield whole
    if whole in ("yaml.load", "yaml.load_all"):
        yield "yaml.load" if said.get("Loader") == "_StrictLoader" else "yaml with code"
    if said.get("allow_pickle", "False") != "False":
        yield "pickled arrays"
    if said.get("trust_remote_code", "False") != "False":
        yield "code from a hub"


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_the_source_has_no_way_to_run_what_it_reads(path):
    name = path.relative_to(SOURCE).as_posix()
    assert [danger for danger in dangers(path.read_text(encoding="utf-8")) if name not in ALLOWED.get(danger, ())] == []


def test_what_is_allowed_is_still_done():
    done = {
        path.relative_to(SOURCE).as_posix(): set(dangers(path.read_text(encoding="utf-8")))
        for path in SOURCE.rglob("*.py")
    }
    for danger, names in ALLOWED.items():
        assert {name for name in names if danger in done[name]} == names, f"{danger}: this list is out of date"


@pytest.mark.parametrize(
    "text",
    [
        "eval(words)", "exec(words)", "compile(a, b, 'exec')", "__import__(name)", "importlib.import_module(name)",
        "import pickle", "from pickle import loads", "import joblib.memory", "os.system(line)", "os.popen(line)",
        "subprocess.run(words)", "os.execv(a, b)", "run(line, shell=True)", "run(line, shell=flag)",
        "torch.load(path)", "torch.load(path, weights_only=False)", "torch.load(path, weights_only=flag)",
        "torch.hub.load(a, b)", "torch.export.load(path)", "yaml.load(text)", "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)", "yaml.load(text, yaml.FullLoader)", "np.load(path, allow_pickle=True)",
        "np.lib.format.read_array(file)", "archive.extractall(folder)", "shutil.unpack_archive(path)", "import tarfile",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)  # fmt: skip
def test_each_way_to_run_something_is_noticed(text):
    assert list(dangers(text)) != []


def test_what_is_harmless_is_not_noticed():
    assert (
        list(dangers("model.eval(); re.compile(x); torch.load(p, weights_only=True); yaml.safe_load(t); np.load(p)"))
        == []
    )


# Files that try


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", sorted(CORPUS.glob("pickle/bomb*")), ids=lambda path: path.stem)
def test_pickles_do_not_run_and_are_no_duds(path, here):
    with pytest.raises(WeightsError, match="anything that would have to run code is refused"):
        weights.load(path)
    assert not (here / "canary").exists()
    if path.stem == "bomb-alone":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert (here / "canary").exists()


@pytest.mark.parametrize("tensor", [torch.eye(3).to_sparse(), torch.empty(3, device="meta")], ids=["sparse", "meta"])
def test_tensors_without_plain_numbers_are_no_weights(tensor, tmp_path):
    torch.save({"model": {"a": tensor}}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="something else than weights"):
        weights.load(tmp_path / "x.pt")


@pytest.mark.parametrize("name", ["apply", "new"])
def test_yaml_does_not_run_and_is_no_dud(name, here):
    path = CORPUS / "settings" / f"{name}.yaml"
    with pytest.raises(MemorySAMError, match="tag"):
        read_yaml(path)
    assert not (here / "canary").exists()
    yaml.load(path.read_text(), Loader=yaml.UnsafeLoader)
    assert (here / "canary").exists()


def test_names_in_a_checkpoint_are_looked_up_and_never_imported(here):
    (here / "evil.py").write_text("open('canary', 'w')")
    sys.path.insert(0, str(here))
    try:
        for key in ("_target_", "class_path", "target", "architectures", "auto_map"):
            header = {"format": 1, key: "evil.Model", "model": {"name": "evil.Model", key: "evil.Model"}, "task": {}}
            write_tensors(here / "x.safetensors", {"a": torch.zeros(1)}, header)
            with pytest.raises(MemorySAMError):
                weights.load(here / "x.safetensors")
        (here / "folder").mkdir()
        config = {"model_type": "sam2", "auto_map": {"AutoModel": "evil.Model"}, "architectures": ["evil.Model"]}
        (here / "folder" / "config.json").write_text(json.dumps(config))
        (here / "folder" / "evil.py").write_text("open('canary', 'w')")
        save_file({"a": torch.zeros(1)}, here / "folder" / "model.safetensors", metadata={"class": "evil.Model"})
        with pytest.raises(MemorySAMError, match="not of a known kind"):
            weights.load(here / "folder")
    finally:
        sys.path.remove(str(here))
    assert not (here / "canary").exists()
    assert "evil" not in sys.modules


def test_a_run_folder_is_read_and_never_run(here, capsys):
    """What lies in a folder of weights beside them is not even opened, however it is called."""
    for name in (
        "sitecustomize.py",
        "usercustomize.py",
        "conftest.py",
        "settings.py",
        "torch.py",
        "environment.py",
        ".env",
    ):
        (here / name).write_text("open('canary', 'w')")
    (here / "settings.yaml").write_text("a: !!python/object/apply:os.system ['touch canary']\n")
    (here / "environment.json").write_text('{"command": ["touch", "canary"]}')
    write_tensors(here / "best.safetensors", {"a": torch.zeros(1)}, {"format": 1})
    (here / "best.safetensors.py").write_text("open('canary', 'w')")
    with pytest.raises(MemorySAMError):
        weights.load(here)
    assert [main([verb, "."]) for verb in ("info", "evaluate")] == [2, 2]
    assert "Traceback" not in capsys.readouterr().err
    assert not (here / "canary").exists()


def test_a_cache_is_not_written_outside_its_folder(tmp_path):
    path = write_dataset(tmp_path / "data", train=1, val=1)
    content = yaml.safe_load(path.read_text()) | {"splits": {"../../../out": "train.txt"}}
    path.write_text(yaml.safe_dump(content))
    assert main(["cache", str(path)]) == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]
    assert not (tmp_path / "data" / FOLDER).exists()


def test_a_changed_word_in_the_index_of_a_cache_is_no_array(tmp_path):
    """Bytes are the same, but not what they mean."""
    (tmp_path / "a.png").write_bytes(b"x")
    paths = {"a": [tmp_path / "a.png"]}
    array = np.arange(24, dtype=np.uint16).reshape(2, 4, 3)
    fill(tmp_path, "s", "r", paths, lambda _: array, lambda: None)
    index = tmp_path / "s.jsonl"
    whole = index.read_text()
    np.testing.assert_array_equal(Shelf(tmp_path, "s", "r").get("a", paths["a"]), array)
    for old, new in (
        ("<u2", ">u2"),
        ("<u2", "<i2"),
        ("[2, 4, 3]", "[4, 2, 3]"),
        ("[2, 4, 3]", "[3, 4, 2]"),
        ('"<u2"', '"01,u2"'),
        ('"<u2"', '"O"'),
        ('"<u2"', '"x"'),
        ("[2, 4, 3]", "[-2, -4, 3]"),
        ("[2, 4, 3]", "[1e9, 4, 3]"),
        ('"offset": 0', '"offset": -48'),
    ):
        assert old in whole
        index.write_text(whole.replace(old, new))
        assert Shelf(tmp_path, "s", "r").get("a", paths["a"]) is None, new


def test_a_damaged_index_does_not_make_a_cache_grow(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "b.png").write_bytes(b"x")
    paths = {name: [tmp_path / f"{name}.png"] for name in "ab"}
    fill(tmp_path, "s", "r", {"a": paths["a"]}, lambda _: np.zeros((2, 2, 1), np.uint8), lambda: None)
    index = tmp_path / "s.jsonl"
    index.write_text(index.read_text().replace('"offset": 0', '"offset": 1000000000'))
    fill(tmp_path, "s", "r", paths, lambda _: np.ones((2, 2, 1), np.uint8), lambda: None)
    assert (tmp_path / "s.bin").stat().st_size == 8
    assert all(Shelf(tmp_path, "s", "r").get(name, paths[name]).all() for name in "ab")


def test_light_checkpoints_that_name_each_other_come_to_an_end(tmp_path):
    task = json.loads((CORPUS / "header" / "light-on-itself.json").read_text())
    for name, other in (("a", "b"), ("b", "a"), ("c", "c")):
        header = {**task, "base": {**task["base"], "id": f"{other}.safetensors"}}
        write_tensors(tmp_path / f"{name}.safetensors", {"x": torch.zeros(1)}, header)
        with pytest.raises(WeightsError):
            weights.load(tmp_path / f"{name}.safetensors")
    with pytest.raises(WeightsError, match="is a light checkpoint itself"):
        weights.load(tmp_path / "a.safetensors")


# What is written for others

BAD = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"


def test_a_page_shows_words_and_never_runs_them(tmp_path):
    page = Page(BAD)
    page.heading(BAD)
    page.words(BAD)
    page.command(BAD)
    page.table([BAD, "share"], [[BAD, 3.0]], bar=1)
    page.picture(np.zeros((2, 2, 3), np.uint8), BAD)
    page.legend(Classes(names=(BAD, "road")))
    page.save(tmp_path / "x.html")

    tags, attributes, words = [], [], []

    class Parser(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append(tag)
            attributes.extend(attrs)

        def handle_data(self, data):
            words.append(data)

    parser = Parser()
    parser.feed((tmp_path / "x.html").read_text())
    assert "script" not in tags
    assert tags.count("img") == 1
    assert {name for name, _ in attributes} <= {"lang", "charset", "class", "style", "alt", "src"}
    assert ("alt", BAD) in attributes
    assert sum(BAD in word for word in words) == 9  # title, h1, h2, p, pre, th, td, caption, legend


def test_csv_keeps_names_as_they_are():
    """Names come back from a CSV file as they went in: with commas, quotes, line breaks, and where a spreadsheet would
    take them for a formula, which SECURITY.md tells."""
    names = ["=1+1", "a,b", 'a"b', "a\nb", "+x", "@x", "-x"]
    text = report.as_csv([{"class": name, "iou": 1.0} for name in names])
    assert [line["class"] for line in csv.DictReader(io.StringIO(text))] == names
