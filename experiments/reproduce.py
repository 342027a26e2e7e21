"""Reproduce published results: `python -m experiments.reproduce [NAME ...] --data folder:PATH [--budget SECONDS]`.

Each name is a named configuration with the figure that its source reports. The command trains the recipe, evaluates it with
the source's own protocol, writes results/reproduced/NAME-DEVICE.json and updates docs/results.md. Without a name it lists all
results. The same command resumes where it stopped.
"""

import dataclasses
import difflib
import pathlib
import shlex
import statistics
import sys
import time
from collections.abc import Mapping
from typing import Any

import jax
import tyro
from rich.table import Table

from experiments import results_page
from experiments.benchmarks.peaks import data_sheet
from experiments.linear_protocol import LINEAR, linear_evaluation
from experiments.record import Record, data_told, from_metrics
from sslax.cli import terminal
from sslax.config import Config, check, to_dict
from sslax.data import Dataset, LazyDataset
from sslax.errors import InputError
from sslax.files import expanded
from sslax.recipes import CONFIGS
from sslax.recipes.published import PUBLISHED, Published, told
from sslax.runs import RunDir
from sslax.runs.run_dir import facts
from sslax.training import Built, Interrupted, Loaded, TrainState, build, can_measure, feed_of, fit, open_images

# Share of the budget that is reserved for the last checkpoint and the page, and its maximum in seconds.
_RESERVE, _MOST_RESERVE = 0.1, 20.0
# Utilisation of an H200's peak: simclr-cifar10 reaches 31 % (results/step-gpu.jsonl). Small steps on large devices reach less.
_UTILISATION = 0.3
_DEVICES = ("A100", "H200")


@dataclasses.dataclass(frozen=True)
class Options:
    """Reproduce published results."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Results to reproduce, by the names of their configurations; without a name the command lists them."""
    data: str | None = None
    """Images, as for pretraining; None uses the configuration's own."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the runs."""
    epochs: int | None = None
    """Epochs; None uses the source's number. The page shows a different number."""
    budget: float | None = None
    """Seconds after which the command stops and keeps the measurements so far; None is no limit."""
    runs: str = "runs/reproduce"
    """Folder for the runs."""
    results: str = "results/reproduced"
    """Folder for the figures, with one file per result and device."""
    page: str = "docs/results.md"
    """The page to write from the figures."""


