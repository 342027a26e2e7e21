"""What the scripts that take a finished run share: the images that they look at, and the files that they write."""

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
    """`spec`, or the run's own images where it is None.

    Raises:
      InputError: where the run was trained on arrays, which are nowhere to be found.
    """
    if spec is None and network.config.data == "arrays":
        raise InputError("data is left out, but RUN was trained on arrays; --data must name images.")
    return spec or network.config.data


def reading_of(network: Loaded, exif: bool, background: str | None) -> Reading:
    """How image files are read: as the run read them, but for what is said otherwise.

    Raises:
      InputError: where the background is no colour.
    """
    config = network.config
    colour = config.background if background is None else background
    return Reading(exif and config.exif, parse_colour("background", colour))


def open_labelled(
    network: Loaded, spec: str | None = None, *, exif: bool = True, background: str | None = None
) -> Dataset:
    """Labelled images of `spec`, or the run's own where it is None, on the canvas that the run had.

    `exif` and `background` are as for `reading_of`.

    Raises:
      InputError: where the images have no labels or no test split.
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
    """The path of a file to write, which may exist; said before hours of work rather than after them.

    Raises:
      InputError: where it ends in none of `endings`, is a folder, or its own folder is missing.
    """
    path = expanded(value)
    if path.suffix not in endings:
        raise InputError(f"{name} is {value}; its name must end in {' or '.join(endings)}.")
    if path.is_dir():
        raise InputError(f"{name} is {value}, which is a folder; it must be a file to write.")
    if not path.parent.is_dir():
        raise InputError(f"{name} is {value}, but there is no folder {path.parent}; make it first, or write elsewhere.")
    return path
