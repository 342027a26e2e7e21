"""Images per second of the streamed feed compared with decoding alone, and of the cache compared with decoding, in one run.

`python -m experiments.benchmarks.feed --data folder:PATH`. Decoding alone is a plain loop over the decoding function of all
feeds, with the same number of threads. The difference to the streamed feed is the time for waiting, copying and ordering. All
read the same images in the same shuffled order.
"""

import dataclasses
import functools
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tyro

from experiments.benchmarks.timing import alternate, report
from sslax.cli import terminal
from sslax.data import LazyDataset, LazySplit, Split, open_lazily
from sslax.data.cache import open_cached
from sslax.data.decode import default_threads
from sslax.data.stream import Once, read_batches
from sslax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Options:
    """Images per second of the streamed and the cached feed, compared with decoding alone."""

    data: str
    """Images to read: folder:PATH or tfds:NAME."""
    canvas: int = 128
    """Side of the canvases in pixels."""
    images: int = 2048
    """Images per timed round."""
    batch_size: int = 256
    """Images per batch."""
    rounds: int = 7
    """Timed rounds of each, alternating; the median counts."""
    threads: int | None = None
    """Number of reading threads; None uses one per core."""


def decode_alone(split: LazySplit, indices: np.ndarray, threads: int) -> int:
    """Decode the images at `indices` in threads and discard them; return their number."""
    pieces = np.array_split(indices, -(-len(indices) // 16))
    with ThreadPoolExecutor(threads) as pool:
        return sum(len(images.images) for images in pool.map(split.read, pieces))


def through_the_feed(split: Split | LazySplit, indices: np.ndarray, threads: int, batch_size: int) -> int:
    """Read the images at `indices` with the streamed feed, batch by batch; return their number."""
    return sum(len(batch.images) for batch in read_batches(split, Once(indices, batch_size), threads=threads))


def run(options: Options) -> None:
    """Print a line for the streamed feed and one for the cache."""
    for name in ("canvas", "images", "batch_size", "rounds", "threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; it must be at least 1.")
    data = open_lazily(options.data, canvas=options.canvas)
    if not isinstance(data, LazyDataset):
        raise InputError(f"data is {options.data}, which needs no decoding; it must be folder:PATH or tfds:NAME.")
    threads = options.threads or default_threads()
    order = np.random.default_rng(0).permutation(len(data.train))[: options.images]
    # Cache only the images that are read; a large set would be decoded for nothing.
    chosen = dataclasses.replace(
        data.train, fetch=_Chosen(data.train, order), names=[data.train.names[i] for i in order]
    )
    small = dataclasses.replace(data, train=chosen, test=None)
    every = np.arange(len(order))
    with tempfile.TemporaryDirectory() as folder:
        cached = open_cached(small, folder, {}).train
        functions = {
            "streamed": functools.partial(through_the_feed, chosen, every, threads, options.batch_size),
            "decoding alone": functools.partial(decode_alone, chosen, every, threads),
            "cached": functools.partial(
                through_the_feed, cached, np.random.default_rng(1).permutation(every), threads, options.batch_size
            ),
        }
        seconds = alternate(functions, rounds=options.rounds)
    more = {"canvas": options.canvas, "threads": threads, "images": len(order), "data": options.data}
    for name in ("streamed", "cached"):
        rates = [len(order) / seconds[which] for which in (name, "decoding alone")]
        report(f"{name} feed", rates[0], "images/s", rival="decoding alone", rival_figure=rates[1], **more)


@dataclasses.dataclass(frozen=True)
class _Chosen:
    """Selected images of a split, in a given order."""

    split: LazySplit
    order: np.ndarray

    def __call__(self, index: int):
        return self.split.fetch(int(self.order[index]))


def main() -> None:
    """The command line."""
    options = tyro.cli(Options, prog="python -m experiments.benchmarks.feed")
    terminal.run_script(lambda: run(options))


if __name__ == "__main__":
    main()
