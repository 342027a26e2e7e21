"""Compare several runs and weights files: `sslax compare RUN RUN … [--weights FILE …] [--out FILE.html]`.

Runs that differ only in `seed` and `split_seed` form one group, which is shown as mean ± standard deviation. The terminal
shows the accuracies. The page also shows the settings that differ between the groups, their curves and their speed. You may
include runs that have not finished.
"""

import dataclasses
import functools
import json
import pathlib
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import jax
import tyro
from rich import box
from rich.table import Table
from rich.text import Text

from sslax.cli import terminal
from sslax.cli.runs import check_out, open_labelled, open_network
from sslax.config import to_dict
from sslax.errors import InputError
from sslax.files import expanded, printable
from sslax.report import comparison, write_page
from sslax.report.comparison import Group, Run
from sslax.runs import RunDir
from sslax.runs.run_dir import facts
from sslax.training import WeightsOptions, measure, raw_pixels

_SEEDS = ("seed", "split_seed")
# Shorter than the names on the page, so that three columns fit a terminal of 80 characters.
_ROWS = {"pretrained": "pretrained", "untrained": "untrained", "raw_pixels": "raw pixels"}
_COLUMNS = {"knn1": "kNN\nk=1", "knn20": "kNN\nk=20", "linear": "linear\nprobe"}
_NAME_WIDTH = 24


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare several runs side by side."""

    runs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[RUN [RUN ...]]")] = ()
    """Folders of the runs."""
    out: str = "comparison.html"
    """HTML page to write."""
    data: str | None = None
    """Labelled images to measure the weights files on, with --weights; None uses the images of the first run."""
    weights: tuple[str, ...] = ()
    """Weights files to compare with the runs: safetensors, PyTorch pickles (.pth, .pt, .bin), or
    hf:OWNER/NAME[@REVISION][/FILE]. They are measured first, as at the end of a run."""
    told: Annotated[WeightsOptions, tyro.conf.arg(name="")] = dataclasses.field(default_factory=WeightsOptions)


@dataclasses.dataclass(frozen=True)
class Found:
    """A run read from disk: its folder, its configuration, its data, the lines of its metrics, and its row on the page."""

    path: pathlib.Path
    config: dict[str, Any]
    data: dict[str, Any]
    lines: list[dict[str, Any]]
    run: Run

    def shared(self) -> dict[str, Any]:
        """What all runs of a group share: the configuration without its seeds, and the size of the data."""
        fields = {name: value for name, value in self.config.items() if name not in _SEEDS}
        return {**fields, "images": self.data["images"], "image_side": self.data["canvas"]}


def read(folder: str) -> Found:
    """Read a run from its folder.

    Raises:
      InputError: if the folder is not a run, cannot be read, or has no metrics yet.
    """
    path = expanded(folder)
    if not (path / "config.json").is_file():
        raise InputError(f"RUN is {path}, which is not a run; it must be a folder that sslax pretrain wrote.")
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        run = RunDir(path, config)
        data, lines, result = run.data(), run.metrics(), run.result()
        # Texts belong to alarms. A null stands for a number that was not finite.
        metrics = [{name: value for name, value in line.items() if isinstance(value, int | float)} for line in lines]
        found = Found(path, config, data, lines, Run(name=printable(path), metrics=metrics, result=result))
        found.shared()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"RUN is {path}, but its files are damaged or incomplete; train this run again.") from error
    if not lines:
        raise InputError(f"RUN is {path}, which has no metrics yet; wait until it has trained for some steps.")
    return found


def measured(weights: str, options: Options, first: Found | None) -> Found:
    """The network of a weights file with its accuracies, measured as `sslax pretrain` measures a run.

    Args:
      weights: the file.
      options: of the command, for the images.
      first: the first run, whose images are used if the options name none.

    Raises:
      InputError: if the file cannot be opened, or the images have no labels or no test split.
    """
    network = open_network(None, weights, options.told)
    if options.data is None and first is not None:
        shared = ("data", "limit", "split_seed", "allow_unreadable", "exif", "background")
        same = {name: first.config[name] for name in shared if name in first.config}
        network.config = dataclasses.replace(network.config, **same)
    data = open_labelled(network, options.data)
    rows: dict[str, Callable[..., Any]] = {
        "raw_pixels": raw_pixels,
        "untrained": functools.partial(network.embedder, network.untrained()),
        "pretrained": functools.partial(network.embedder, network.state),
    }
    result = {name: measure(features, data, probe_key=jax.random.key(0)) for name, features in rows.items()}
    config = to_dict(dataclasses.replace(network.config, data=options.data or network.config.data))
    path = pathlib.Path(weights)
    return Found(path, config, facts(data), [], Run(name=printable(path), metrics=[], result=result))


def group(found: Sequence[Found]) -> list[Group]:
    """Group the runs by what they share, in the order in which they were given.

    Raises:
      InputError: if there are more groups than a figure has distinct lines.
    """
    groups: dict[str, list[Found]] = {}
    for run in found:
        groups.setdefault(json.dumps(run.shared(), sort_keys=True), []).append(run)
    if len(groups) > comparison.MOST_GROUPS:
        raise InputError(f"RUN gives {len(groups)} groups of runs; there can be at most {comparison.MOST_GROUPS}.")
    made: list[Group] = []
    for runs in groups.values():
        name, taken = name_of([run.path for run in runs]), {other.name for other in made}
        number = 2
        while (unique := name if number == 2 and name not in taken else f"{name} ({number})") in taken:
            number += 1
        made.append(Group(name=unique, settings=runs[0].shared(), runs=tuple(run.run for run in runs)))
    return made


def name_of(paths: Sequence[pathlib.Path]) -> str:
    """Name a group: the name of its only folder, or the common start of its folders' names without "seed"."""
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


