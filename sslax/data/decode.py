"""Encoded images, in files or in memory -> one uint8 array of canvases, on a pool of threads.

A file's content, not its name, decides its format. Whatever its mode, it becomes RGB: gray is repeated, alpha is
dropped (as torchvision's loader does), palettes and CMYK are converted, 16-bit gray is scaled to 8 bits by its full
range, and 32-bit integers or floats, which carry no white of their own, are scaled by the smallest of 1 (floats), 255
and 65535 that holds their maximum. Of animations the first frame is read. An EXIF rotation is not applied, as in
torchvision and in the ImageNet pipelines.

Resizing is Pillow's bicubic, antialiased. A JPEG that is large for the canvas is decoded at 1/2, 1/4 or 1/8 of its
size, as long as three pixels a canvas pixel are left in each direction: that costs a fraction of the time, and on
photographs and on noise the canvas differed by 7 levels of 255 at most, at over 50 dB PSNR, from the full decode's.
"""

import contextlib
import io
import os
import stat
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, UInt8

# These two register their formats when imported; Pillow would else do it from whichever thread comes first.
from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin  # noqa: F401

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
# Named, so that a file that only pretends to be an image never reaches a reader that runs other programs (EPS).
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MAX_PIXELS = 2**27  # 400 MB as RGB: more than a 108-megapixel photograph.
# More pixels than this (100 MB as RGB), after a JPEG's reduction, are decoded by one thread at a time: a small file can
# claim them, and in every thread at once they would fill the memory.
_LARGE_PIXELS = 2**25
_large = threading.Lock()
DEFAULT_CANVAS = 256
_DRAFT_MARGIN = 3
_CHUNK = 32


NO_LABEL = -1


class Encoded(NamedTuple):
    """One image as its source has it: a file, or the bytes of one, and the number of its class."""

    file: Path | bytes
    label: int = NO_LABEL


class Unreadable(Exception):
    """A file that cannot be decoded; the message is the reason, without the file's name."""


class _SizesDiffer(Exception):
    pass


class Picture(NamedTuple):
    """One decoded file: its RGB pixels on the canvas, its true size, whether its white had to be guessed."""

    pixels: UInt8[np.ndarray, "s s 3"]
    width: int
    height: int
    guessed_white: bool


class Decoded(NamedTuple):
    """The canvases of the files that could be decoded, in order.

    Attributes:
        images: [m, S, S, 3].
        aspects: [m], true width / height.
        labels: [m], as the source gave them.
        failures: index of the file -> why it could not be decoded; the m images are those of all other files.
        own_size: whether the canvas is the size that all the images had.
        guessed_white: how many images had values of 32 bits, whose white is a guess.
    """

    images: UInt8[np.ndarray, "m s s 3"]
    aspects: Float32[np.ndarray, "m"]
    labels: Int32[np.ndarray, "m"]
    failures: dict[int, str]
    own_size: bool
    guessed_white: int


def decode_files(
    paths: Sequence[Path], canvas: int | None, progress: Callable[[int, int], None] | None = None
) -> Decoded:
    """`decode_all` of n files."""
    return decode_all(lambda index: Encoded(paths[index]), len(paths), canvas, progress)


def decode_all(
    fetch: Callable[[int], Encoded],
    count: int,
    canvas: int | None,
    progress: Callable[[int, int], None] | None = None,
    *,
    allocate: Callable[[int, int], UInt8[np.ndarray, "n s s 3"]] | None = None,
) -> Decoded:
    """Decodes images straight into one array.

    Args:
        fetch: gives the images 0 to count - 1, from any thread.
        count: how many there are.
        canvas: the canvas' side S in pixels. None: the side of the images, if all are square, of one size and at most
            256, else 256.
        progress: called as progress(done, count) after every few images, from the calling thread.
        allocate: makes the array for a count and a canvas; None is an array in memory.

    Raises:
        MemoryError: the canvases would not fit into the machine's memory; the message says how much they need.
    """

    def decode(side: int, *, own_size: bool) -> Decoded:
        return _decode_all(fetch, (allocate or _allocate)(count, side), progress, own_size=own_size)

    # Pillow warns of odd metadata and of large images, file by file. Filters belong to the process, so they are set
    # here, once, and not in the threads.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if canvas is not None:
            return decode(canvas, own_size=False)
        side = own_side(fetch, count)
        if side is not None:
            # Hoping that all are like the first spares a pass over every file's header, a third of the time for small
            # images; where they are not, it nearly always shows within the first few.
            try:
                return decode(side, own_size=True)
            except _SizesDiffer:
                pass
        return decode(DEFAULT_CANVAS, own_size=False)


