"""Decode many images, from files or memory, into one uint8 array of canvases with a pool of threads."""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from sslax.data import formats
from sslax.data.picture import USUAL, Reading, Unreadable, read_image
from sslax.errors import InputError
from sslax.files import expanded

DEFAULT_CANVAS = 256
_CHUNK = 32


NO_LABEL = -1


class Encoded(NamedTuple):
    """One image as its source stores it: a file path or encoded bytes, and its label."""

    file: Path | bytes
    label: int = NO_LABEL


class _SizesDiffer(Exception):
    pass


class Decoded(NamedTuple):
    """The canvases of the files that could be decoded, in order.

    Attributes:
        images: [m, S, S, 3].
        aspects: [m], original width / height.
        labels: [m], from the source.
        failures: index of each file that could not be decoded -> the reason; the m images come from all other files.
        own_size: whether the canvas is the common size of the images.
        treated: number of images per special treatment; its keys are those of `sslax.data.picture.treated_note`.
    """

    images: UInt8[np.ndarray, "m s s 3"]
    aspects: Float32[np.ndarray, "m"]
    labels: Int32[np.ndarray, "m"]
    failures: dict[int, str]
    own_size: bool
    treated: Counter[str]


def decode_files(
    paths: Sequence[Path],
    canvas: int | None,
    progress: Callable[[int, int], None] | None = None,
    reading: Reading = USUAL,
) -> Decoded:
    """`decode_all` of n files."""
    return decode_all(lambda index: Encoded(paths[index]), len(paths), canvas, progress, reading=reading)


def read_files(
    paths: Sequence[str | os.PathLike[str]], canvas: int, reading: Reading = USUAL
) -> tuple[UInt8[np.ndarray, "n s s 3"], Float32[np.ndarray, "n"]]:
    """Read image files that a user lists: their canvases and original widths / heights.

    Raises:
        InputError: if a file cannot be read.
    """
    decoded = decode_files([expanded(path) for path in paths], canvas, reading=reading)
    for index, why in sorted(decoded.failures.items()):
        raise InputError(f"images has {os.fspath(paths[index])!r}, which cannot be read as an image: {why}.")
    return decoded.images, decoded.aspects


def decode_all(
    fetch: Callable[[int], Encoded],
    count: int,
    canvas: int | None,
    progress: Callable[[int, int], None] | None = None,
    *,
    reading: Reading = USUAL,
    allocate: Callable[[int, int], UInt8[np.ndarray, "n s s 3"]] | None = None,
) -> Decoded:
    """Decode images directly into one array.

    Args:
        fetch: returns image 0 to count - 1; may be called from any thread.
        count: number of images.
        canvas: the side S of the canvas in pixels. None: the side of the images if all are square, of the same size and at
            most 256, else 256.
        progress: called as progress(done, count) after every few images, from the calling thread.
        reading: options for decoding the files.
        allocate: makes the array for a count and a canvas; None allocates it in memory.

    Raises:
        MemoryError: if the canvases do not fit into the machine's memory; the message is the size that they need.
    """

    def decode(side: int, *, own_size: bool) -> Decoded:
        return _decode_all(fetch, (allocate or _allocate)(count, side), progress, reading, own_size=own_size)

    # Import the readers once, before the threads start.
    formats.available()

    # Pillow warns about unusual metadata and large images for each file. Warning filters are global to the process, so they
    # are set once here and not in the threads.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if canvas is not None:
            return decode(canvas, own_size=False)
        side = own_side(fetch, count)
        if side is not None:
            # Assume that all images have the size of the first. This saves a pass over all file headers, a third of the
            # time for small images. A different size nearly always appears within the first few images.
            try:
                return decode(side, own_size=True)
            except _SizesDiffer:
                pass
        return decode(DEFAULT_CANVAS, own_size=False)


def own_side(fetch: Callable[[int], Encoded], count: int) -> int | None:
    """The side of the first image that can be decoded, if it is square and at most 256 pixels wide; else None."""
    for index in range(count):
        try:
            picture = read_image(fetch(index).file, 1)
        except Unreadable:
            continue
        return picture.width if picture.width == picture.height <= DEFAULT_CANVAS else None
    return None


def _decode_all(
    fetch: Callable[[int], Encoded],
    images: UInt8[np.ndarray, "n s s 3"],
    progress: Callable[[int, int], None] | None,
    reading: Reading,
    *,
    own_size: bool,
) -> Decoded:
    count, canvas = images.shape[:2]
    aspects = np.empty(count, dtype=np.float32)
    labels = np.empty(count, dtype=np.int32)

    def work(start: int) -> tuple[dict[int, str], Counter[str]]:
        failures: dict[int, str] = {}
        treated: Counter[str] = Counter()
        for index in range(start, min(start + _CHUNK, count)):
            encoded = fetch(index)
            try:
                picture = read_image(encoded.file, canvas, reading)
            except Unreadable as error:
                failures[index] = str(error)
                continue
            if own_size and (picture.width, picture.height) != (canvas, canvas):
                raise _SizesDiffer
            images[index] = picture.pixels
            aspects[index] = picture.width / picture.height
            labels[index] = encoded.label
            treated.update(picture.treated)
        return failures, treated

    failures: dict[int, str] = {}
    treated: Counter[str] = Counter()
    starts = range(0, count, _CHUNK)
    pool = ThreadPoolExecutor(default_threads())
    try:
        for start, (failed, done) in zip(starts, pool.map(work, starts), strict=True):
            failures |= failed
            treated += done
            if progress is not None:
                progress(min(start + _CHUNK, count), count)
    finally:
        # After an interrupt, do not wait for the queued work.
        pool.shutdown(cancel_futures=True)

    # Close the gaps in place, because a copy would need the memory twice.
    kept = [index for index in range(count) if index not in failures] if failures else range(count)
    first_gap = min(failures, default=count)
    for to, index in islice(enumerate(kept), first_gap, None):
        images[to], aspects[to], labels[to] = images[index], aspects[index], labels[index]
    m = len(kept)
    return Decoded(images[:m], aspects[:m], labels[:m], failures, own_size, treated)


def default_threads() -> int:
    """Number of decoding threads: one per core, at most 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 16)


def _allocate(count: int, canvas: int) -> UInt8[np.ndarray, "n s s 3"]:
    needed = count * canvas * canvas * 3
    # Linux overcommits memory: the allocation succeeds, and the process is killed when it writes to the array.
    if hasattr(os, "sysconf") and needed > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        raise MemoryError(f"{needed / 2**30:.1f} GiB")
    try:
        return np.empty((count, canvas, canvas, 3), dtype=np.uint8)
    except MemoryError:
        raise MemoryError(f"{needed / 2**30:.1f} GiB") from None
