"""memorysam.load: from one path to what predicts, be it a checkpoint or an exported file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from memorysam.errors import SettingsError, listing
from memorysam.export.exported import SUFFIXES, Exported, open_exported

if TYPE_CHECKING:
    from memorysam.predict import Predictor


def load(
    path: str | Path, *, device: str = "auto", verbose: bool = True, trust: bool = False, **more: Any
) -> "Predictor | Exported":
    """Load what predicts. Of an `.onnx` file PyTorch is not imported.

    Args:
        path: a checkpoint or whatever else `loading.load` takes, or a file that `memorysam export` has written.
        device: "auto" takes a GPU where there is one.
        verbose: print what was loaded.
        trust: of a `.pt2` file: that nobody else has made or changed it.
        more: for checkpoints; see `loading.load`: modalities, classes, image_size, base, settings of the model.

    Raises:
        WeightsError, SettingsError: see `loading.load` and `export.exported.open_exported`.
    """
    file = Path(path)
    if file.suffix not in SUFFIXES:
        from memorysam import loading

        return loading.load(path, device=device, verbose=verbose, **more)
    given = [name for name, value in more.items() if value is not None]
    if given:
        raise SettingsError(
            f"an exported file is for one task and one size: {listing(given)} cannot be changed",
            where=file,
            fix="export the checkpoint again",
        )
    found = open_exported(file, device, trust)
    if verbose:
        size = "x".join(map(str, found.task.image_size))
        print(f"exported {file.suffix[1:]}, {', '.join(found.modalities)}, {size}")  # noqa: T201
    return found
