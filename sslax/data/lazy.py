"""Sets of images that are listed but not yet decoded, and `load`, which decodes a whole set into an array.

Every source of encoded images lists its set in this form. One function decodes it for the resident feed, the streamed feed
and the cache, so the pixels are bitwise equal.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from sslax.data.dataset import Dataset, Images, Split
from sslax.data.decode import DEFAULT_CANVAS, NO_LABEL, Encoded, decode_all, own_side
from sslax.data.picture import USUAL, Reading, Unreadable, read_image, treated_note
from sslax.errors import InputError
from sslax.files import printable

_MOST_UNREADABLE = 0.01
_NAMED = 5


@dataclass(frozen=True, eq=False)
class LazySplit:
    """One split with images that are decoded on demand; it can be pickled for another process.

    Attributes:
        source: the spec of its set.
        fetch: returns the encoded image 0 to n - 1 and its label; may be called from any thread.
        names: n names, relative to the source; they are unique.
        labelled: whether its images have labels.
        canvas: side S of the canvases; None: the images' own size, which only `load` can determine.
        reading: options for decoding the files.
    """

    source: str
    fetch: Callable[[int], Encoded]
    names: Sequence[str]
    labelled: bool
    canvas: int | None
    reading: Reading = USUAL

    def __len__(self) -> int:
        return len(self.names)

    def read(self, indices: Int[np.ndarray, "b"]) -> Images:
        """Decode the images at `indices`, in the calling thread.

        Raises:
            InputError: if an image cannot be decoded, or no canvas is set.
        """
        if self.canvas is None:
            raise InputError(
                f"canvas is None; to decode images of {self.source} on demand, canvas must be a size in pixels."
            )
        images = np.empty((len(indices), self.canvas, self.canvas, 3), np.uint8)
        aspects = np.empty(len(indices), np.float32)
        labels = np.empty(len(indices), np.int32)
        for row, index in enumerate(indices.tolist()):
            encoded = self.fetch(index)
            try:
                picture = read_image(encoded.file, self.canvas, self.reading)
            except Unreadable as error:
                # Skipping it would change the order of all images after it, and so the run.
                raise InputError(
                    f"data={self.source!r}: {printable(self.names[index])!r} cannot be decoded ({error}); repair or "
                    "remove it, or set --cache to a folder: building the cache skips such files."
                ) from error
            images[row], aspects[row], labels[row] = picture.pixels, picture.width / picture.height, encoded.label
        return Images(images, aspects, labels if self.labelled else None)


@dataclass(frozen=True, eq=False)
class LazyDataset:
    """A set of images that is listed but not decoded.

    Attributes:
        name: the spec that opened the set.
        train: the training split.
        test: the split for evaluation; None if the source has none.
        classes: the class names in the order of the labels; empty for an unlabelled set.
        notes: sentences for the user on how the set was listed.
        allow_unreadable: whether `load` continues if more than 1 % of the images cannot be decoded.
        files: returns the files that hold the images; their sizes and modification times show whether they have changed.
    """

    name: str
    train: LazySplit
    test: LazySplit | None
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    allow_unreadable: bool
    files: Callable[[], Sequence[Path]]

    @property
    def splits(self) -> tuple[LazySplit, ...]:
        """The train split and, if there is one, the test split."""
        return (self.train,) if self.test is None else (self.train, self.test)

    def side(self) -> int:
        """The expected canvas: the set one, or the one that the first readable image suggests."""
        return self.train.canvas or own_side(self.train.fetch, len(self.train)) or DEFAULT_CANVAS

    def nbytes(self) -> int:
        """Total bytes of all canvases, from `side`."""
        return sum(map(len, self.splits)) * self.side() ** 2 * 3

    def digest(self) -> str:
        """A hash of the image names and of the files' names, sizes and modification times; no file is opened."""
        told = hashlib.blake2b(digest_size=16)
        for split in self.splits:
            told.update("\n".join(split.names).encode(errors="surrogateescape") + b"\0")
        for path in self.files():
            try:
                status = path.stat()
                told.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape"))
            except OSError:
                told.update(b"missing\n")
        return told.hexdigest()


