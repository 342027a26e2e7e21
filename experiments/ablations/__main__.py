"""List the papers' tables and the cost of each: `python -m experiments.ablations`."""

import dataclasses

import tyro
from rich.table import Table as Printed

from experiments.ablations import page, show
from experiments.ablations.catalogue import TABLES
from experiments.ablations.grid import Options as RunOptions
from experiments.ablations.grid import grid
from experiments.ablations.scales import SCALES
from sslax.cli import terminal
from sslax.files import expanded


@dataclasses.dataclass(frozen=True)
class Options:
    """The papers' tables, one command each, with the cost: measured if there are figures, otherwise the number of runs."""

    results: str = "results/ablations"
    """Folder with published figures."""


def run(options: Options) -> None:
    """Print the list."""
    found = page.read(expanded(options.results))
    printed = Printed(
        title="python -m experiments.ablations.NAME --scale SCALE",
        caption="minutes of the runs one after another, as measured, or how many runs",
    )
    printed.add_column("NAME")
    printed.add_column("what")
    for name in SCALES:
        printed.add_column(name, justify="right")
    for name, table in TABLES.items():
        costs = []
        for scale in SCALES.values():
            runs = len(grid(table, scale, RunOptions()))
            summary = found.get((name, scale.name))
            if not runs:
                costs.append("not applicable")
            elif summary is None:
                costs.append(f"{runs} runs")
            else:
                costs.append(f"{show.cost(summary) / 60:.1f} min")
        printed.add_row(name, table.title, *costs)
    show.print_wide(printed)
    for scale in SCALES.values():
        terminal.say(f"{scale.name}: {scale.about}.")


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="python -m experiments.ablations")
    terminal.run_script(lambda: run(options))


if __name__ == "__main__":
    main()