def notes_of(found: Sequence[Found], groups: Sequence[Group]) -> list[str]:
    """Notes on the numbers: unfinished runs, collapse alarms, and runs with equal seeds."""
    notes = []
    for run in found:
        if run.run.result is None:
            epoch = run.run.metrics[-1]["epoch"]
            notes.append(f"{run.run.name} has not finished: it is at epoch {epoch:.4g} of {run.config['epochs']}.")
        for line in run.lines:
            if "collapse" in line:
                notes.append(f"{run.run.name}, step {line['step']}: {line['collapse']}; {line['collapse_sign']}")
    seeds: dict[str, list[str]] = {}
    for run in found:
        seeds.setdefault(json.dumps(run.config, sort_keys=True), []).append(run.run.name)
    for names in seeds.values():
        if len(names) > 1:
            notes.append(
                f"{' and '.join(names)} have the same seeds, so their deviation does not measure the seeds' effect."
            )
    return notes


def show(groups: Sequence[Group]) -> Table:
    """A table of the accuracies in per cent, mean ± standard deviation; with up to three evaluations it fits 80 characters."""
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
    """Read the runs, group them, show the table, and write the page."""
    out = check_out("out", options.out, (".html",))
    if not options.runs and not options.weights:
        raise InputError("RUN is missing; give the folder of at least one run, or weights files with --weights.")
    resolved = [expanded(folder).resolve() for folder in options.runs]
    for place, path in enumerate(resolved):
        if path in resolved[:place]:
            raise InputError(f"RUN contains {options.runs[place]} twice; give each run once.")
    found = [read(folder) for folder in options.runs]
    found += [measured(file, options, found[0] if options.runs else None) for file in options.weights]
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
    summary = f"{counted}; runs that differ only in seed and split_seed form one group."
    try:
        write_page(out, "Runs side by side", summary, parts, notes=notes)
    except OSError as error:
        raise InputError(f"out is {out}, which cannot be written: {error.strerror}.") from error
    terminal.say(f"Page: {out}")


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="sslax compare")
    terminal.run_script(lambda: run(options))


if __name__ == "__main__":
    main()
