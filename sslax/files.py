"""Paths from users, and atomic writing of files.

A file that is being replaced is always complete: a reader, or a crash, finds the old or the new content, never a part.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import BinaryIO

from sslax.errors import InputError


def printable(name: object) -> str:
    """A name, or a text with names, whose bytes that are not valid Unicode are escaped: file names need not be Unicode."""
    return str(name).encode(errors="backslashreplace").decode()


def expanded(path: str | os.PathLike[str]) -> pathlib.Path:
    """A user's path, with a leading `~` or `~user` replaced by the home folder.

    Every path that a command, a configuration or a function takes goes through this function. A shell expands the tilde only
    at the start of a word, so not in `--run-dir=~/runs` or `--data folder:~/images`, and Python does not expand it at all.

    Raises:
      InputError: if there is no such user and no file of that name.
    """
    written = pathlib.Path(path)
    if not os.fspath(path).startswith("~"):
        # pathlib drops the leading ./ of ./~name. An absolute path keeps later code from expanding that tilde.
        return pathlib.Path.cwd() / written if str(written).startswith("~") else written
    try:
        return written.expanduser()
    except RuntimeError as error:
        if written.exists() or written.is_symlink():
            return written
        raise InputError(
            f"the path {os.fspath(path)} begins with {written.parts[0]}, but this home folder is not known; write the whole "
            "path, or put ./ before a name that begins with a tilde."
        ) from error


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` in one step when the block ends. If the block fails, it is deleted.

    The temporary file is in the folder of `path`, which must exist. It is synced to disk before it replaces `path`.

    Raises:
      OSError: if the file cannot be written, for example because the disk is full.
    """
    path = expanded(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Replace the content of `path` by `content` in one step; text is written as UTF-8.

    Raises:
      OSError: if the file cannot be written.
    """
    with replacing(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)
