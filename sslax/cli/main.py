"""The command `sslax`: `sslax COMMAND ...`. It imports a command only to run it, so help and typing errors answer at once."""

import importlib
import sys
from collections.abc import Sequence

# The commands and their descriptions. The module sslax/cli/COMMAND.py has a function `main()`.
COMMANDS = {
    "pretrain": "Train a network on images without labels.",
    "evaluate": "Evaluate a run's features with few labels and with all labels.",
    "finetune": "Train a classifier on a run's network.",
    "embed": "Write the features of images to a file, and search them.",
    "export": "Write a run's backbone as PyTorch weights.",
    "compare": "Compare several runs on one page.",
    "launch": "Pretrain in several processes on this machine.",
    "configs": "List the named configurations.",
}


def usage() -> str:
    """The text of `sslax --help`."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(["usage: sslax COMMAND ...", "", *lines, "", "`sslax COMMAND --help` lists a command's options."])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the arguments name; None uses the arguments of the process."""
    name, *rest = arguments or sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        return
    if name == "--version":
        from sslax import __version__

        print(f"sslax {__version__}")
        return
    if name not in COMMANDS:
        import difflib

        near = difflib.get_close_matches(name, COMMANDS, n=2)
        hint = f"did you mean {' or '.join(near)}? It" if near else "it"
        print(
            f"error: COMMAND is {name}, which does not exist; {hint} must be one of {', '.join(COMMANDS)}.",
            file=sys.stderr,
        )
        sys.exit(2)
    sys.argv = [f"sslax {name}", *rest]
    importlib.import_module(f"sslax.cli.{name}").main()
