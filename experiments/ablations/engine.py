"""Run a table: a grid of configurations and seeds. Stopped runs are resumed, and finished runs are skipped.

Runs with equal training are shared, between the rows of a table and between tables. Runs that differ only in numbers share one
compilation (`sslax.training.build_shared`).
"""

import functools
import json
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

import jax
import tyro

from experiments.ablations import parallel, show
from experiments.ablations.grid import Options, Run, applicable, chosen, grid, share
from experiments.ablations.scales import SCALES, Scale
from experiments.ablations.table import Table
from sslax.cli import terminal
from sslax.config import Config, check, to_dict
from sslax.data import Dataset, LazyDataset
from sslax.errors import InputError
from sslax.files import expanded, write_atomically
from sslax.runs import RunDir
from sslax.training import (
    Built,
    Embedder,
    NonFinite,
    build_shared,
    can_measure,
    fit,
    measure,
    open_images,
    raw_pixels,
    start_state,
)

# The fields of a configuration that determine its images.
_IMAGES = ("data", "limit", "canvas", "allow_unreadable", "split_seed", "feed", "cache", "workers")


def images_of(config: Config) -> Dataset | LazyDataset:
    """The images of a configuration, read once for consecutive runs on the same images."""
    return _opened(Config(method=None, **{name: getattr(config, name) for name in _IMAGES}))


@functools.lru_cache(maxsize=1)
def _opened(config: Config) -> Dataset | LazyDataset:
    return open_images(config)


def execute(run: Run, out: pathlib.Path, scale: Scale) -> dict[str, Any]:
    """Train unless the run is finished, evaluate the features, and return the content of `result.json`.

    Raises:
      InputError, Interrupted: as `fit`.
    """
    config, begun = run.config, time.monotonic()
    check(config)
    folder = RunDir(run.folder(out, scale), to_dict(config))
    result = folder.result()
    if result is not None and not (run.baselines and "untrained" not in result and "non_finite" not in result):
        return result
    data = images_of(config)
    if not can_measure(data):
        raise InputError(f"data is {data.name}, which has no labels or no test split; a table needs both.")
    built = build_shared(config, data)
    if result is None:
        spent = max((line["seconds"] for line in folder.metrics()), default=0.0)
        result = _trained(config, built, data, folder)
        result["seconds"] = spent + time.monotonic() - begun
    if run.baselines:
        untrained = functools.partial(_features(built), start_state(config, built))
        key = jax.random.key(config.seed)
        result["untrained"] = measure(untrained, data, probe_key=key)
        result["raw_pixels"] = measure(raw_pixels, data, probe_key=key)
    folder.write_result(result)
    # Only the figures of some hundred runs are needed, and their weights would fill the disk.
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    return result


def _trained(config: Config, built: Built, data: Dataset | LazyDataset, folder: RunDir) -> dict[str, Any]:
    try:
        state = fit(config, built, data, folder)
    except NonFinite as error:
        return {"non_finite": str(error)}
    key = jax.random.key(config.seed)
    result: dict[str, Any] = {"pretrained": measure(functools.partial(_features(built), state), data, probe_key=key)}
    if built.method.project is not None:
        projections = Embedder(built.method._replace(embed=built.method.project), built.mesh)
        result["projection"] = measure(functools.partial(projections, state), data, probe_key=key)
    return result


def _features(built: Built) -> Callable[..., Any]:
    assert built.programs is not None, "build_shared gives them"
    return built.programs.features


