"""The runs of a table: its rows and seeds, and the share of this machine."""

import dataclasses
import pathlib
from collections.abc import Sequence

from experiments.ablations.scales import Scale, ScaleName
from experiments.ablations.table import Setting, Table, changed, slug
from sslax.config import Config
from sslax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Options:
    """Run one of the papers' tables, and compare it with the paper's column."""

    scale: ScaleName = "digits"
    """Images, network and length: digits and cifar10-cpu are for two CPU cores, cifar10 and imagenette for a GPU."""
    data: str | None = None
    """Images, instead of the scale's: folder:PATH or tfds:NAME."""
    seeds: int | None = None
    """Runs per setting; None uses the table's number."""
    epochs: int | None = None
    """Passes over the images; None uses the scale's number."""
    only: tuple[str, ...] = ()
    """Rows to run, by name; empty runs all. The table also shows existing results of the other rows."""
    shard: str = "1/1"
    """I/N: run the I-th of N parts, for machine I of N machines that share the folder `out`."""
    jobs: int | None = None
    """Number of parallel runs, each on its own cores; None is one per core on a CPU, because small networks leave other cores
    idle, and one elsewhere."""
    out: str = "runs/ablations"
    """Folder for the runs and the saved tables. Tables share equal runs."""
    publish: str | None = None
    """Additional folder for the table's figures, such as results/ablations, from which docs/ablations.md is generated."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a grid: a setting's configuration with a seed."""

    slug: str
    seed: int
    config: Config
    baselines: bool

    def folder(self, out: pathlib.Path, scale: Scale) -> pathlib.Path:
        """The folder of the run."""
        return out / scale.name / self.slug / f"seed{self.seed}"


def grid(table: Table, scale: Scale, options: Options) -> list[Run]:
    """The runs of a table, setting by setting.

    Raises:
      InputError: on invalid options.
    """
    seeds = table.seeds if options.seeds is None else options.seeds
    if seeds < 1:
        raise InputError(f"seeds is {seeds}; it must be at least 1.")
    own = {name: value for name, value in (("data", options.data), ("epochs", options.epochs)) if value is not None}
    runs: dict[str, list[Run]] = {}
    for setting in applicable(table, scale):
        name = slug(setting, scale.configs[setting.method])
        # Keep the table's own change of epochs; a table over training lengths defines ratios of lengths.
        config = changed(scale.configs[setting.method], {**own, **setting.changes})
        warmup = min(config.optim.warmup_epochs, config.epochs / 2)
        config = changed(
            config, {"optim.warmup_epochs": warmup, "checkpoint_every": min(config.checkpoint_every, config.epochs)}
        )
        before = runs.get(name, [])
        baselines = setting.baseline or setting.features == "untrained" or any(run.baselines for run in before)
        runs[name] = [
            Run(name, seed, changed(config, {"seed": seed, "split_seed": seed if scale.resplit else 0}), baselines)
            for seed in range(seeds)
        ]
    return [run for alike in runs.values() for run in alike]


def applicable(table: Table, scale: Scale) -> list[Setting]:
    """The rows that are meaningful at a scale."""
    return [s for s in table.settings(scale.name) if scale.photographs or not s.photographs]


def chosen(table: Table, scale: Scale, runs: Sequence[Run], names: Sequence[str]) -> list[Run]:
    """The runs of the rows with these names; without names, all runs.

    Raises:
      InputError: on an unknown name.
    """
    rows = applicable(table, scale)
    for name in names:
        if name not in {row.name for row in rows}:
            raise InputError(
                f"only is {name}, which is not a row; it must be one of {', '.join(row.name for row in rows)}."
            )
    own = {slug(row, scale.configs[row.method]) for row in rows if not names or row.name in names}
    return [run for run in runs if run.slug in own]


def share(runs: Sequence[Run], shard: str) -> list[Run]:
    """A part of the runs; runs of a setting stay together as far as possible, so that they share one compilation.

    Raises:
      InputError: on a shard that is not I/N with I from 1 to N.
    """
    first, _, second = shard.partition("/")
    if not (first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second)):
        raise InputError(f"shard is {shard}; it must be I/N with I from 1 to N, such as 1/4.")
    part, parts = int(first) - 1, int(second)
    return list(runs[len(runs) * part // parts : len(runs) * (part + 1) // parts])
