"""Paths as users write them, and files that are whole at any moment.

A reader of a file that is replaced, or a crash meanwhile, finds what was there or the new one, never a part of it.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import BinaryIO

from sslax.errors import InputError


def expanded(path: str | os.PathLike[str]) -> pathlib.Path:
    """A path that a user wrote, `~` and `~user` at its beginning replaced by the home folder.

    Every path that a command, a configuration or a function takes goes through here: a shell expands the tilde only where a
    word begins, so not in `--run-dir=~/runs` or `--data folder:~/images`, and Python does not expand it at all.

    Raises:
      InputError: where there is no such user, and no file of that name either.
    """
    written = pathlib.Path(path)
    if not os.fspath(path).startswith("~"):
        # pathlib drops a leading ./ before a name that begins with a tilde, which must not be expanded further on.
        return pathlib.Path.cwd() / written if str(written).startswith("~") else written
    try:
        return written.expanduser()
    except RuntimeError as error:
        if written.exists() or written.is_symlink():
            return written
        raise InputError(
            f"the path {os.fspath(path)} begins with the home folder of {written.parts[0][1:] or 'nobody'}, which is not known "
            "here; write out the folder, or ./ before a name that begins with a tilde."
        ) from error


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` in one step when the block ends, and is gone when it fails.

    It is written beside `path`, whose folder has to exist, and is on the disk before it takes its place.

    Raises:
      OSError: where it cannot be written, the disk being full for one.
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
    """Put `content`, text as UTF-8, in place of what `path` held, in one step.

    Raises:
      OSError: where it cannot be written.
    """
    with replacing(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)
