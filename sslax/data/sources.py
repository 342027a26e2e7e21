"""The sources of images by name, and the two ways to open a set: read into memory, or only listed."""

import difflib
import os
from collections.abc import Callable

from sslax.data import digits, folder, tfds
from sslax.data.dataset import MAX_CANVAS, Dataset, Request
from sslax.data.lazy import LazyDataset, load
from sslax.data.opaque import WHITE, Colour
from sslax.data.picture import Reading
from sslax.errors import InputError

# How each source is written -> what opens it, called with what stands after the colon.
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
        raise InputError(f"data={spec!r} is not a source of images (--data takes {' or '.join(SOURCES)}); {hint}")
    form = forms[name]
    if ":" in form and not location:
        raise InputError(f"data={spec!r} does not say where the images are; write it as --data {form}.")
    if ":" not in form and colon:
        raise InputError(f"data={spec!r} says more than '{name}' can use; write it as --data {form}.")
    return SOURCES[form], location
