"""Sets of images in memory, and the rules that limit and split a set.

A *canvas* is a whole image squashed to S x S pixels; its original aspect ratio (width / height, in source pixels) is stored
separately. Images here are uint8 in [0, 255], RGB, rows first; sizes are in pixels.
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
    """A batch of images in memory: canvases, original widths / heights, and labels or None."""

    images: UInt8[np.ndarray, "b s s 3"]
    aspects: Float32[np.ndarray, "b"]
    labels: Int32[np.ndarray, "b"] | None


@dataclass(frozen=True, eq=False)
class Split:
    """One split of a set, in memory: `n` canvases of S x S pixels.

    Attributes:
        images: uint8 [n, S, S, 3], whole images squashed to the canvas.
        labels: int32 [n], indices into the set's `classes`; None for an unlabelled split.
        aspects: float32 [n], each image's original width / height, before squashing.
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
        """The side S of the canvases in pixels."""
        return self.images.shape[1]

    @property
    def labelled(self) -> bool:
        """Whether the images have labels."""
        return self.labels is not None

    def read(self, indices: Int[np.ndarray, "b"]) -> Images:
        """A copy of the images at `indices`, in the order of `indices`."""
        labels = None if self.labels is None else self.labels[indices]
        return Images(self.images[indices], self.aspects[indices], labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A set of images, in memory.

    Attributes:
        name: the spec that opened the set.
        train: the training split.
        test: the split for evaluation; None if the source is unlabelled and has no test split.
        classes: the class names in the order of the labels; empty for an unlabelled set.
        notes: sentences for the user on how the set was read.
    """

    name: str
    train: Split
    test: Split | None
    classes: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """The request to a source: `open_dataset`'s arguments, already checked, and the options for decoding files."""

    spec: str
    canvas: int | None
    limit: int | None
    split_seed: int
    allow_unreadable: bool
    progress: Callable[[int, int], None] | None
    reading: Reading = USUAL


def keep_first(labels: Int[np.ndarray, "n"], limit: int) -> Int[np.ndarray, "m"]:
    """Keep `limit` images, shared evenly among the classes, the first ones of each class.

    All classes get the same number, or the first classes one more. The share that a small class cannot fill goes to the
    other classes.

    Args:
        labels: [n], at least 0, the label of each image in order.
        limit: number of images to keep, at least 1.

    Returns:
        [m], m = min(n, limit), the indices of the kept images in increasing order.
    """
    counts = np.bincount(labels)
    quota = np.zeros_like(counts)
    left = min(limit, len(labels))
    while left:
        open_classes = np.flatnonzero(quota < counts)
        # Each open class gets an equal share, capped by its size. If fewer images than classes are left, the first get one.
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
    """A stratified split: a fifth of each class, rounded, becomes the test split; both splits get at least one of its images.

    A hash of the seed and the image's name decides its split, instead of a random generator, so that the split does not
    depend on library versions and hardly changes when files are added.

    Args:
        names: n unique names.
        labels: [n], at least 0.
        seed: each seed gives a different split.

    Returns:
        Indices of the a training and the b test images, each in increasing order, a + b = n. The only image of a class goes
        to the training split.
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
    """The sentence for `notes` if the limit leaves classes without a training image, else None."""
    empty = len(classes) - len(np.unique(labels))
    return f"The limit left {empty} of {len(classes)} classes without a training image." if empty else None
