"""An embedded procedural world: driving scenes for colour, depth, event and laser sensors, in any number and size."""

from memorysam.data.scenes.source import ScenesSource
from memorysam.data.scenes.write import write_scenes

__all__ = ["ScenesSource", "write_scenes"]
