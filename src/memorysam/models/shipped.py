"""Models that come with the package, by name: a folder each, as `models.share` writes them."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "shipped"


def shipped() -> dict[str, Path]:
    """Return the folders of the models that come with the package, by name."""
    return {path.parent.name: path.parent for path in sorted(FOLDER.glob("*/model.safetensors"))}
