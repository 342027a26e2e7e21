"""Images of a source some at a time: sets are listed and decoded as they are asked for, whatever their size.

Images are uint8 RGB canvases as `open_dataset` gives them, in its order: the training split first.
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8

from sslax.data.dataset import Dataset
from sslax.data.decode import Decoded, decode_all
from sslax.data.lazy import LazyDataset
from sslax.data.opaque import WHITE, Colour
from sslax.data.picture import USUAL, Reading, read_quietly
from sslax.data.sources import open_lazily


@dataclass(frozen=True, eq=False)
class Chunks:
    """A set of images that need not be in memory.

    Attributes:
        name: the spec it was opened by.
        names: n names, relative to the source, bytes that are no Unicode as surrogates.
        splits: "train" or "test" for each.
        labels: gives indices into `classes`, or None where there are none; records have to be read for them.
        classes: the classes' names; empty where there are no labels.
        notes: what the user should know of how the set was understood, in sentences.
        digest: of all that the images depend on; of files their names, sizes and times.
        read: (start, stop, progress) -> images `start` to `stop` as `decode_files` gives them; `progress` is called as
            there, or may be None.
        look: (index, side) -> pixels of one image for a person to look at, from its file where it has one, squashed to
            a square of at most `side` where it is larger, and its true width / height.

        file: index -> the image's file, or what it holds; None where images are in memory anyway.
        reading: how files are read where they leave a choice.

    Raises, from `look`:
        sslax.data.picture.Unreadable: the file cannot be read any more.
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
    canvas: int,
    limit: int | None = None,
    split_seed: int = 0,
    allow_unreadable: bool = False,
    exif: bool = True,
    background: Colour = WHITE,
    progress: Callable[[int, int], None] | None = None,
) -> Chunks:
    """Opens what `open_dataset` opens, by the same arguments; nothing is decoded before it is asked for.

    Files that cannot be decoded are told by `read`, not here; `unreadable_note` is the rule for them.

    Raises:
        InputError: as `open_dataset`, as far as it can be told without decoding.
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
    return _of_list(data, canvas) if isinstance(data, LazyDataset) else _of_arrays(data)


def _of_arrays(data: Dataset) -> Chunks:
    """What is in memory anyway."""
    parts = [("train", data.train), *([] if data.test is None else [("test", data.test)])]
    images = [part.images for _, part in parts]
    aspects = np.concatenate([part.aspects for _, part in parts])
    ends = np.cumsum([len(part) for _, part in parts])
    digest = hashlib.sha256(aspects.tobytes())
    for array in images:
        digest.update(np.ascontiguousarray(array).data)

    def read(start: int, stop: int, progress: Callable[[int, int], None] | None) -> Decoded:
        # Slices of each split: joining them whole would need the memory twice.
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
    """An image file for a person to look at.

    Args:
        file: its path, or what it holds.
        side: largest side wanted, pixels; smaller images are not enlarged.
        reading: how the file is read where it leaves a choice.

    Returns:
        The pixels squashed to a square, and the image's true width / height.

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