def load(
    data: LazyDataset,
    progress: Callable[[int, int], None] | None = None,
    *,
    allocate: Callable[[int, int], UInt8[np.ndarray, "n s s 3"]] | None = None,
) -> Dataset:
    """Decode a whole set; images that cannot be decoded are skipped and reported in `notes`.

    Args:
        data: the listed set.
        progress: as in `open_dataset`.
        allocate: makes the array for n canvases of side S; None allocates it in memory.

    Raises:
        InputError: if too many images cannot be decoded, or the canvases do not fit into memory.
    """
    splits, notes = data.splits, list(data.notes)
    names = [name for split in splits for name in split.names]
    ends = np.cumsum([len(split) for split in splits]).tolist()

    def fetch(index: int) -> Encoded:
        return splits[0].fetch(index) if index < ends[0] else splits[1].fetch(index - ends[0])

    try:
        decoded = decode_all(
            fetch, len(names), data.train.canvas, progress, reading=data.train.reading, allocate=allocate
        )
    except MemoryError as error:
        raise _error(
            data.name,
            f"{len(names)} images need {error} of memory, more than this machine has; choose a smaller --canvas or a "
            "--limit, or --feed streamed",
        ) from error
    failures = [(names[index], reason) for index, reason in sorted(decoded.failures.items())]
    if note := unreadable_note(data.name, failures, len(names), allow=data.allow_unreadable):
        notes.append(note)
    side = decoded.images.shape[1]
    if data.train.canvas is None and not decoded.own_size:
        notes.append(
            f"Not all images are squares of the same size up to {DEFAULT_CANVAS}, so each was squashed to {side} x {side} "
            "pixels (--canvas chooses another size)."
        )
    if note := treated_note(decoded.treated, data.train.reading.background):
        notes.append(note)
    read: list[Split] = []
    first = start = 0
    for split in splits:
        good = [index for index in range(len(split)) if first + index not in decoded.failures]
        if not good:
            kind = "test" if read else "train"
            raise _error(data.name, f"no image of the {kind} split can be decoded; repair these files")
        rows = slice(start, start + len(good))
        labels = decoded.labels[rows] if split.labelled and (decoded.labels[rows] != NO_LABEL).all() else None
        kept = tuple(split.names[index] for index in good)
        read.append(Split(decoded.images[rows], labels, decoded.aspects[rows], kept))
        first, start = first + len(split), rows.stop
    test = read[1] if len(read) > 1 else None
    return Dataset(data.name, read[0], test, data.classes, tuple(printable(note) for note in notes))


def unreadable_note(spec: str, failures: Sequence[tuple[str, str]], total: int, *, allow: bool) -> str | None:
    """The note on files that cannot be decoded and are skipped; None if there are none.

    Args:
        spec: the spec of the set.
        failures: the names of these files and the reasons.
        total: number of all files.
        allow: accept more than 1 % of such files.

    Raises:
        InputError: if no file can be decoded, or more than 1 % cannot and `allow` is False.
    """
    if not failures:
        return None
    which = some([f"{name!r} ({reason})" for name, reason in failures])
    counted = f"{len(failures)} of {total} image files cannot be decoded"
    if len(failures) == total:
        raise _error(spec, f"{counted}: {which}; give a folder of intact images")
    if len(failures) > _MOST_UNREADABLE * total and not allow:
        raise _error(
            spec,
            f"{counted}, more than {_MOST_UNREADABLE:.0%}: {which}; repair or remove them, "
            "or skip them with --allow-unreadable",
        )
    return printable(f"{counted} and were skipped: {which}.")


def _error(spec: str, problem: str) -> InputError:
    return InputError(printable(f"data={spec!r}: {problem}."))


def some(items: Sequence[str]) -> str:
    """The first few items, and the number of the rest."""
    more = [f"and {len(items) - _NAMED} more"] if len(items) > _NAMED else []
    return ", ".join([*items[:_NAMED], *more])
