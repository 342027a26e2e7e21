"""The sources of images by name, what each gives (`Dataset`), and how sets are limited and split.

A *canvas* is a whole image squashed to S x S pixels, its true aspect ratio (width / height, in source pixels) kept
beside it. Images here are uint8 in [0, 255], RGB, rows first; sizes are in pixels.
"""

import difflib
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Int32, UInt8

from sslax.data.opaque import WHITE, Colour
from sslax.data.picture import USUAL, Reading
from sslax.errors import InputError

if TYPE_CHECKING:
    from sslax.data.lazy import LazyDataset

MAX_CANVAS = 4096
TEST_FRACTION = 0.2


class Images(NamedTuple):
    """Some images in memory: canvases, true widths / heights, and classes or None."""

    images: UInt8[np.ndarray, "b s s 3"]
    aspects: Float32[np.ndarray, "b"]
    labels: Int32[np.ndarray, "b"] | None


@dataclass(frozen=True, eq=False)
class Split:
    """One split of a set, in memory: `n` canvases of S x S pixels.

    Attributes:
        images: uint8 [n, S, S, 3], whole images squashed to the canvas.
        labels: int32 [n], indices into the set's `classes`; None where there are none.
        aspects: float32 [n], each image's true width / height before it was squashed.
        names: n names, relative to the source; they are unique and sorted folder by folder.
    """

    images: UInt8[np.ndarray, "n s s 3"]
    labels: Int32[np.ndarray, "n"] | None
    aspects: Float32[np.ndarray, "n"]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def canvas(self) -> int:
        """The side S of the canvases, pixels."""
        return self.images.shape[1]

    @property
    def labelled(self) -> bool:
        """Whether the images have classes."""
        return self.labels is not None

    def read(self, indices: Int[np.ndarray, "b"]) -> Images:
        """A copy of these images, in their order."""
        labels = None if self.labels is None else self.labels[indices]
        return Images(self.images[indices], self.aspects[indices], labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A set of images, in memory.

    Attributes:
        name: the spec it was opened by.
        train: what to learn from.
        test: what to evaluate on; None where an unlabelled source brings no split of its own.
        classes: the classes' names in the order of the labels; empty where there are no labels.
        notes: what the user should know of how the set was read, in sentences.
    """

    name: str
    train: Split
    test: Split | None
    classes: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """What a source is asked for; the fields are `open_dataset`'s arguments, already checked, and how files are read."""

    spec: str
    canvas: int | None
    limit: int | None
    split_seed: int
    allow_unreadable: bool
    progress: Callable[[int, int], None] | None
    reading: Reading = USUAL


def _sources() -> "dict[str, Callable[[str, Request], Dataset | LazyDataset]]":
    """How each source is written -> what opens it, called with what stands after the colon."""
    # Imported here because these files build the Dataset defined above.
    from sslax.data import digits, folder, tfds

    return {
        "digits": digits.open_digits,
        "folder:PATH": folder.open_folder,
        "tfds:NAME": tfds.open_tfds,
    }


def open_dataset(
    spec: str,
    *,
    canvas: int | None = None,
    limit: int | None = None,
    split_seed: int = 0,
    allow_unreadable: bool = False,
    exif: bool = True,
    background: Colour = WHITE,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Reads a set of images into memory.

    Args:
        spec: `"digits"` (scikit-learn's 8 x 8 digits), `"folder:PATH"` (see `sslax.data.folder`) or
            `"tfds:NAME[/CONFIG][:SPLIT]"` (see `sslax.data.tfds`).
        canvas: side S of the canvases, 1 to 4096 pixels. None takes the images' own size where they all are square, of
            one size and at most 256; otherwise 256, which `notes` then says.
        limit: keep only the first so many images of each split, as evenly from each class as the classes allow; the
            others are not even decoded, so `canvas=None` does not look at them either.
        split_seed: picks the images that are held out where a labelled source has no test split, 0 or more.
        allow_unreadable: go on where more than 1 % of the files cannot be decoded.
        exif: turn photographs upright by their EXIF orientation; False leaves the pixels as they are stored.
        background: what shows where an image is transparent, RGB in [0, 255].
        progress: called as progress(done, total) in images, from the calling thread, by sources that decode files. It
            starts again from the beginning where `canvas=None` finds images of a second size.

    Returns:
        The set; the same arguments over the same files give the same arrays, in the same order.

    Raises:
        InputError: the spec, an option or the files cannot be used.
    """
    from sslax.data.lazy import LazyDataset, load

    data = open_lazily(
        spec,
        canvas=canvas,
        limit=limit,
        split_seed=split_seed,
        allow_unreadable=allow_unreadable,
        exif=exif,
        background=background,
        progress=progress,
    )
    return load(data, progress) if isinstance(data, LazyDataset) else data


def open_lazily(
    spec: str,
    *,
    canvas: int | None = None,
    limit: int | None = None,
    split_seed: int = 0,
    allow_unreadable: bool = False,
    exif: bool = True,
    background: Colour = WHITE,
    progress: Callable[[int, int], None] | None = None,
) -> "Dataset | LazyDataset":
    """Lists a set of images without decoding it; `sslax.data.lazy.load` of it is what `open_dataset` gives.

    Args:
        spec: as the other arguments, of `open_dataset`.
        canvas: as there.
        limit: as there.
        split_seed: as there.
        allow_unreadable: kept for `load`.
        exif: kept for whoever decodes.
        background: kept for whoever decodes.
        progress: called where all labels have to be read from records.

    Returns:
        The listed set; what is in memory anyway (digits) comes as it is.

    Raises:
        InputError: the spec or an option cannot be used, or there is nothing to list.
    """
    if canvas is not None and not 1 <= canvas <= MAX_CANVAS:
        raise InputError(f"canvas={canvas} is not a side in pixels; --canvas must be from 1 to {MAX_CANVAS}.")
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit} keeps no images; --limit must be at least 1, or left out to keep all of them.")
    if split_seed < 0:
        raise InputError(f"split_seed={split_seed} is negative; --split-seed must be 0 or more.")
    if len(background) != 3 or not all(isinstance(level, int) and 0 <= level <= 255 for level in background):
        raise InputError(f"background={background} is no colour; it must be three whole numbers from 0 to 255.")
    source, location = _find_source(spec)
    red, green, blue = background
    reading = Reading(exif, (red, green, blue))
    return source(location, Request(spec, canvas, limit, split_seed, allow_unreadable, progress, reading))


def _find_source(spec: str) -> "tuple[Callable[[str, Request], Dataset | LazyDataset], str]":
    sources = _sources()
    forms = {form.partition(":")[0]: form for form in sources}
    name, colon, location = spec.partition(":")
    if name not in forms:
        if os.path.isdir(os.path.expanduser(spec)):
            hint = f"did you mean 'folder:{spec}'?"
        elif near := difflib.get_close_matches(name.lower(), forms, n=1, cutoff=0.5):
            meant = f"{near[0]}:{location}" if location and ":" in forms[near[0]] else forms[near[0]]
            hint = f"did you mean '{meant}'?"
        else:
            hint = "write one of these."
        raise InputError(f"data={spec!r} is not a source of images (--data takes {' or '.join(sources)}); {hint}")
    form = forms[name]
    if ":" in form and not location:
        raise InputError(f"data={spec!r} does not say where the images are; write it as --data {form}.")
    if ":" not in form and colon:
        raise InputError(f"data={spec!r} says more than '{name}' can use; write it as --data {form}.")
    return sources[form], location


def keep_first(labels: Int[np.ndarray, "n"], limit: int) -> Int[np.ndarray, "m"]:
    """The first `limit` images, shared evenly among the classes.

    Classes get the same number, or one more for the first of them; what a small class cannot fill goes to the others.

    Args:
        labels: [n], 0 or more, one of each image in order.
        limit: how many to keep, at least 1.

    Returns:
        [m], m = min(n, limit), the increasing indices of the kept images: of each class its first ones.
    """
    counts = np.bincount(labels)
    quota = np.zeros_like(counts)
    left = min(limit, len(labels))
    while left:
        open_classes = np.flatnonzero(quota < counts)
        # All get an equal share, small ones up to their size; with less than one for each, the first ones get one more.
        open_classes = open_classes[:left]
        given = np.minimum(left // len(open_classes), (counts - quota)[open_classes])
        quota[open_classes] += given
        left -= int(given.sum())
    order = np.argsort(labels, kind="stable")
    starts = np.cumsum(counts) - counts
    rank = np.empty(len(labels), dtype=np.int64)
    rank[order] = np.arange(len(labels)) - starts[labels[order]]
    return np.flatnonzero(rank < quota[labels])


def hold_out(
    names: Sequence[str], labels: Int[np.ndarray, "n"], seed: int
) -> tuple[Int[np.ndarray, "a"], Int[np.ndarray, "b"]]:
    """A stratified split: a fifth of each class, rounded, but at least one image of it in both splits.

    An image's place is decided by a hash of the seed and its name rather than by a random generator's stream, so that
    the split stays the same with every version of every library, and nearly the same where files are added.

    Args:
        names: n unique names.
        labels: [n], 0 or more.
        seed: another seed gives another split.

    Returns:
        Increasing indices of the a training and the b test images, a + b = n. A class of one image has it in training.
    """
    digests = [hashlib.blake2b(f"{seed}/{name}".encode(errors="surrogateescape")).digest() for name in names]
    order = sorted(range(len(names)), key=lambda index: (labels[index], digests[index]))
    counts = np.bincount(labels)
    wanted = np.maximum(np.rint(TEST_FRACTION * counts), 1)
    wanted = np.minimum(wanted, counts - 1)
    rank = np.arange(len(names)) - np.repeat(np.cumsum(counts) - counts, counts)
    test = np.zeros(len(names), dtype=bool)
    test[order] = rank < np.repeat(wanted, counts)
    return np.flatnonzero(~test), np.flatnonzero(test)


def limit_note(labels: Int[np.ndarray, "n"], classes: Sequence[str]) -> str | None:
    """The sentence for `notes` where a limit left classes without any training image; None where it did not."""
    empty = len(classes) - len(np.unique(labels))
    return f"The limit left {empty} of {len(classes)} classes without a training image." if empty else None
