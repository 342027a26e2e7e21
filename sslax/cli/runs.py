"""Functions shared by the commands on a finished run: opening its images and checking output paths."""

import pathlib
from collections.abc import Sequence

from sslax.checks import parse_colour
from sslax.cli import terminal
from sslax.data import Dataset, open_dataset
from sslax.data.picture import Reading
from sslax.errors import InputError
from sslax.files import expanded
from sslax.training import Loaded, can_measure


def spec_of(network: Loaded, spec: str | None) -> str:
    """`spec`, or the images of the run if `spec` is None.

    Raises:
      InputError: if `spec` is None and the run was trained on arrays, which are not stored.
    """
    if spec is None and network.config.data == "arrays":
        raise InputError(
            "data is missing, and RUN was trained on arrays, which are not stored; name images with --data."
        )
    return spec or network.config.data


def reading_of(network: Loaded, exif: bool, background: str | None) -> Reading:
    """How to read image files: as the run read them, with the given changes.

    Raises:
      InputError: if `background` is not a colour.
    """
    config = network.config
    colour = config.background if background is None else background
    return Reading(exif and config.exif, parse_colour("background", colour))


def open_labelled(
    network: Loaded, spec: str | None = None, *, exif: bool = True, background: str | None = None
) -> Dataset:
    """Open labelled images: those of `spec`, or the run's own if it is None, with the canvas size of the run.

    `reading_of` explains `exif` and `background`.

    Raises:
      InputError: if the images have no labels or no test split.
    """
    config = network.config
    reading = reading_of(network, exif, background)
    with terminal.reading_progress() as progress:
        data = open_dataset(
            spec_of(network, spec),
            canvas=config.canvas or network.data["canvas"],
            limit=config.limit if spec is None else None,
            split_seed=config.split_seed,
            allow_unreadable=config.allow_unreadable,
            exif=reading.exif,
            background=reading.background,
            progress=progress,
        )
    if not can_measure(data):
        raise InputError(f"data is {data.name}, which has no labels or no test split; both are needed.")
    return data


def check_out(name: str, value: str, endings: Sequence[str]) -> pathlib.Path:
    """Check the path of an output file, so that a wrong path fails before hours of work. The file may exist already.

    Raises:
      InputError: if the name has none of `endings`, the path is a folder, or the file's folder does not exist.
    """
    path = expanded(value)
    if path.suffix not in endings:
        raise InputError(f"{name} is {value}; its name must end in {' or '.join(endings)}.")
    if path.is_dir():
        raise InputError(f"{name} is {value}, which is a folder; it must be a file to write.")
    if not path.parent.is_dir():
        raise InputError(f"{name} is {value}, but there is no folder {path.parent}; create it, or give another path.")
    return path
