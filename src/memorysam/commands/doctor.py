"""memorysam doctor."""

from collections.abc import Sequence
from dataclasses import dataclass

from memorysam.commands.arguments import parse, print_json

DESCRIPTION = """Look at this installation and this machine: versions, devices, limits, known conflicts.

  memorysam doctor
  memorysam doctor --json

What it prints belongs into a report of a fault. The exit code is 1 if something is wrong, else 0."""

_MARKS = {"fine": " ", "hint": "?", "problem": "!"}


@dataclass
class Arguments:
    """Arguments of `memorysam doctor`."""

    json: bool = False
    """Print JSON instead of lines."""


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    arguments = parse(Arguments, "doctor", argv, DESCRIPTION)
    from memorysam import doctor

    findings = doctor.examine()
    content = doctor.as_json(findings)
    if arguments.json:
        print_json(content)
    else:
        width = max(len(finding.about) for finding in findings)
        for finding in findings:
            print(f"{_MARKS[finding.state]} {finding.about:<{width}}  {finding.text}")
            if finding.fix:
                print(f"  {'':<{width}}  -> {finding.fix}")
        print(f"\n{content['problems']} problems (!), {content['hints']} hints (?)")
    return 1 if content["problems"] else 0
