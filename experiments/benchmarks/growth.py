"""Scaling of time and memory: NT-Xent with the pairs of a batch, kNN with the number of labelled features.

`python -m experiments.benchmarks.growth`. Temporaries are those of the compiled program. Times are medians, measured in
alternation with the next smaller size, for sizes that do not take too long. For the bytes communicated by number of devices
see `experiments.benchmarks.collectives`.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np
import tyro

from experiments.benchmarks import knn, losses
from experiments.benchmarks.timing import alternate, report
from sslax.cli import terminal
from sslax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Options:
    """Time and memory over sizes."""

    pairs: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
    """Numbers of pairs for NT-Xent, forward and backward."""
    dimensions: int = 128
    """Width of the embeddings."""
    rows: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    """Numbers of labelled features for kNN, of width 512."""
    queries: int = 1000
    """Number of features to classify."""
    timed_pairs: int = 32768
    """Largest number of pairs to time; for more, only the memory is measured."""
    timed_rows: int = 100_000
    """Largest number of rows to time."""
    rounds: int = 5
    """Timed calls of each size, alternating with the next smaller; the median counts."""


def run(options: Options) -> None:
    """Print a line for each size."""
    for name in ("pairs", "rows"):
        if any(size < 1 for size in getattr(options, name)):
            raise InputError(f"{name} is {getattr(options, name)}; each must be at least 1.")
    _grow("nt_xent forward and backward", "pairs", options.pairs, options.timed_pairs, options, _loss)
    _grow("kNN", "rows", options.rows, options.timed_rows, options, _votes)


def _loss(pairs: int, options: Options) -> tuple[jax.stages.Compiled, Callable[[], Callable[[], object]]]:
    """The compiled loss with gradients, and a function that calls it."""
    compiled = losses.ours(pairs, options.dimensions)

    def call() -> Callable[[], object]:
        z = np.random.default_rng(0).standard_normal((2, pairs, options.dimensions), np.float32)
        return functools.partial(compiled, *jax.device_put((z[0], z[1])))

    return compiled, call


def _votes(rows: int, options: Options) -> tuple[jax.stages.Compiled, Callable[[], Callable[[], object]]]:
    """The compiled votes, and a function that calls them."""
    settings = knn.Options()
    compiled = knn.ours(options.queries, rows, settings)

    def call() -> Callable[[], object]:
        rng = np.random.default_rng(0)
        arrays = [rng.standard_normal((n, settings.dimensions), np.float32) for n in (options.queries, rows)]
        labels = rng.integers(0, 10, rows).astype(np.int32)
        return functools.partial(compiled, *jax.device_put((*arrays, labels)))

    return compiled, call


def _grow(name, what, sizes, timed, options, make) -> None:
    before: Callable[[], object] | None = None
    for size in sorted(sizes):
        compiled, call = make(size, options)
        seconds = smaller = None
        if size <= timed:
            functions = {"this": call()} | ({} if before is None else {"smaller": before})
            found = alternate(functions, rounds=options.rounds)
            seconds, smaller, before = found["this"], found.get("smaller"), functions["this"]
        memory = compiled.memory_analysis()
        report(
            f"{name}, {size} {what}",
            None if seconds is None else 1000 * seconds,
            "ms",
            rival="the next smaller size",
            rival_figure=None if smaller is None else 1000 * smaller,
            size=size,
            memory_mb=memory.temp_size_in_bytes / 1e6,
        )


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="python -m experiments.benchmarks.growth")
    terminal.run_script(lambda: run(options))


if __name__ == "__main__":
    main()
