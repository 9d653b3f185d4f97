"""Scenes to try a model on, where no images are at hand: `memorysam predict micro --example`."""

from pathlib import Path

from memorysam.errors import SettingsError, listing
from memorysam.spec import Size, Task

COUNT = 5
"""One for each weather and light."""
SIZE: Size = (192, 256)


def write_example(task: Task, folder: Path) -> dict[str, Path]:
    """Render scenes that no model was trained on, as files: a folder of PNGs for each sensor, and one of the truth.

    Args:
        task: of the model; it gets those of its sensors that the rendered scenes have.
        folder: to write to.

    Returns:
        Modality -> folder.

    Raises:
        SettingsError: a model of other sensors.
    """
    from memorysam.data.scenes.names import CLASSES, MODALITIES
    from memorysam.data.scenes.source import ScenesSource
    from memorysam.evaluation.pictures import colourise, encode_png
    from memorysam.files import make_folder, write_bytes

    rendered = {modality.name: modality.channels for modality in MODALITIES}
    names = [m.name for m in task.modalities if m.role == "sensor" and rendered.get(m.name) == m.channels]
    if not names:
        raise SettingsError(
            f"there is no example for a model of {listing(task.sensors)}",
            where="--example",
            expected=f"a model of one or more of: {listing(rendered)}",
            fix="name images of your own instead",
        )
    source = ScenesSource("example", COUNT, SIZE)
    for index, name in enumerate(source.ids):
        raw = source.read(index, names)
        parts = dict(raw.images)
        if raw.label is not None:
            parts["truth"] = colourise(raw.label, CLASSES)
        for kind, image in parts.items():
            make_folder(folder / kind)
            write_bytes(folder / kind / f"{name.replace('/', '_')}.png", encode_png(image))
    return {name: folder / name for name in names}
