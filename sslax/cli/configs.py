"""List the named configurations: `sslax configs`."""

import dataclasses
import sys
from collections.abc import Iterator

import tyro

from sslax.cli import terminal
from sslax.recipes import CONFIGS
from sslax.recipes.published import PUBLISHED, Reached, told


@dataclasses.dataclass(frozen=True)
class Options:
    """List the named configurations: what each one trains, what its source reports, and what runs here reached."""


def listing() -> Iterator[str]:
    """The lines of the list: each configuration's name and run, then its figures."""
    width = max(map(len, CONFIGS))
    for name, config in CONFIGS.items():
        method, network = type(config.method).__name__, config.network.name
        run = f"{method}, {network}, {config.epochs} epochs of {config.data}, batch {config.batch_size}"
        yield f"{name:{width}}  {run}"
        entry = PUBLISHED.get(name)
        if entry is None:
            continue
        reported = "; ".join(map(told, entry.figures))
        reached = "; ".join(map(_reached, entry.reached)) or "not run yet"
        yield f"{'':{width}}  published: {reported} ({entry.source})"
        yield f"{'':{width}}  here: {reached}"


def _reached(found: Reached) -> str:
    return f"{told(found)} after {found.epochs} epochs on {found.device}"


def main() -> None:
    """The command line."""
    tyro.cli(Options, args=sys.argv[1:], prog="sslax configs")
    # Plain lines of any length: a table of so many columns fits no terminal, and lines can be searched.
    terminal.run_script(lambda: print("\n".join(listing())), compiles=False)


if __name__ == "__main__":
    main()
