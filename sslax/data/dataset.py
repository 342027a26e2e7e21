"""What a set of images is, and how sets are limited and split.

A *canvas* is a whole image squashed to S x S pixels, its true aspect ratio (width / height, in source pixels) kept
beside it. Images here are uint8 in [0, 255], RGB, rows first; sizes are in pixels.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Int32, UInt8

from sslax.data.picture import USUAL, Reading

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
