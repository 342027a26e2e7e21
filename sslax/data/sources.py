"""The image sources by name, and two ways to open a set: read it into memory, or only list it."""

import difflib
import os
from collections.abc import Callable

from sslax.data import digits, folder, tfds
from sslax.data.dataset import MAX_CANVAS, Dataset, Request
from sslax.data.lazy import LazyDataset, load
from sslax.data.opaque import WHITE, Colour
from sslax.data.picture import Reading
from sslax.errors import InputError

# Form of each spec -> function that opens it, called with the part after the colon.
SOURCES: dict[str, Callable[[str, Request], Dataset | LazyDataset]] = {
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
    """Read a set of images into memory.

    Args:
        spec: `"digits"` (scikit-learn's 8 x 8 digits), `"folder:PATH"` (see `sslax.data.folder`) or
            `"tfds:NAME[/CONFIG][:SPLIT]"` (see `sslax.data.tfds`).
        canvas: side S of the canvases, 1 to 4096 pixels. None keeps the images' own size if all are square, of the same size
            and at most 256; otherwise the side is 256, and `notes` say so.
        limit: keep at most this many images of each split, as evenly per class as the classes allow. The other images are
            not decoded, so `canvas=None` ignores them too.
        split_seed: selects the images to hold out if a labelled source has no test split; at least 0.
        allow_unreadable: continue if more than 1 % of the files cannot be decoded.
        exif: turn photographs upright by their EXIF orientation; False keeps the stored pixels.
        background: colour behind transparent pixels, RGB in [0, 255].
        progress: called as progress(done, total) in images, from the calling thread, by sources that decode files. It
            restarts from the beginning if `canvas=None` finds images of a second size.

    Returns:
        The set; the same arguments and files give the same arrays, in the same order.

    Raises:
        InputError: if the spec, an option or the files are invalid.
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
) -> Dataset | LazyDataset:
    """List a set of images without decoding it; `sslax.data.lazy.load` of the result equals `open_dataset`.

    Args:
        spec: as in `open_dataset`.
        canvas: as in `open_dataset`.
        limit: as in `open_dataset`.
        split_seed: as in `open_dataset`.
        allow_unreadable: stored for `load`.
        exif: stored for decoding.
        background: stored for decoding.
        progress: called by sources that must read all labels from records.

    Returns:
        The listed set, or a `Dataset` for a source that is in memory anyway (digits).

    Raises:
        InputError: if the spec or an option is invalid, or there is nothing to list.
    """
    if canvas is not None and not 1 <= canvas <= MAX_CANVAS:
        raise InputError(f"canvas={canvas} is not a valid side in pixels; --canvas must be from 1 to {MAX_CANVAS}.")
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit} keeps no images; --limit must be at least 1, or left out to keep all of them.")
    if split_seed < 0:
        raise InputError(f"split_seed={split_seed} is negative; --split-seed must be 0 or more.")
    if len(background) != 3 or not all(isinstance(level, int) and 0 <= level <= 255 for level in background):
        raise InputError(f"background={background} is not a colour; it must be three integers from 0 to 255.")
    source, location = _find_source(spec)
    red, green, blue = background
    reading = Reading(exif, (red, green, blue))
    return source(location, Request(spec, canvas, limit, split_seed, allow_unreadable, progress, reading))


def _find_source(spec: str) -> tuple[Callable[[str, Request], Dataset | LazyDataset], str]:
    forms = {form.partition(":")[0]: form for form in SOURCES}
    name, colon, location = spec.partition(":")
    if name not in forms:
        if os.path.isdir(os.path.expanduser(spec)):
            hint = f"did you mean 'folder:{spec}'?"
        elif near := difflib.get_close_matches(name.lower(), forms, n=1, cutoff=0.5):
            meant = f"{near[0]}:{location}" if location and ":" in forms[near[0]] else forms[near[0]]
            hint = f"did you mean '{meant}'?"
        else:
            hint = "write one of these."
        raise InputError(f"data={spec!r} is not an image source (--data takes {' or '.join(SOURCES)}); {hint}")
    form = forms[name]
    if ":" in form and not location:
        raise InputError(f"data={spec!r} does not say where the images are; write it as --data {form}.")
    if ":" not in form and colon:
        raise InputError(f"data={spec!r}: the source '{name}' takes nothing after its name; write it as --data {form}.")
    return SOURCES[form], location
