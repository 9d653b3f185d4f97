"""How long it takes until something happens: the command line's help, the import, the first prediction.

Everything runs in fresh processes, again and again, in turns. Files are in the system's memory after the first time,
which does not count.
"""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from memorysam.benchmark.machine import copy_rate, describe
from memorysam.benchmark.plan import Plan, make_model
from memorysam.benchmark.timing import Progress, Spread
from memorysam.models import weights
from memorysam.models.factory import backbone_of

BARE = "python, nothing else"
HELP = "memorysam --help"
IMPORT = "import memorysam"
COMMANDS = {
    BARE: ["-c", "pass"],
    HELP: ["-m", "memorysam", "--help"],
    IMPORT: ["-c", "import memorysam"],
}
"""What the interpreter is told."""
PREDICTION = ("process", "imports", "load", "first prediction", "second prediction")
"""Seconds of the whole process, and of its parts."""
_SMALL = "micro"


def start_up(plan: Plan, progress: Progress) -> dict[str, Any]:
    """Measure on the CPU, with weights as `plan` says: of its backbone, and of the micro one.

    Raises:
        MemorySAMError: weights that cannot be read.
    """
    plan = replace(plan, device=torch.device("cpu"))
    plans = {backbone_of(plan.model): plan}
    if _SMALL not in plans:
        plans[_SMALL] = replace(plan, model=plan.model.model_copy(update={"backbone": _SMALL, "weights": None}))
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    parts: dict[str, dict[str, list[float]]] = {name: {part: [] for part in PREDICTION} for name in plans}
    rounds = range(rounds_of(plan))
    total = len(rounds) * (len(COMMANDS) + len(plans))
    done = 0
    with TemporaryDirectory(prefix="memorysam-") as folder:
        files = {name: Path(folder) / f"{name}.safetensors" for name in plans}
        for name, own in plans.items():
            weights.save(files[name], make_model(own))
        for _ in rounds:
            for name, words in COMMANDS.items():
                took, _ = run(words)
                seconds[name] += [took]
                progress(done := done + 1, total)
            for name, file in files.items():
                took, out = run(["-m", "memorysam.benchmark.first_prediction", str(file)])
                for part, value in {"process": took, **json.loads(out)}.items():
                    parts[name][part] += [value]
                progress(done := done + 1, total)
        sizes = {name: file.stat().st_size for name, file in files.items()}
    rate = copy_rate(plan.device)
    return {
        "machine": describe(plan.device),
        "plan": plan.as_dict(),
        "limits": {"copy_bytes_per_s": rate},
        "start_up": {name: Spread.of(values[-plan.repeats :]).as_dict() for name, values in seconds.items()},
        "prediction": {
            name: {
                "checkpoint_bytes": sizes[name],
                "seconds": {part: Spread.of(values[-plan.repeats :]).as_dict() for part, values in found.items()},
                "load_share_of_copy": 2 * sizes[name] / rate / Spread.of(found["load"][-plan.repeats :]).median,
            }
            for name, found in parts.items()
        },
    }


def rounds_of(plan: Plan) -> int:
    """Return how often each process runs: once more than counts, so that files are in the system's memory."""
    return plan.repeats + 1


def run(words: list[str]) -> tuple[float, str]:
    """Run a fresh interpreter; return its seconds and what it printed."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)  # noqa: S603
    took = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"python {' '.join(words)} failed:\n{done.stderr}")
    return took, done.stdout
