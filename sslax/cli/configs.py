"""List the named configurations: `sslax configs`."""

import dataclasses
import sys

import tyro
from rich.table import Table

from sslax.cli import terminal
from sslax.recipes import CONFIGS
from sslax.recipes.published import PUBLISHED, told


@dataclasses.dataclass(frozen=True)
class Options:
    """List the named configurations: what each one trains, and which results its source reports."""


def table() -> Table:
    """A table with a row for each configuration."""
    rows = Table(title="named configurations")
    rows.add_column("name", no_wrap=True)
    for title in ("method", "data", "network", "epochs", "batch", "its source reports"):
        rows.add_column(title, justify="right" if title in ("epochs", "batch") else "left")
    for name, config in CONFIGS.items():
        entry = PUBLISHED.get(name)
        reported = "" if entry is None else f"{'; '.join(map(told, entry.figures))} ({entry.source})"
        method, network = type(config.method).__name__, config.network.name
        rows.add_row(name, method, config.data, network, str(config.epochs), str(config.batch_size), reported)
    return rows


def main() -> None:
    """The command line."""
    tyro.cli(Options, args=sys.argv[1:], prog="sslax configs")
    terminal.run_script(lambda: terminal.console.print(table()), compiles=False)


if __name__ == "__main__":
    main()
