"""The streamed feed: grain decodes images on the host, ahead of the step that uses them.

The images of a step depend only on its position in the run. A resumed run therefore needs no reader state, and it sees the
same images as with the resident feed. Several threads or worker processes read a batch in pieces, which are then joined in
order.
"""

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grain
import jax
import numpy as np
from absl import flags
from grain.experimental import ThreadPrefetchIterDataset
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Key

from sslax.data.dataset import Images, Split
from sslax.data.decode import default_threads
from sslax.data.feed import Placed, epoch_order
from sslax.data.lazy import LazySplit

# Images per piece, decoded or copied from an array: enough to amortise the overhead of a call, few enough that several
# threads share a batch.
_DECODED_AT_ONCE, _COPIED_AT_ONCE = 16, 64
# Batches that are prefetched on the host, and on the devices besides the one in use.
_WAITING, _PLACED = 2, 1
# The lock keeps two threads from compiling the order of the same epoch twice.
_LOCK = threading.Lock()


@dataclass
class Epochs:
    """The schedule of a run from step `start` on: for each batch, the indices of the images that this process reads.

    Attributes:
        key: the raw data of the run's key, and the name of its PRNG implementation.
        images: number of images of the set.
        batch_size: images per step, over all processes.
        steps_per_epoch: full batches per epoch.
        start: the first step.
        steps: number of steps of the whole run.
        rows: positions in the batch that this process reads.
    """

    key: tuple[np.ndarray, str]
    images: int
    batch_size: int
    steps_per_epoch: int
    start: int
    steps: int
    rows: Int[np.ndarray, "b"]
    _orders: dict[int, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return self.steps - self.start

    def __getitem__(self, batch: int) -> Int[np.ndarray, "b"]:
        epoch, step = divmod(self.start + batch, self.steps_per_epoch)
        return self._order(epoch)[step * self.batch_size + self.rows]

    def _order(self, epoch: int) -> np.ndarray:
        order = self._orders.get(epoch)
        if order is None:
            numbers, kind = self.key
            # On the CPU backend if there is one: on the accelerator it would queue behind all dispatched steps.
            with _on_host(), _LOCK:
                key = jax.random.wrap_key_data(jax.numpy.asarray(numbers), impl=kind)
                order = np.asarray(epoch_order(key, epoch, self.images))
            self._orders[epoch] = order
            # Keep the previous epoch too: threads may still read its end while others read the next epoch's beginning.
            for old in [other for other in list(self._orders) if other < epoch - 1]:
                self._orders.pop(old, None)
        return order


def _on_host() -> Any:
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:  # JAX_PLATFORMS excludes the CPU.
        return jax.default_device(jax.local_devices()[0])


@dataclass(frozen=True)
class Once:
    """The schedule that reads every image once, in order, in batches of one size; the last one may be smaller."""

    indices: Int[np.ndarray, "n"]
    size: int

    def __len__(self) -> int:
        return -(-len(self.indices) // self.size)

    def __getitem__(self, batch: int) -> Int[np.ndarray, "b"]:
        return self.indices[batch * self.size : (batch + 1) * self.size]


@dataclass(frozen=True)
class _Pieces:
    """The data source for grain: the batches, cut into pieces that one thread reads."""

    split: Split | LazySplit
    schedule: Epochs | Once
    per_batch: int
    size: int

    def __len__(self) -> int:
        return len(self.schedule) * self.per_batch

    def __getitem__(self, place: Any) -> Images:
        batch, piece = divmod(int(place), self.per_batch)
        indices = self.schedule[batch]
        return self.split.read(indices[piece * self.size : (piece + 1) * self.size])


def read_batches(
    split: Split | LazySplit, schedule: Epochs | Once, *, workers: int = 0, threads: int | None = None
) -> Generator[Images, None, None]:
    """The scheduled batches on the host, in order, prefetched while earlier ones are used.

    Args:
        split: the split to read.
        schedule: the indices of each batch.
        workers: number of decoding processes; 0 decodes in threads of this process. A split in memory always uses threads.
        threads: number of threads; None uses one per core.

    Raises:
        InputError: from the iterator, if an image cannot be decoded.
    """
    # Pillow warns about unusual metadata for each file, in threads, which cannot have their own warning filters.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    if not len(schedule):
        return
    if isinstance(split, Split):
        # Each worker would get a copy of the whole set only to copy parts of it back.
        workers = 0
    size = _COPIED_AT_ONCE if isinstance(split, Split) else _DECODED_AT_ONCE
    per_batch = -(-len(schedule[0]) // size)
    threads = (threads or default_threads()) if not workers else 1
    ahead = max(_WAITING * per_batch, 2 * threads)
    source: Any = _Pieces(split, schedule, per_batch, size)
    pieces = grain.MapDataset.source(source).to_iter_dataset(grain.ReadOptions(threads, ahead))
    if workers:
        # grain reads absl's flags, which are parsed only in programs started by absl.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=-(-ahead // workers))
        pieces = pieces.mp_prefetch(options, worker_init_fn=_begin_worker)
    batches = pieces.batch(per_batch, batch_fn=_joined)
    reader = iter(ThreadPrefetchIterDataset(batches, prefetch_buffer_size=_WAITING))
    try:
        with _stops_blocked():
            # Its thread, and the workers that the thread starts, keep the signals blocked.
            reader.start_prefetch()
        yield from reader
    finally:
        reader.close()


@contextlib.contextmanager
def _stops_blocked() -> Iterator[None]:
    """Block Ctrl-C and SIGTERM in this thread; a new thread or process inherits that, from its first instruction on.

    A terminal and SLURM send them to workers too, but the training process still needs batches until it has saved.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker(index: int, count: int) -> None:
    """Set up a worker: it uses jax on the CPU only, as the training process owns the accelerators, and ends with its parent."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    jax.config.update("jax_platforms", "cpu")
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _end_with_parent() -> None:
    """End this worker when its parent has died: nobody can stop it by SIGTERM, which is blocked."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _joined(pieces: Sequence[Images]) -> Images:
    images, aspects = (np.concatenate([piece[column] for piece in pieces]) for column in (0, 1))
    labels = [piece.labels for piece in pieces if piece.labels is not None]
    return Images(images, aspects, np.concatenate(labels) if labels else None)


def stream(
    split: Split | LazySplit,
    key: Key[Array, ""],
    mesh: Mesh,
    *,
    batch_size: int,
    steps_per_epoch: int,
    start: int,
    steps: int,
    workers: int = 0,
) -> Generator[Placed, None, None]:
    """The batches of a run on the devices, from step `start` on; they equal the resident feed's batches of the same steps.

    Each process reads the rows of its own devices. The next batch is transferred while the current one is used.

    Args:
        split: the training images.
        key: the run's key.
        mesh: the devices that share a batch.
        batch_size: images per step, over all devices.
        steps_per_epoch: full batches per epoch.
        start: the first step.
        steps: number of steps of the whole run.
        workers: as in `read_batches`.

    Raises:
        InputError: from the iterator, if an image cannot be decoded.
    """
    rows = NamedSharding(mesh, PartitionSpec("data"))
    own = sorted(
        {
            (piece[0].start or 0, batch_size if piece[0].stop is None else piece[0].stop)
            for piece in rows.addressable_devices_indices_map((batch_size,)).values()
            if piece is not None
        }
    )
    here = np.concatenate([np.arange(first, last) for first, last in own])
    schedule = Epochs(
        # A copy, because the training state that holds the key is donated to the next step.
        (np.array(jax.random.key_data(key)), str(jax.random.key_impl(key))),
        len(split),
        batch_size,
        steps_per_epoch,
        start,
        steps,
        here,
    )
    place = functools.partial(_place, rows=rows, batch_size=batch_size)
    waiting: deque[Placed] = deque()
    batches = read_batches(split, schedule, workers=workers)
    try:
        for batch in batches:
            waiting.append(place(batch))
            if len(waiting) > _PLACED:
                yield waiting.popleft()
        yield from waiting
    finally:
        batches.close()


def _place(batch: Images, rows: NamedSharding, batch_size: int) -> Placed:
    def put(x: np.ndarray) -> Array:
        return jax.make_array_from_process_local_data(rows, x, (batch_size, *x.shape[1:]))

    return Placed(put(batch.images), put(batch.aspects), None if batch.labels is None else put(batch.labels))
