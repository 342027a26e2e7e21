"""Images of a source in parts: a set of any size is listed first, and images are decoded only when they are read.

Images are uint8 RGB canvases in the form and order of `open_dataset`: the training split first.
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8

from sslax.data.dataset import Dataset
from sslax.data.decode import DEFAULT_CANVAS, Decoded, decode_all
from sslax.data.lazy import LazyDataset
from sslax.data.opaque import WHITE, Colour
from sslax.data.picture import USUAL, Reading, read_quietly
from sslax.data.sources import open_lazily


@dataclass(frozen=True, eq=False)
class Chunks:
    """A set of images that need not be in memory.

    Attributes:
        name: the spec that opened the set.
        names: n names, relative to the source; bytes that are not valid Unicode become surrogates.
        splits: "train" or "test" for each image.
        labels: returns indices into `classes`, or None for an unlabelled set; a tfds set reads its records for them.
        classes: the class names; empty for an unlabelled set.
        notes: sentences for the user on how the set was interpreted.
        digest: hash of everything that the images depend on; for files, their names, sizes and modification times.
        read: (start, stop, progress) -> images `start` to `stop` as `decode_files` returns them; `progress` is called as in
            `decode_files`, or may be None.
        look: (index, side) -> pixels of one image for display, from its file if it has one, squashed to a square and scaled
            down to `side` if it is larger; and its original width / height.
        file: index -> the path of the image's file, or its encoded bytes; None for images that are in memory.
        reading: options for decoding the files.

    Raises, from `look`:
        sslax.data.picture.Unreadable: the file is no longer readable.
    """

    name: str
    names: tuple[str, ...]
    splits: tuple[str, ...]
    labels: Callable[[], Int32[np.ndarray, "n"] | None]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    digest: str
    read: Callable[[int, int, Callable[[int, int], None] | None], Decoded]
    look: Callable[[int, int], tuple[UInt8[np.ndarray, "h w 3"], float]]
    file: Callable[[int], Path | bytes | None]
    reading: Reading = USUAL

    def __len__(self) -> int:
        return len(self.names)


def open_chunks(
    spec: str,
    *,
    canvas: int | None,
    limit: int | None = None,
    split_seed: int = 0,
    allow_unreadable: bool = False,
    exif: bool = True,
    background: Colour = WHITE,
    progress: Callable[[int, int], None] | None = None,
) -> Chunks:
    """Open a set with the arguments of `open_dataset`; images are decoded only when they are read.

    `canvas=None` keeps the size of images that are in memory anyway; for files it is 256, because their sizes are not known.

    `read` reports files that cannot be decoded; pass them to `unreadable_note`, which decides whether that is an error.

    Raises:
        InputError: as `open_dataset`, except for errors that only decoding can find.
    """
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
    return _of_list(data, canvas or DEFAULT_CANVAS) if isinstance(data, LazyDataset) else _of_arrays(data)


def _of_arrays(data: Dataset) -> Chunks:
    """Chunks of a set that is already in memory."""
    parts = [("train", data.train), *([] if data.test is None else [("test", data.test)])]
    images = [part.images for _, part in parts]
    aspects = np.concatenate([part.aspects for _, part in parts])
    ends = np.cumsum([len(part) for _, part in parts])
    digest = hashlib.sha256(aspects.tobytes())
    for array in images:
        digest.update(np.ascontiguousarray(array).data)

    def read(start: int, stop: int, progress: Callable[[int, int], None] | None) -> Decoded:
        # Slices of each split, because concatenating whole splits would need the memory twice.
        found = [
            array[max(start - end + len(array), 0) : max(stop - end + len(array), 0)]
            for array, end in zip(images, ends, strict=True)
        ]
        return Decoded(
            np.concatenate(found), aspects[start:stop], np.zeros(stop - start, np.int32), {}, False, Counter()
        )

    def look(index: int, side: int) -> tuple[np.ndarray, float]:
        return read(index, index + 1, None).images[0], float(aspects[index])

    found_labels = [part.labels for _, part in parts if part.labels is not None]
    return Chunks(
        name=data.name,
        names=tuple(name for _, part in parts for name in part.names),
        splits=tuple(split for split, part in parts for _ in part.names),
        labels=lambda: np.concatenate(found_labels) if found_labels else None,
        classes=data.classes,
        notes=data.notes,
        digest=digest.hexdigest(),
        read=read,
        look=look,
        file=lambda index: None,
    )


def look_at(file: Path | bytes, side: int, reading: Reading = USUAL) -> tuple[UInt8[np.ndarray, "s s 3"], float]:
    """Decode an image file for display.

    Args:
        file: its path, or its encoded bytes.
        side: maximum side in pixels; smaller images are not enlarged.
        reading: options for decoding the file.

    Returns:
        The pixels squashed to a square, and the image's original width / height.

    Raises:
        sslax.data.picture.Unreadable: as `read_image`.
    """
    picture = read_quietly(file, side, reading)
    if (longest := max(picture.width, picture.height)) < side:
        picture = read_quietly(file, longest, reading)
    return picture.pixels, picture.width / picture.height


def _of_list(data: LazyDataset, canvas: int) -> Chunks:
    splits, reading = data.splits, data.train.reading
    names = tuple(name for split in splits for name in split.names)

    def fetch(index: int):
        first = len(splits[0])
        return splits[0].fetch(index) if index < first else splits[1].fetch(index - first)

    def read(start: int, stop: int, progress: Callable[[int, int], None] | None) -> Decoded:
        return decode_all(lambda index: fetch(start + index), stop - start, canvas, progress, reading=reading)

    def labels() -> np.ndarray | None:
        if not all(split.labelled for split in splits):
            return None
        return np.fromiter((fetch(index).label for index in range(len(names))), np.int32, len(names))

    return Chunks(
        name=data.name,
        names=names,
        splits=tuple(name for name, split in zip(("train", "test"), splits, strict=False) for _ in split.names),
        labels=labels,
        classes=data.classes,
        notes=data.notes,
        digest=data.digest(),
        read=read,
        look=lambda index, side: look_at(fetch(index).file, side, reading),
        file=lambda index: fetch(index).file,
        reading=reading,
    )
