"""The command line: verbs to functions. Heavy libraries are imported by the verb that needs them.

Exit codes: 0 done, 2 a mistake that the message explains, 130 and 143 stopped by Ctrl-C and SIGTERM.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import FrameType

from memorysam import __version__
from memorysam.errors import MemorySAMError, did_you_mean

VERBS = {
    "demo": "train, evaluate and predict on the built-in driving scenes; a tour of a few minutes",
    "train": "train a model from a settings file",
    "evaluate": "score a checkpoint on a data set",
    "predict": "segment images with a checkpoint or an exported file",
    "export": "write a trained model as one ONNX graph for other programs",
    "app": "look at a model in the browser: sensors off, noise, confidence, attention",
    "view": "look at a data set in the browser, or write a sheet of its pictures",
    "check-data": "look for mistakes in a data set before training on it",
    "cache": "decode a data set once, for faster reading",
    "reproduce": "run a table of the paper and set it beside what was published",
    "compare": "train and score all systems on the same scenes: one table, one curve",
    "make-scenes": "write the built-in driving scenes to disk, in DELIVER's layout",
    "benchmark": "measure speed and memory beside a straightforward baseline and the machine's limits",
    "share": "make a folder or a Hugging Face repository of a trained model, with a model card",
    "info": "say what a checkpoint or a model is made of",
    "report": "a page about a run: curves, scores, its worst and best images",
    "completion": "print what lets bash or zsh complete verbs, options and names",
    "doctor": "look at this installation and this machine for known problems",
}

USAGE = f"""memorysam {__version__}: multi-modal semantic segmentation with SAM2

usage: memorysam VERB [options]        memorysam VERB --help tells more

{chr(10).join(f"  {verb:<12} {help_text}" for verb, help_text in VERBS.items())}

Start with: memorysam demo
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except MemorySAMError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except SystemExit as stop:  # the argument parser, after it has said why
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt as stop:
        print("stopped", file=sys.stderr)
        return 128 + (stop.args[0] if stop.args else signal.SIGINT)
    except BrokenPipeError:  # piped into `head`; nor shall the interpreter's own flush at the end complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0 if arguments else 2
    verb, rest = arguments[0], arguments[1:]
    if verb in ("-V", "--version", "version"):
        print(__version__)
        return 0
    if verb not in VERBS:
        print(f"memorysam: there is no verb {verb!r}; {did_you_mean(verb, VERBS)}", file=sys.stderr)
        return 2
    command: Callable[[list[str]], int] = import_module(f"memorysam.commands.{verb.replace('-', '_')}").main
    return command(rest)


def run() -> None:
    """Entry point of the `memorysam` command."""
    _handle_signals(_stop)
    code = main()
    _handle_signals(lambda _number, _frame: os._exit(code))  # all is done, and libraries are being unloaded
    sys.exit(code)


def _handle_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as for a job in the background
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    """Stop by Ctrl-C or SIGTERM, where a verb has no better way; `finally` blocks get their turn.

    Not within an import: there an exception may be swallowed, or leave a library half loaded and come out as another.
    The process ends on the spot instead; files are written in one step each, or not at all.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, b"stopped\n")
            os._exit(128 + number)
        frame = frame.f_back
    raise KeyboardInterrupt(number)
