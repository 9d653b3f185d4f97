"""Comments beside fields, mostly their shapes, as what the reference says of them: so each is written once."""

import re
from typing import Any

from griffe import Attribute, Docstring, Extension

_COMMENT = re.compile(r"\S  # (?!noqa|fmt:|type:)(.+)$")
_SHAPE = re.compile(r"\[[^\]]*\]")


class Comments(Extension):
    """Gives `logits: Tensor  # [B, C, H, W]` its comment as a docstring, where it has no other."""

    def on_attribute_instance(self, *, attr: Attribute, **_: Any) -> None:
        """Look at the last line of a field."""
        said = _COMMENT.search(attr.lines[-1]) if attr.docstring is None and attr.lines else None
        if said and attr.parent is not None and attr.parent.is_class:
            attr.docstring = Docstring(_SHAPE.sub(lambda shape: f"`{shape[0]}`", said[1]) + ".", parent=attr)
