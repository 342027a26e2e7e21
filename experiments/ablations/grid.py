"""The runs of a table: its rows over seeds, and which of them are this machine's."""

import dataclasses
import pathlib
from collections.abc import Sequence

from experiments.ablations.scales import Scale, ScaleName
from experiments.ablations.table import Setting, Table, changed, slug
from sslax.config import Config
from sslax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Options:
    """One of the papers' tables, run and set beside the paper's column."""

    scale: ScaleName = "digits"
    """Images, network and length: digits and cifar10-cpu are for two CPU cores, cifar10 and imagenette for a GPU."""
    data: str | None = None
    """Images, in place of the scale's: folder:PATH or tfds:NAME."""
    seeds: int | None = None
    """Runs of each setting; None is what the table says."""
    epochs: int | None = None
    """Passes over the images; None is what the scale says."""
    only: tuple[str, ...] = ()
    """Rows to run, by their names; none is all. The table shows what there is of the others, too."""
    shard: str = "1/1"
    """I/N: of N machines that share the folder `out` this is the I-th, and takes the I-th part of the runs."""
    jobs: int | None = None
    """Runs at a time, each on its own cores; None is one for each core on a CPU, where small networks leave others idle, and
    one elsewhere."""
    out: str = "runs/ablations"
    """Folder of the runs and of what is saved of each table. Tables share the runs that they have in common."""
    publish: str | None = None
    """Another folder to save the table's figures to, such as results/ablations, which docs/ablations.md is made of."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a grid: a setting's configuration with a seed."""

    slug: str
    seed: int
    config: Config
    baselines: bool

    def folder(self, out: pathlib.Path, scale: Scale) -> pathlib.Path:
        """Where it is kept."""
        return out / scale.name / self.slug / f"seed{self.seed}"


def grid(table: Table, scale: Scale, options: Options) -> list[Run]:
    """The runs of a table, those of a setting one after another.

    Raises:
      InputError: on options that cannot be.
    """
    seeds = table.seeds if options.seeds is None else options.seeds
    if seeds < 1:
        raise InputError(f"seeds is {seeds}; it must be at least 1.")
    own = {name: value for name, value in (("data", options.data), ("epochs", options.epochs)) if value is not None}
    runs: dict[str, list[Run]] = {}
    for setting in applicable(table, scale):
        name = slug(setting, scale.configs[setting.method])
        # A change of the table's own epochs stays; a table over lengths is one of ratios.
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
    """The rows that make sense at a scale."""
    return [s for s in table.settings(scale.name) if scale.photographs or not s.photographs]


def chosen(table: Table, scale: Scale, runs: Sequence[Run], names: Sequence[str]) -> list[Run]:
    """The runs of the rows of these names; of all where there are none.

    Raises:
      InputError: on a name that no row has.
    """
    rows = applicable(table, scale)
    for name in names:
        if name not in {row.name for row in rows}:
            raise InputError(
                f"only is {name}, which is no row; it must be one of {', '.join(row.name for row in rows)}."
            )
    own = {slug(row, scale.configs[row.method]) for row in rows if not names or row.name in names}
    return [run for run in runs if run.slug in own]


def share(runs: Sequence[Run], shard: str) -> list[Run]:
    """A part of the runs, those of a setting together as far as can be: what they share is then compiled once.

    Raises:
      InputError: on a shard that is not I/N with I from 1 to N.
    """
    first, _, second = shard.partition("/")
    if not (first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second)):
        raise InputError(f"shard is {shard}; it must be I/N with I from 1 to N, such as 1/4.")
    part, parts = int(first) - 1, int(second)
    return list(runs[len(runs) * part // parts : len(runs) * (part + 1) // parts])
