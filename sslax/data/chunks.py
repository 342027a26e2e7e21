"""Images of a source some at a time: folders are listed and decoded as they are asked for, whatever their size.

Images are uint8 RGB canvases as `open_dataset` gives them, in its order: the training split first.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8

from sslax.data.decode import Decoded, decode_files, read_image
from sslax.data.folder import list_folder
from sslax.data.sources import Request, open_dataset


@dataclass(frozen=True, eq=False)
class Chunks:
    """A set of images that need not be in memory.

    Attributes:
        name: the spec it was opened by.
        names: n names, relative to the source, bytes that are no Unicode as surrogates.
        splits: "train" or "test" for each.
        labels: indices into `classes`; None where there are none.
        classes: the classes' names; empty where there are no labels.
        notes: what the user should know of how the set was understood, in sentences.
        digest: of all that the images depend on; of files their names, sizes and times.
        root: the folder that the names are files in; None where they are no files.
        read: (start, stop, progress) -> images `start` to `stop` as `decode_files` gives them; `progress` is called as
            there, or may be None.
        look: (index, side) -> pixels of one image for a person to look at, from its file where it has one, squashed to
            a square of at most `side` where it is larger, and its true width / height.

    Raises, from `look`:
        sslax.data.decode.Unreadable: the file cannot be read any more.
    """

    name: str
    names: tuple[str, ...]
    splits: tuple[str, ...]
    labels: Int32[np.ndarray, "n"] | None
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    digest: str
    root: Path | None
    read: Callable[[int, int, Callable[[int, int], None] | None], Decoded]
    look: Callable[[int, int], tuple[UInt8[np.ndarray, "h w 3"], float]]

    def __len__(self) -> int:
        return len(self.names)


def open_chunks(
    spec: str,
    *,
    canvas: int,
    limit: int | None = None,
    split_seed: int = 0,
    allow_unreadable: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Chunks:
    """Opens what `open_dataset` opens, by the same arguments; of a folder nothing is decoded before it is asked for.

    Files that cannot be decoded are told by `read`, not here; `unreadable_note` is the rule for them.

    Raises:
        InputError: as `open_dataset`, as far as it can be told without decoding.
    """
    kind, _, location = spec.partition(":")
    if kind == "folder" and location:
        return _of_folder(location, Request(spec, canvas, limit, split_seed, allow_unreadable, progress))
    data = open_dataset(
        spec,
        canvas=canvas,
        limit=limit,
        split_seed=split_seed,
        allow_unreadable=allow_unreadable,
        progress=progress,
    )
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
        return Decoded(np.concatenate(found), aspects[start:stop], {}, False, 0)

    def look(index: int, side: int) -> tuple[np.ndarray, float]:
        return read(index, index + 1, None).images[0], float(aspects[index])

    labels = [part.labels for _, part in parts if part.labels is not None]
    return Chunks(
        name=spec,
        names=tuple(name for _, part in parts for name in part.names),
        splits=tuple(split for split, part in parts for _ in part.names),
        labels=np.concatenate(labels) if labels else None,
        classes=data.classes,
        notes=data.notes,
        digest=digest.hexdigest(),
        root=None,
        read=read,
        look=look,
    )


def look_at(path: Path, side: int) -> tuple[UInt8[np.ndarray, "s s 3"], float]:
    """An image file for a person to look at.

    Args:
        path: of the file.
        side: largest side wanted, pixels; smaller images are not enlarged.

    Returns:
        The pixels squashed to a square, and the image's true width / height.

    Raises:
        sslax.data.decode.Unreadable: as `read_image`.
    """
    picture = read_image(path, side)
    if (longest := max(picture.width, picture.height)) < side:
        picture = read_image(path, longest)
    return picture.pixels, picture.width / picture.height


def _of_folder(location: str, request: Request) -> Chunks:
    assert request.canvas is not None, "open_chunks takes no other"
    canvas = request.canvas
    listing = list_folder(location, request)
    splits = list(zip(("train", "test"), listing.splits, strict=False))
    names = tuple(name for _, (names, _) in splits for name in names)
    of = tuple(split for split, (names, _) in splits for _ in names)
    labels = [labels for _, (_, labels) in splits if labels is not None]
    digest = hashlib.sha256()
    for name, split in zip(names, of, strict=True):
        try:
            status = os.stat(os.path.join(listing.root, name))
            seen = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            # A broken link; `read` says so.
            seen = "missing"
        digest.update(f"{split}/{name}\0{seen}\0".encode(errors="surrogateescape"))

    def read(start: int, stop: int, progress: Callable[[int, int], None] | None) -> Decoded:
        # Paths of a million files would take more memory than the files of a chunk.
        return decode_files([listing.root / name for name in names[start:stop]], canvas, progress)

    def look(index: int, side: int) -> tuple[np.ndarray, float]:
        return look_at(listing.root / names[index], side)

    return Chunks(
        name=request.spec,
        names=names,
        splits=of,
        labels=np.concatenate(labels) if labels else None,
        classes=listing.classes,
        notes=listing.notes,
        digest=digest.hexdigest(),
        root=listing.root,
        read=read,
        look=look,
    )
