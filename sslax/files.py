"""Files that are whole at any moment: a reader, or a crash, finds what was there or the new one, never a part of it."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` in one step when the block ends, and is gone when it fails.

    It is written beside `path`, whose folder has to exist, and is on the disk before it takes its place.

    Raises:
      OSError: where it cannot be written, the disk being full for one.
    """
    path = pathlib.Path(path)
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