def saved(run: Run, table: Table, out: pathlib.Path, scale: Scale) -> dict[str, Any] | None:
    """The data that a table stores of a run: its result, and the metrics that the table shows; None if it is not finished."""
    folder = RunDir(run.folder(out, scale), to_dict(run.config))
    result = folder.result()
    if result is None:
        return None
    lines = folder.metrics()
    kept = dict(result)
    kept["collapse"] = next((line["collapse"] for line in lines if "collapse" in line), None)
    if lines and table.metrics:
        kept["last"] = {name: lines[-1].get(name) for name in table.metrics}
    if lines and table.curves:
        # A hundred points are enough for a curve.
        thinned = lines[:: max(1, len(lines) // 100)]
        kept["curves"] = {
            name: [_short(line.get(name)) for line in thinned] for name in ("step", *table.curves) if name in lines[-1]
        }
    return kept


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def collect(table: Table, scale: Scale, runs: Sequence[Run], options: Options) -> dict[str, Any]:
    """The stored data of a table; unfinished runs are skipped."""
    out = expanded(options.out)
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        if (kept := saved(run, table, out, scale)) is not None:
            found.setdefault(run.slug, {})[str(run.seed)] = kept
    versions = {name: metadata.version(name) for name in ("jax", "flax", "optax", "numpy")}
    bases = sorted({setting.method for setting in applicable(table, scale)})
    configs = {name: scale.configs[name] for name in bases}
    return {
        "table": table.name,
        "scale": scale.name,
        "base": {
            name: {
                "epochs": options.epochs or config.epochs,
                "batch_size": config.batch_size,
                "network": config.network.name,
                "optimizer": config.optim.name,
            }
            for name, config in configs.items()
        },
        "device": f"{jax.local_device_count()} x {jax.devices()[0].device_kind}",
        "cores": os.cpu_count(),
        "versions": versions,
        "runs": found,
    }


def executed(
    runs: Sequence[Run], work: Callable[[Run], dict[str, Any]], jobs: int | None
) -> Iterator[tuple[Run, dict[str, Any]]]:
    """Yield each run with its result when it is finished.

    Raises:
      InputError: on fewer than one job.
    """
    if jobs is None:
        jobs = (os.cpu_count() or 1) if jax.default_backend() == "cpu" else 1
    if jobs < 1:
        raise InputError(f"jobs is {jobs}; it must be at least 1.")
    if min(jobs, len(runs)) > 1:
        yield from parallel.side_by_side(work, runs, min(jobs, len(runs)))
        return
    for run in runs:
        yield run, work(run)


def run_table(table: Table, options: Options) -> None:
    """Run the unfinished runs of this machine's share, print the table, and save it."""
    scale, out = SCALES[options.scale], expanded(options.out)
    runs = grid(table, scale, options)
    if not runs:
        terminal.say(f"{table.name} does not apply to {scale.name}: {scale.about}, have no colours to ablate.")
        return
    own = share(chosen(table, scale, runs, options.only), options.shard)
    for run in own:
        check(run.config)
    terminal.say(f"{table.title}: {len(own)} of {len(runs)} runs, at {scale.name} ({scale.about}).")
    begun = time.monotonic()
    for place, (run, result) in enumerate(
        executed(own, functools.partial(execute, out=out, scale=scale), options.jobs)
    ):
        terminal.say(f"{place + 1:3}/{len(own)}  {_told(run, result)}  ({time.monotonic() - begun:,.0f} s)")
    summary = collect(table, scale, runs, options)
    done = sum(map(len, summary["runs"].values()))
    show.print_table(table, scale.name, summary)
    if done < len(runs):
        terminal.say(f"{len(runs) - done} of the table's runs are not done; it is of the others.")
    text = json.dumps(summary, indent=1) + "\n"
    for folder in [out, *([expanded(options.publish)] if options.publish else [])]:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{table.name}-{scale.name}.json"
        write_atomically(path, text)
        terminal.say(f"The figures are in {path}.")


def _told(run: Run, result: Mapping[str, Any]) -> str:
    name = f"{run.slug} seed {run.seed}:"
    if "non_finite" in result:
        return f"{name} the loss stopped being finite"
    figures = {"linear": "linear", "knn20": "kNN k=20"}
    return f"{name} " + ", ".join(f"{title} {100 * result['pretrained'][key]:.1f} %" for key, title in figures.items())


def main(table: Table) -> None:
    """The command line of a table."""
    options = tyro.cli(Options, prog=f"python -m experiments.ablations.{table.name}", description=table.claim)
    terminal.run_script(lambda: run_table(table, options))
