"""Pretrain a network: `sslax pretrain [CONFIG] [--run-dir D] [--data SPEC] [--epochs N] …`.

Run the same command again to resume a stopped run. For a finished run it shows the result.
"""

import dataclasses
import difflib
import functools
import re
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
    network_from,
    open_images,
    raw_pixels,
    start_state,
)


def parse(arguments: list[str], configs: Mapping[str, Config] = CONFIGS) -> tuple[str, Config]:
    """Read the command line: the name of its configuration, and the configuration with the flags applied.

    Args:
      arguments: the command-line arguments: an optional name, and flags.
      configs: the configurations by name; the first one is the default.

    Raises:
      InputError: if the configuration does not exist. For a wrong flag, tyro exits with code 2 and suggests similar flags.
    """
    named = bool(arguments) and not arguments[0].startswith("-")
    name, flags = (arguments[0], arguments[1:]) if named else (next(iter(configs)), arguments)
    first = next(iter(configs))
    # With the dozens of the package, a list of all would hide the sentence.
    listed = ", ".join(configs) if len(configs) <= 8 else "those that sslax configs lists"
    if name not in configs:
        near = difflib.get_close_matches(name, configs, n=3)
        hint = f"did you mean {' or '.join(near)}? It" if near else "it"
        raise InputError(f"CONFIG is {name}, which does not exist; {hint} must be one of {listed}.")
    description = (
        f"Pretrain a network. CONFIG is one of {listed}; the default is {first}. Defaults below are for {name}."
    )
    # `--weights` is the same flag here as in the other commands.
    flags = [re.sub(r"^--weights(?==|$)", "--init-from", flag) for flag in flags]
    read = functools.partial(tyro.cli, Config, args=flags, prog=f"sslax pretrain {name}", description=description)
    config = read(default=configs[name])
    if config.init_from is not None and config.init_from != configs[name].init_from:
        # The file's network takes the place of the configuration's, and the flags then apply to it.
        network = network_from(config.init_from, configs[name].network)
        config = read(default=dataclasses.replace(configs[name], network=network))
    return name, config


def pretrain(arguments: list[str], configs: Mapping[str, Config] = CONFIGS) -> None:
    """Train, measure, and write the report. `terminal.exit_code` turns the exceptions into messages."""
    name, config = parse(arguments, configs)
    check(config)
    # This must come before anything starts XLA, which reads its flags once.
    if config.deterministic:
        compilation.make_deterministic()
    processes.connect(config.distributed)
    # Only process 0 prints.
    terminal.console.quiet = not processes.first()
    said = compilation.keep_programs(config.compilation_cache)
    if said is not None and processes.first():
        terminal.errors.print(said, markup=False)
    if config.deterministic and jax.default_backend() != "gpu":
        terminal.say(f"deterministic has no effect on {jax.default_backend().upper()}, where every run is exact.")
    if config.dry_run:
        show_needs(name, config)
        return
    run_path = expanded(config.run_dir or f"runs/{name}")
    run = RunDir(run_path, to_dict(config), extendable=True)
    method_name = type(config.method).__name__
    result = run.result()
    if result is not None:
        terminal.say(f"{run_path} is done; to train again, give another --run-dir.")
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
    # Written last: a run with a result is complete, report included.
    run.write_result(result)
    if result:
        terminal.console.print(terminal.result_table(result, method_name))
    else:
        terminal.say(f"{data.name} has no labels or no test split, so there is no table of accuracies.")
    terminal.say(f"Report: {run.report}")
    # A process that exits early would look dead to the others.
    processes.together("run done")


def devices_told() -> str:
    """The number and kind of devices, and the number of processes, as text."""
    told = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    return f"{told} in {jax.process_count()} processes" if processes.several() else told


def show_needs(name: str, config: Config) -> None:
    """Show a table of what the run would need; write nothing."""
    with terminal.reading_progress() as progress:
        needs = estimate(config, progress=progress)
    terminal.console.print(dry_run.table(name, needs))


def measure_all(config: Config, built: Built, data: Dataset | LazyDataset, state) -> dict[str, dict[str, float]]:
    """The accuracies of raw pixels and of the network before and after training, measured by identical probes.

    Before training, the network is "untrained", or has the "initial" weights of a file.
    """
    if not can_measure(data):
        return {}
    probe_key = jax.random.key(config.seed)
    embedder = Embedder(built.method, built.mesh)
    before = "untrained" if config.init_from is None else "initial"
    rows: dict[str, Callable[..., np.ndarray]] = {
        "raw_pixels": raw_pixels,
        before: functools.partial(embedder, start_state(config, built)),
        "pretrained": functools.partial(embedder, state),
    }
    options: dict[str, Any] = {"probe_key": probe_key, "knn": config.knn, "workers": config.workers}
    return {name: measure(features, data, **options) for name, features in rows.items()}


def main(configs: Mapping[str, Config] = CONFIGS) -> None:
    """The command line. A script of your own may pass its own configurations by name."""
    # `pretrain` sets up the compilation cache itself, because its folder is a flag.
    terminal.run_script(lambda: pretrain(sys.argv[1:], configs), compiles=False)


if __name__ == "__main__":
    main()
