"""Everything that is fuzzed, by name."""

from .checkpoints import TARGETS as TENSORS
from .engine import Target
from .readers import TARGETS as PICTURES
from .settings import TARGETS as WORDS

TARGETS: dict[str, Target] = {**PICTURES, **WORDS, **TENSORS}
