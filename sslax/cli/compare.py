"""Runs side by side: `sslax compare RUN RUN … [--out FILE.html]`.

Runs whose configurations differ in nothing but `seed` and `split_seed` are one group, shown as mean ± standard deviation.
The accuracies go to the terminal; the page adds what differs between the groups, their curves and their speed. Runs that
have not finished are taken as they stand.
"""

import dataclasses
import json
import pathlib
import re
import textwrap
from collections.abc import Sequence
from typing import Any

import tyro
from rich import box
from rich.table import Table
from rich.text import Text

from sslax.cli import terminal
from sslax.cli.runs import check_out
from sslax.errors import InputError
from sslax.files import expanded
from sslax.report import comparison, write_page
from sslax.report.comparison import Group, Run
from sslax.runs import RunDir

_SEEDS = ("seed", "split_seed")
# Shorter than the page's, so that three columns of them fit a terminal of 80.
_ROWS = {"pretrained": "pretrained", "untrained": "untrained", "raw_pixels": "raw pixels"}
_COLUMNS = {"knn1": "kNN\nk=1", "knn20": "kNN\nk=20", "linear": "linear\nprobe"}
_NAME_WIDTH = 24


@dataclasses.dataclass(frozen=True)
class Options:
    """Runs side by side."""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Folders of the runs."""
    out: str = "comparison.html"
    """The page to write."""


@dataclasses.dataclass(frozen=True)
class Found:
    """A run as it was read: its folder, configuration, what its data was, its metrics with all texts, and how it stands."""

    path: pathlib.Path
    config: dict[str, Any]
    data: dict[str, Any]
    lines: list[dict[str, Any]]
    run: Run

    def shared(self) -> dict[str, Any]:
        """What runs of one group have in common: the configuration without its seeds, and the size of the data."""
        fields = {name: value for name, value in self.config.items() if name not in _SEEDS}
        return {**fields, "images": self.data["images"], "image_side": self.data["canvas"]}


def read(folder: str) -> Found:
    """A run from its folder.

    Raises:
      InputError: where it is no run, cannot be read, or has no metrics yet.
    """
    path = expanded(folder)
    if not (path / "config.json").is_file():
        raise InputError(f"RUN is {path}, which is no run; it must be a folder that sslax pretrain wrote.")
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        run = RunDir(path, config)
        data, lines, result = run.data(), run.metrics(), run.result()
        # Texts tell of alarms; nulls were no finite numbers.
        metrics = [{name: value for name, value in line.items() if isinstance(value, int | float)} for line in lines]
        found = Found(path, config, data, lines, Run(name=printable(path), metrics=metrics, result=result))
        found.shared()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"RUN is {path}, whose files cannot be read as a run's; it has to be made again.") from error
    if not lines:
        raise InputError(f"RUN is {path}, which has no metrics yet; wait until it has trained some steps.")
    return found


def group(found: Sequence[Found]) -> list[Group]:
    """The runs by what they share, in the order in which they were given.

    Raises:
      InputError: where there are more groups than a figure can tell apart.
    """
    groups: dict[str, list[Found]] = {}
    for run in found:
        groups.setdefault(json.dumps(run.shared(), sort_keys=True), []).append(run)
    if len(groups) > comparison.MOST_GROUPS:
        raise InputError(f"RUN gives {len(groups)} groups of runs; they must be at most {comparison.MOST_GROUPS}.")
    made: list[Group] = []
    for runs in groups.values():
        name, taken = name_of([run.path for run in runs]), {other.name for other in made}
        number = 2
        while (unique := name if number == 2 and name not in taken else f"{name} ({number})") in taken:
            number += 1
        made.append(Group(name=unique, settings=runs[0].shared(), runs=tuple(run.run for run in runs)))
    return made


def name_of(paths: Sequence[pathlib.Path]) -> str:
    """A name for a group: its one folder's, or what its folders' names begin with, without "seed"."""
    names = [printable(path.resolve().name) for path in paths]
    if len(names) == 1:
        return names[0]
    prefix = names[0]
    while not all(name.startswith(prefix) for name in names):
        prefix = prefix[:-1]
    prefix = re.sub(r"[-_. ]*seeds?[-_. ]*\d*$", "", prefix, flags=re.IGNORECASE).rstrip("-_. ")
    parents = {path.resolve().parent for path in paths}
    if not prefix and len(parents) == 1:
        prefix = printable(parents.pop().name)
    return prefix or f"{names[0]} and {len(names) - 1} more"


def printable(name: object) -> str:
    """A name that may hold bytes which are no Unicode, as text."""
    return str(name).encode(errors="backslashreplace").decode()


def notes_of(found: Sequence[Found], groups: Sequence[Group]) -> list[str]:
    """What a reader of the numbers must know: unfinished runs, alarms, runs that are no sample."""
    notes = []
    for run in found:
        if run.run.result is None:
            epoch = run.run.metrics[-1]["epoch"]
            notes.append(f"{run.run.name} has not finished: it stands at epoch {epoch:.4g} of {run.config['epochs']}.")
        for line in run.lines:
            if "collapse" in line:
                notes.append(f"{run.run.name}, step {line['step']}: {line['collapse']}; {line['collapse_sign']}")
    seeds: dict[str, list[str]] = {}
    for run in found:
        seeds.setdefault(json.dumps(run.config, sort_keys=True), []).append(run.run.name)
    for names in seeds.values():
        if len(names) > 1:
            notes.append(f"{' and '.join(names)} have the same seeds, so their deviation is not one over seeds.")
    return notes


def show(groups: Sequence[Group]) -> Table:
    """The accuracies, mean ± standard deviation in per cent, within 80 columns for up to three evaluations."""
    columns = comparison.columns_of(groups)
    title = "accuracy on the test images, %, mean ± deviation over n runs"
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("group", no_wrap=True)
    table.add_column("features", no_wrap=True)
    for column in columns:
        table.add_column(Text(_COLUMNS.get(column, column)), justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for group in groups:
        found = {
            row: [[100 * value for value in comparison.values(group, row, column)] for column in columns]
            for row in _ROWS
        }
        rows = [row for row, numbers in found.items() if any(numbers)] or ["pretrained"]
        for place, row in enumerate(rows):
            name = "" if place else "\n".join(textwrap.wrap(group.name, _NAME_WIDTH))
            cells = [comparison.spread(numbers, 1).replace("\u00a0", "") for numbers in found[row]]
            count = max(map(len, found[row]), default=0)
            table.add_row(Text(name), _ROWS[row], *cells, str(count), end_section=place + 1 == len(rows))
    return table


def run(options: Options) -> None:
    """Read, group, show, and write the page."""
    out = check_out("out", options.out, (".html",))
    if not options.runs:
        raise InputError("RUN is left out; it must be the folder of at least one run.")
    resolved = [expanded(folder).resolve() for folder in options.runs]
    for place, path in enumerate(resolved):
        if path in resolved[:place]:
            raise InputError(f"RUN gives {options.runs[place]} twice; it must be given once.")
    found = [read(folder) for folder in options.runs]
    groups = group(found)
    notes = notes_of(found, groups)
    terminal.console.print(show(groups))
    for note in notes:
        terminal.say(note)
    parts = [
        ("Accuracy", comparison.accuracy(groups)),
        ("What differs", comparison.settings(groups)),
        ("Training", comparison.curves(groups)),
        ("Speed", comparison.speed(groups)),
    ]
    counted = f"{len(found)} run{'s' if len(found) > 1 else ''} in {len(groups)} group{'s' if len(groups) > 1 else ''}"
    summary = f"{counted}; runs that differ in nothing but seed and split_seed are one group."
    try:
        write_page(out, "Runs side by side", summary, parts, notes=notes)
    except OSError as error:
        raise InputError(f"out is {out}, which cannot be written: {error.strerror}.") from error
    terminal.say(f"The page is {out}.")


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="sslax compare")
    terminal.run_script(lambda: run(options))


if __name__ == "__main__":
    main()