class Budget:
    """A time budget in seconds, starting now."""

    def __init__(self, seconds: float | None):
        self.seconds, self._begun = seconds, time.perf_counter()
        self._last: float | None = None
        self._longest = 0.0

    def spent(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._begun

    def over(self) -> bool:
        """Whether to stop now, so that everything is written before the budget ends.

        An evaluation can run between two calls, so the remaining time must cover the longest gap between calls so far.
        """
        now = self.spent()
        self._longest = max(self._longest, now - (self._last if self._last is not None else now))
        self._last = now
        if self.seconds is None:
            return False
        return now + max(self._longest, min(_RESERVE * self.seconds, _MOST_RESERVE)) > self.seconds

    def check(self) -> None:
        """Raise Interrupted if the budget is over."""
        if self.over():
            raise Interrupted(f"Stopped by the budget of {self.seconds:g} s.")


def chosen(options: Options, published: Mapping[str, Published]) -> list[Published]:
    """The requested results.

    Raises:
      InputError: on an unknown name or invalid options.
    """
    for name in options.names:
        if name not in published:
            near = difflib.get_close_matches(name, published, n=3)
            hint = f"did you mean {' or '.join(near)}? It" if near else "it"
            raise InputError(
                f"NAME is {name}, which is not a published result; {hint} must be one of {', '.join(published)}."
            )
    if options.budget is not None and not options.budget > 0:
        raise InputError(f"budget is {options.budget:g}; it must be above 0 seconds.")
    if not options.seeds:
        raise InputError("seeds is empty; it must have at least one number.")
    if options.epochs is not None and options.epochs < 1:
        raise InputError(f"epochs is {options.epochs}; it must be at least 1.")
    return [published[name] for name in options.names]


def configured(entry: Published, base: Config, options: Options, seed: int) -> Config:
    """The configuration of one run: the recipe, with the evaluations that the source's protocol needs."""
    every_epoch = any(figure.protocol == "knn200-best" for figure in entry.figures)
    changes: dict[str, Any] = {"seed": seed, "knn": (1, 20, 200), "data": options.data or base.data}
    changes |= {"eval_every": 1 if every_epoch else base.eval_every, "epochs": options.epochs or base.epochs}
    config = dataclasses.replace(base, **changes)
    check(config)
    return config


def check_data(entry: Published, config: Config, data: Dataset | LazyDataset) -> None:
    """Raise InputError if the images are not those of the published result, or its protocol cannot evaluate them."""
    known = entry.data
    found = len(data.classes), len(data.train), len(data.test) if data.test is not None else 0
    if found != (known.classes, known.train, known.test) or not can_measure(data):
        raise InputError(
            f"data is {config.data}, with {found[0]:,} classes, {found[1]:,} training and {found[2]:,} test images; "
            f"{entry.config} needs {known.title}, with {known.classes:,}, {known.train:,} and {known.test:,}."
        )
    if isinstance(data, LazyDataset) and any(figure.linear for figure in entry.figures):
        raise InputError(
            f"data is {config.data}, which does not fit into memory; the linear protocol of {entry.config} needs all images "
            "in memory."
        )


def reproduce(
    entry: Published, base: Config, options: Options, seed: int, record: Record, budget: Budget, command: str
) -> None:
    """Train and evaluate one seed of one result, within the budget.

    Raises:
      Interrupted: if the budget is over or Ctrl-C arrives; the measurements so far are written.
      InputError: if the images are not those of the result, or the budget is too short for one epoch.
    """
    begun = budget.spent()
    before = record.seed(seed)
    config = configured(entry, base, options, seed)
    with terminal.reading_progress() as progress:
        data = open_images(config, progress=progress)
    check_data(entry, config, data)
    for note in data.notes:
        terminal.say(note)
    run = RunDir(expanded(options.runs) / entry.config / f"seed{seed}", to_dict(config), extendable=True)
    built = build(config, data)
    terminal.say(
        f"{entry.config}, seed {seed}: {built.steps:,} steps of {config.batch_size} on {jax.device_count()} x "
        f"{record.device}, images {feed_of(config, data, built.mesh)}."
    )
    found: dict[str, Any] = {}

    def keep(**more: Any) -> None:
        lines = run.metrics()
        seconds = before.get("seconds", 0.0) + budget.spent() - begun
        found.update(
            from_metrics(lines, config, built.steps_per_epoch) if lines else {"epochs": 0, "of": config.epochs}
        )
        found.update({"seconds": round(seconds, 1), "command": command, "data": data_told(config, data), **more})
        record.write(seed, found)

    try:
        with terminal.training_progress(built.steps, config.epochs) as show:
            state = fit(config, built, data, run, follow=show, until=budget.over)
        keep()
        keep(**last_figures(entry, config, built, data, state, budget))
    except Interrupted as error:
        keep()
        if not found.get("epochs", 0) >= 1:
            raise InputError(
                f"budget is {options.budget} s, but {entry.config} did not finish one epoch of {built.steps_per_epoch:,} "
                "steps in this time; it must be longer."
            ) from error
        raise


def last_figures(
    entry: Published,
    config: Config,
    built: Built,
    data: Dataset | LazyDataset,
    state: TrainState,
    budget: Budget,
) -> dict[str, Any]:
    """Measure the figures that need a trained classifier, after training."""
    found: dict[str, Any] = {"finished": True}
    network = Loaded(config, facts(data), built, state)
    for figure in entry.figures:
        if figure.linear is None:
            continue
        assert isinstance(data, Dataset), "check_data has seen to it"
        key = jax.random.key(config.seed)
        linear = linear_evaluation(key, network, data, LINEAR[figure.linear], check=budget.check)
        found |= {"linear": linear.accuracy, "linear_lr": linear.learning_rate}
    return found


def expected_minutes(entry: Published, config: Config, device: str) -> float:
    """Estimated minutes of training on a device, at a utilisation of `_UTILISATION` of its peak."""
    peak = data_sheet(device)
    assert peak is not None, "a device of the data sheets"
    flops = entry.gflops * 1e9 * entry.data.train * config.epochs
    return flops / (_UTILISATION * peak) / 60


def listed(published: Mapping[str, Published], configs: Mapping[str, Config], folder: pathlib.Path) -> Table:
    """The table of all results, with their measured minutes by device, and estimates for other devices."""
    table = Table(title="published results", caption="about: training alone, at 30 % of the device's bfloat16 peak")
    table.add_column("name", no_wrap=True)
    for title in ("published", "minutes, by device"):
        table.add_column(title)
    for entry in published.values():
        minutes = [
            f"{statistics.mean(seed['seconds'] for seed in found['seeds'].values()) / 60:.1f} on {found['device']}"
            for found in results_page.of(entry.config, results_page.read(folder))
            if all(seed.get("finished") for seed in found["seeds"].values())
        ]
        expected = [f"about {expected_minutes(entry, configs[entry.config], d):,.0f} on {d}" for d in _DEVICES]
        source = [f"{entry.seconds / 60:.0f} on {entry.device} (the source's)"] if entry.seconds else []
        figures = "; ".join(told(figure) for figure in entry.figures)
        table.add_row(entry.config, figures, "; ".join(minutes + expected + source))
    return table


def run(
    options: Options,
    published: Mapping[str, Published] = PUBLISHED,
    configs: Mapping[str, Config] = CONFIGS,
    *,
    arguments: list[str] | None = None,
) -> None:
    """Reproduce the named results, or list all results."""
    budget = Budget(options.budget)
    entries = chosen(options, published)
    folder, page = expanded(options.results), expanded(options.page)
    if not entries:
        terminal.console.print(listed(published, configs, folder))
        return
    command = shlex.join(["python", "-m", "experiments.reproduce", *(arguments or [])])
    for entry in entries:
        record = Record(folder, entry)
        for seed in options.seeds:
            if record.seed(seed).get("finished") and record.seed(seed)["of"] == (
                options.epochs or configs[entry.config].epochs
            ):
                terminal.say(f"{entry.config}, seed {seed}, is done on {record.device}.")
                continue
            try:
                reproduce(entry, configs[entry.config], options, seed, record, budget, command)
            finally:
                results_page.write(page, folder, published)
        terminal.say(results_page.told(entry, record.content))
    terminal.say(f"The figures are in {folder}, and {page} shows them.")


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="python -m experiments.reproduce")
    terminal.run_script(lambda: run(options, arguments=sys.argv[1:]))


if __name__ == "__main__":
    main()
