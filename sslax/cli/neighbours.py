"""The nearest neighbours of an image among embedded ones: the table and the picture of `sslax embed --search IMAGE`."""

import pathlib

import numpy as np
from rich.table import Table
from rich.text import Text

from sslax.cli import feature_files, search, terminal
from sslax.data import Chunks
from sslax.data.chunks import look_at
from sslax.data.picture import Reading, Unreadable, read_quietly
from sslax.errors import InputError
from sslax.files import expanded, printable, replacing
from sslax.training import Embedder, Loaded

NEIGHBOURS = 10
# Side of an image in the picture, in pixels.
_LOOK = 256


def show_neighbours(query_file: str, out: pathlib.Path, network: Loaded, data: Chunks, canvas: int) -> None:
    """Show the embedded images in `out` that are nearest to an image file, as a table and in a picture beside `out`.

    Raises:
      InputError: if the image cannot be read or the picture cannot be written.
    """
    path = expanded(query_file)
    query, aspect = read_query(path, canvas, data.reading)
    # A batch of one: a larger batch would be padded, and a single image would take as long as hundreds.
    embedder = Embedder(network.built.method, network.built.mesh, batch_size=1)
    feature = embedder(network.state, query[None], np.array([aspect], np.float32))[0]
    index = {printable(name): i for i, name in enumerate(data.names)}
    rows = [index[name] for name in feature_files.read_names(out)]
    # One more than is shown, because the image itself may be among them.
    found = [
        (rows[row], cosine) for row, cosine in search.nearest(feature, feature_files.read_features(out), NEIGHBOURS + 1)
    ]
    others = [(i, cosine) for i, cosine in found if not _is_same(data.file(i), path)]
    if len(others) < len(found):
        terminal.say(f"{query_file} is one of the embedded images; it is left out of its own neighbours.")
    others = others[:NEIGHBOURS]

    labels = data.labels()
    table = Table(title=Text(f"nearest to {printable(path.name)}"))
    for title in ("cosine", "split", *(["class"] if labels is not None else []), "image"):
        table.add_column(title, justify="right" if title == "cosine" else "left")
    for i, cosine in others:
        known = [] if labels is None else [printable(data.classes[labels[i]])]
        table.add_row(f"{cosine:.3f}", data.splits[i], *map(Text, [*known, printable(data.names[i])]))
    terminal.console.print(table)

    drawn: list[tuple[tuple[np.ndarray, float] | None, float]] = []
    for i, cosine in others:
        try:
            drawn.append((data.look(i, _LOOK), cosine))
        except Unreadable as error:
            terminal.say(f"{printable(data.names[i])} can no longer be read, so the picture leaves it blank: {error}.")
            drawn.append((None, cosine))
    target = search.picture_path(out)
    try:
        with replacing(target) as file:
            search.picture(look_at(path, _LOOK, data.reading), drawn).save(file, "PNG")
    except OSError as error:
        raise InputError(f"out is {out}, but {target} cannot be written: {error.strerror}.") from error
    terminal.say(f"Picture: {target}")


def read_query(path: pathlib.Path, side: int, reading: Reading) -> tuple[np.ndarray, float]:
    """An image file squashed to a square of this side, and its width / height.

    Raises:
      InputError: if it cannot be read.
    """
    try:
        read = read_quietly(path, side, reading)
    except Unreadable as error:
        raise InputError(f"search is {printable(str(path))}, which cannot be read as an image: {error}.") from error
    return read.pixels, read.width / read.height


def _is_same(one: pathlib.Path | bytes | None, other: pathlib.Path) -> bool:
    try:
        return isinstance(one, pathlib.Path) and one.samefile(other)
    except OSError:
        return False
