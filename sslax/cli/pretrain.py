"""Pretrain a network: `sslax pretrain [CONFIG] [--run-dir D] [--data SPEC] [--epochs N] …`.

The same command again goes on where it stopped, or says that the run is done.
"""

import dataclasses
import difflib
import functools
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import tyro

from sslax import compilation, processes
from sslax.cli import dry_run, terminal
from sslax.cli.reports import write_run_report
from sslax.config import Config, check, to_dict
from sslax.data import Dataset, LazyDataset
from sslax.errors import InputError
from sslax.files import expanded
from sslax.recipes import CONFIGS
from sslax.runs import RunDir, scalars, write_scalars
from sslax.training import (
    Built,
    Embedder,
    accumulation_note,
    build,
    can_measure,
    estimate,
    feed_of,
    fit,
    looked_at_note,
    measure,
    open_images,
    raw_pixels,
    start_state,
)


def parse(arguments: list[str], configs: Mapping[str, Config] = CONFIGS) -> tuple[str, Config]:
    """The name of the configuration that the command line starts from, and the configuration with its flags applied.

    Args:
      arguments: of the command line: a name, perhaps, and flags.
      configs: the configurations by name; the first is taken where none is named.

    Raises:
      InputError: on a configuration that does not exist. Wrong flags end the process with 2 (tyro says which and what is near).
    """
    named = bool(arguments) and not arguments[0].startswith("-")
    name, flags = (arguments[0], arguments[1:]) if named else (next(iter(configs)), arguments)
    listed = ", ".join(configs)
    if name not in configs:
        near = difflib.get_close_matches(name, configs, n=1)
        hint = f"did you mean {near[0]}? It" if near else "it"
        raise InputError(f"CONFIG is {name}, which does not exist; {hint} must be one of {listed}.")
    description = f"Pretrain a network. CONFIG is one of {listed} (the first if left out); the defaults are {name}'s."
    config = tyro.cli(
        Config,
        default=configs[name],
        args=flags,
        prog=f"sslax pretrain {name}",
        description=description,
    )
    return name, config


def pretrain(arguments: list[str], configs: Mapping[str, Config] = CONFIGS) -> None:
    """Train, measure, report; raises what `terminal.exit_code` turns into sentences."""
    name, config = parse(arguments, configs)
    check(config)
    # Before anything has started XLA, which reads its flags once.
    if config.deterministic:
        compilation.make_deterministic()
    processes.connect(config.distributed)
    # Of several processes one speaks.
    terminal.console.quiet = not processes.first()
    said = compilation.keep_programs(config.compilation_cache)
    if said is not None and processes.first():
        terminal.errors.print(said, markup=False)
    if config.deterministic and jax.default_backend() != "gpu":
        terminal.say(f"deterministic changes nothing on {jax.default_backend().upper()}, which is always exact.")
    if config.dry_run:
        show_needs(name, config)
        return
    run_path = expanded(config.run_dir or f"runs/{name}")
    run = RunDir(run_path, to_dict(config), extendable=True)
    method_name = type(config.method).__name__
    result = run.result()
    if result is not None:
        terminal.say(f"{run_path} is done; another --run-dir starts anew.")
        if config.tensorboard:
            write_scalars(run)
        if result:
            terminal.console.print(terminal.result_table(result, method_name))
        return

    with terminal.reading_progress() as progress:
        data = open_images(config, progress=progress)
    if note := looked_at_note(data):
        data = dataclasses.replace(data, notes=(*data.notes, note))
    for note in data.notes:
        terminal.say(note)
    built = build(config, data)
    if note := accumulation_note(config, built.method, built.image_shape):
        terminal.say(note)
        data = dataclasses.replace(data, notes=(*data.notes, note))
    terminal.say(
        f"{name}: {len(data.train):,} training images, {built.steps:,} steps of {config.batch_size} "
        f"on {devices_told()}, images {feed_of(config, data, built.mesh)}."
    )
    with terminal.training_progress(built.steps, config.epochs) as show, scalars(config, run, show) as follow:
        state = fit(config, built, data, run, follow=follow)

    result = measure_all(config, built, data, state)
    command = shlex.join(["sslax", "pretrain", *arguments])
    write_run_report(run, name, method_name, config, built, data, state, result, command=command)
    # Written last: a run that has a result is done, report and all.
    run.write_result(result)
    if result:
        terminal.console.print(terminal.result_table(result, method_name))
    else:
        terminal.say(f"{data.name} has no labels or no test split, so there is no table of accuracies.")
    terminal.say(f"The report is {run.report}.")
    # Who leaves earlier would be taken for dead.
    processes.together("run done")


def devices_told() -> str:
    """How many devices there are, of what kind, in how many processes."""
    told = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    return f"{told} in {jax.process_count()} processes" if processes.several() else told


def show_needs(name: str, config: Config) -> None:
    """What the run would take, as a table; nothing is written."""
    with terminal.reading_progress() as progress:
        needs = estimate(config, progress=progress)
    terminal.console.print(dry_run.table(name, needs))


def measure_all(config: Config, built: Built, data: Dataset | LazyDataset, state) -> dict[str, dict[str, float]]:
    """The closing table: raw pixels, the same network untrained, and pretrained, all by identical probes."""
    if not can_measure(data):
        return {}
    probe_key = jax.random.key(config.seed)
    embedder = Embedder(built.method, built.mesh)
    untrained = start_state(config, built)
    rows: dict[str, Callable[..., np.ndarray]] = {
        "raw_pixels": raw_pixels,
        "untrained": functools.partial(embedder, untrained),
        "pretrained": functools.partial(embedder, state),
    }
    options: dict[str, Any] = {"probe_key": probe_key, "knn": config.knn, "workers": config.workers}
    return {name: measure(features, data, **options) for name, features in rows.items()}


def main(configs: Mapping[str, Config] = CONFIGS) -> None:
    """The command line, with these configurations by name: one's own script may bring its own."""
    # Where programs are kept is a flag, which `pretrain` reads.
    terminal.run_script(lambda: pretrain(sys.argv[1:], configs), compiles=False)


if __name__ == "__main__":
    main()
