"""memorysam share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from memorysam.commands.arguments import parse, print_json
from memorysam.errors import SettingsError

DESCRIPTION = """Make a trained model ready for others: its checkpoint without the state of training, a model card
filled from the run, and a short description; in a folder, or on the Hugging Face Hub.

  memorysam share runs/potholes --out shared/potholes
  memorysam share runs/potholes --to user/potholes --private
  memorysam share runs/rgbdel --out rgbdel-light --light --base facebook/sam2.1-hiera-base-plus

--out uploads nothing: look at the folder first, then use --to, for which `hf auth login` or HF_TOKEN must give access.
The light form leaves out what is equal to the weights that training started from; whoever loads it needs them."""


@dataclass
class Arguments:
    """Arguments of `memorysam share`."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """Run folder or checkpoint."""
    to: str | None = None
    """Name on the Hub: user/name."""
    out: Path | None = None
    """Instead: a folder that is not there or empty."""
    light: bool = False
    """Leave out what is equal to the weights that training started from."""
    half: bool = False
    """Store numbers as float16: half the size, and seldom another class at a pixel."""
    base: str | None = None
    """These weights, where others than the run's shall be named or they have moved: a file, a folder or a Hub id."""
    license: str | None = None
    """Of the model, as the Hub abbreviates it: apache-2.0, mit, cc-by-4.0; by default that of its base."""
    private: bool = False
    """With --to: a new repository is seen by its owner only."""
    update: bool = False
    """With --to: add a commit to a repository that is there already."""
    revision: str | None = None
    """With --to: a branch; made if it is not there."""
    message: str | None = None
    """With --to: what the commit says."""
    overwrite: bool = False
    """With --out: replace a model that was shared there before."""
    json: bool = False
    """Print JSON instead of words."""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    arguments: Arguments = parse(Arguments, "share", argv, DESCRIPTION)
    _check(arguments)
    from memorysam.loading import load
    from memorysam.models import hub, share, weights

    if arguments.to is not None:
        hub.require_access(arguments.to)
    file = weights.locate(arguments.checkpoint)
    needs_base = "base" in weights.read_about(file)
    model = load(file, device="cpu", verbose=False, base=arguments.base if needs_base else None).model
    more: dict[str, Any] = {
        "light": arguments.light, "half": arguments.half, "base": arguments.base, "license": arguments.license,
    }  # fmt: skip
    if arguments.to is not None:
        where, sizes = share.push(
            model,
            arguments.to,
            private=arguments.private,
            revision=arguments.revision,
            commit_message=arguments.message,
            exist_ok=arguments.update,
            **more,
        )
        name = arguments.to + (f"@{arguments.revision}" if arguments.revision else "")
    else:
        assert arguments.out is not None  # noqa: S101  one of the two is there
        sizes = share.save(model, arguments.out, overwrite=arguments.overwrite, **more)
        where = name = str(arguments.out)
    if arguments.json:
        print_json({"shared": where, "files": sizes})
        return 0
    for path, size in sizes.items():
        print(f"{path:<18} {size:>14,} bytes")
    print(f'written to {where}\nnext: read {share.CARD}, and memorysam.load("{name}")')
    return 0


def _check(arguments: Arguments) -> None:
    """Raise where options do not go together.

    Raises:
        SettingsError: neither or both of --to and --out, or an option of the other one.
    """
    if (arguments.to is None) == (arguments.out is None):
        raise SettingsError(
            "give either --to, a name on the Hub, or --out, a folder", fix="--out uploads nothing: begin with it"
        )
    only_to = ("private", "update", "revision", "message")
    wrong = only_to if arguments.to is None else ("overwrite",)
    for option in wrong:
        if getattr(arguments, option):
            other = "--to" if arguments.to is None else "--out"
            raise SettingsError(f"--{option} means nothing without {other}", where=f"--{option}", fix="leave it out")