def read_image(file: Path | bytes, canvas: int) -> Picture:
    """Reads one file, or its bytes, onto a canvas of S = `canvas` pixels a side.

    Raises:
        Unreadable: the file is missing, cut off, no image, has more than 2^27 pixels or values of unknown meaning.
    """
    try:
        # Opening a pipe would wait for someone to write into it.
        if not isinstance(file, bytes) and not stat.S_ISREG(os.stat(file).st_mode):
            raise Unreadable("not a file")
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=_FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise Unreadable(f"{width} x {height} pixels are more than {MAX_PIXELS}")
            if width * height == 0:
                raise Unreadable("no pixels")
            # The box leaves out what of a draft's last row and column lies outside of the image.
            box = None
            enough = canvas * _DRAFT_MARGIN
            if min(width, height) >= 2 * enough and (draft := image.draft(None, (enough, enough))):
                box = draft[1]
            with _large if image.width * image.height > _LARGE_PIXELS else contextlib.nullcontext():
                rgb, guessed_white = _as_rgb(image)
                if rgb.size != (canvas, canvas):
                    rgb = rgb.resize((canvas, canvas), Image.Resampling.BICUBIC, box=box)
        return Picture(np.asarray(rgb), width, height, guessed_white)
    except Unreadable:
        raise
    # Readers of broken files raise nearly anything: OSError, SyntaxError, struct.error, IndexError, MemoryError.
    except Exception as error:
        raise Unreadable(_reason(file, error)) from error


def read_quietly(file: Path | bytes, canvas: int) -> Picture:
    """`read_image` without Pillow's warnings, for the main thread: filters belong to the process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_image(file, canvas)


def _reason(file: Path | bytes, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image" if (len(file) if isinstance(file, bytes) else file.stat().st_size) else "empty file"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS} pixels"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return text.splitlines()[0][:80]


def _as_rgb(image: Image.Image) -> tuple[Image.Image, bool]:
    if image.mode == "RGB":
        image.load()  # convert() would copy.
        return image, False
    if not image.mode.startswith(("I", "F")):
        return image.convert("RGB"), False
    # Pillow's own conversion would clip these at 255. 16-bit PGM comes as mode I, its values already 16-bit.
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    known = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")
    whites = [65535] if known else [1, 255, 65535] if image.mode == "F" else [255, 65535]
    white = next((white for white in whites if high <= white), None)
    if white is None or low < 0:
        raise Unreadable(f"gray values from {low:g} to {high:g} have no known white")
    gray = Image.fromarray(np.rint(values * np.float32(255 / white)).astype(np.uint8))
    return gray.convert("RGB"), not known


def own_side(fetch: Callable[[int], Encoded], count: int) -> int | None:
    """The side of the first image that can be decoded, where it is a square of at most 256 pixels; else None."""
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
    *,
    own_size: bool,
) -> Decoded:
    count, canvas = images.shape[:2]
    aspects = np.empty(count, dtype=np.float32)
    labels = np.empty(count, dtype=np.int32)

    def work(start: int) -> tuple[dict[int, str], int]:
        failures, guessed = {}, 0
        for index in range(start, min(start + _CHUNK, count)):
            encoded = fetch(index)
            try:
                picture = read_image(encoded.file, canvas)
            except Unreadable as error:
                failures[index] = str(error)
                continue
            if own_size and (picture.width, picture.height) != (canvas, canvas):
                raise _SizesDiffer
            images[index] = picture.pixels
            aspects[index] = picture.width / picture.height
            labels[index] = encoded.label
            guessed += picture.guessed_white
        return failures, guessed

    failures: dict[int, str] = {}
    guessed_white = 0
    starts = range(0, count, _CHUNK)
    pool = ThreadPoolExecutor(default_threads())
    try:
        for start, (failed, guessed) in zip(starts, pool.map(work, starts), strict=True):
            failures |= failed
            guessed_white += guessed
            if progress is not None:
                progress(min(start + _CHUNK, count), count)
    finally:
        # An interrupt must not wait for the whole queue.
        pool.shutdown(cancel_futures=True)

    # Moved up within the array, since a copy would need the memory twice.
    kept = [index for index in range(count) if index not in failures] if failures else range(count)
    first_gap = min(failures, default=count)
    for to, index in islice(enumerate(kept), first_gap, None):
        images[to], aspects[to], labels[to] = images[index], aspects[index], labels[index]
    m = len(kept)
    return Decoded(images[:m], aspects[:m], labels[:m], failures, own_size, guessed_white)


def default_threads() -> int:
    """How many images are decoded at once: one a core, 16 at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 16)


def _allocate(count: int, canvas: int) -> UInt8[np.ndarray, "n s s 3"]:
    needed = count * canvas * canvas * 3
    # Linux hands out memory that it does not have, and kills the process when it is written to.
    if hasattr(os, "sysconf") and needed > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        raise MemoryError(f"{needed / 2**30:.1f} GiB")
    try:
        return np.empty((count, canvas, canvas, 3), dtype=np.uint8)
    except MemoryError:
        raise MemoryError(f"{needed / 2**30:.1f} GiB") from None
