"""The rooms of the house, and which of them may import which; read from the source, nothing is imported."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "memorysam"
FILES = {path.relative_to(SOURCE).as_posix(): path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")}

VOCABULARY = {"errors", "spec", "config", "strict", "files", "tensors"}
CORE = VOCABULARY | {"models", "data", "evaluation"}
WORK = CORE | {"prediction", "predict", "loading", "training"}
MAY_IMPORT = {
    "errors": set(),
    "spec": {"errors"},
    "config": {"errors", "spec"},
    "strict": {"errors"},
    "files": {"errors"},
    "tensors": {"errors", "files"},
    "models": VOCABULARY | {"models"},
    "data": VOCABULARY | {"data"},
    "evaluation": CORE,
    "prediction": CORE - {"models", "tensors"},
    "predict": CORE | {"prediction"},
    "loading": CORE | {"predict"},
    "export": CORE | {"prediction", "export"},
    "opening": {"errors", "loading", "predict", "export"},
    "training": CORE | {"training"},
    "experiments": WORK | {"experiments"},
    "benchmark": WORK | {"benchmark"},
    "app": CORE | {"prediction", "predict", "loading", "app"},
    "demo": WORK,
    "doctor": {"__init__"},
    "commands": WORK | {"demo", "doctor", "experiments", "benchmark", "app", "export", "opening", "commands"},
    "cli": {"errors", "commands", "__init__"},  # of the package itself: its version
    "__main__": {"cli"},
    "__init__": {"errors", "spec", "prediction", "predict", "opening"},
}
ONLY_IN = {
    "transformers": {
        *(f"models/{name}.py" for name in ("attention", "mit", "sam", "sam2", "sam2_sizes", "weights")),
        "benchmark/baseline.py",
    },
    "huggingface_hub": {"models/hub.py", "models/card.py"},
    "cv2": {name for name in FILES if name.startswith(("data/", "evaluation/"))},
    **{name: {file for file in FILES if file.startswith("export/")} for name in ("onnx", "onnxruntime", "onnxscript")},
    "tyro": {name for name in FILES if name.startswith("commands/")},
}
LONGEST = 350


def room_of(file):
    return file.split("/")[0].removesuffix(".py")


def imported(text):
    """Dotted names of all modules that a source text imports, anywhere in it; names taken from a module count too."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where an arrow leads"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows(text):
    """Rooms that a source text imports from."""
    for name in imported(text):
        package, _, inner = name.partition(".")
        if package == "memorysam":
            room = inner.split(".")[0]
            yield room if room in MAY_IMPORT else "__init__"


def forbidden(file, text):
    return [f"{file}: {room_of(file)} -> {room}" for room in arrows(text) if room not in MAY_IMPORT[room_of(file)]]


def test_every_file_is_in_a_known_room():
    assert {room_of(file) for file in FILES} == MAY_IMPORT.keys()


@pytest.mark.parametrize("file", sorted(FILES))
def test_no_arrow_leads_the_wrong_way(file):
    assert not forbidden(file, FILES[file])


def test_models_and_data_do_not_know_each_other():
    for ours, theirs in (("models", "data"), ("data", "models")):
        assert {file for file, text in FILES.items() if room_of(file) == ours and theirs in arrows(text)} == set()


def test_nobody_imports_the_command_line_but_main():
    assert {file for file, text in FILES.items() if "cli" in arrows(text)} == {"__main__.py"}


@pytest.mark.parametrize("package", ONLY_IN)
def test_a_package_is_imported_in_its_places_only(package):
    users = {file for file, text in FILES.items() if package in {name.split(".")[0] for name in imported(text)}}
    assert users, f"nobody imports {package}: this rule is out of date"
    assert users <= ONLY_IN[package]


def test_no_file_is_long():
    lengths = {file: len(text.splitlines()) for file, text in FILES.items()}
    assert {file: length for file, length in lengths.items() if length > LONGEST} == {}


@pytest.mark.parametrize(
    ("file", "text", "arrow"),
    [
        ("models/new.py", "from memorysam.data.dataset import Raw", "models -> data"),
        ("models/new.py", "from memorysam import data", "models -> data"),
        ("models/new.py", "import memorysam", "models -> __init__"),
        ("data/scenes/new.py", "import memorysam.models.base as base", "data -> models"),
        ("training/new.py", "def late():\n    from memorysam.predict import load", "training -> predict"),
        ("spec.py", "if TYPE_CHECKING:\n    from memorysam.config import build", "spec -> config"),
        ("commands/new.py", "try:\n    import memorysam.cli\nexcept ImportError:\n    pass", "commands -> cli"),
    ],
)
def test_a_wrong_arrow_is_noticed_and_named(file, text, arrow):
    assert forbidden(file, text) == [f"{file}: {arrow}"]


def test_what_is_allowed_is_not_an_arrow():
    assert forbidden("models/new.py", "import os\nfrom memorysam.models.lora import LoRAQKV") == []
