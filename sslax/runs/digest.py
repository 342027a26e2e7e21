"""The digest of a checkpoint: the SHA-256 of every file, and the shape and type of every array."""

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping

import jax
from jaxtyping import PyTree

NAME = "digest.json"


def shapes(parts: PyTree) -> dict[str, str]:
    """Type and shape of every array, such as "float32 [8, 16]", by its path in the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(parts)
    return {jax.tree_util.keystr(path): f"{leaf.dtype} {list(leaf.shape)}" for path, leaf in leaves}


def files(folder: pathlib.Path, *, settle: bool = False) -> dict[str, str]:
    """SHA-256 of every file in `folder`, except the digest, by relative path. With `settle` each file is synced to disk."""
    found = {}
    for place, _, names in os.walk(folder, onerror=_raise):
        for name in names:
            path = pathlib.Path(place, name)
            if path != folder / NAME:
                with open(path, "rb") as file:
                    found[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
                    if settle:
                        os.fsync(file.fileno())
    return found


def wrong_with(folder: pathlib.Path, wanted: Mapping[str, str]) -> str | None:
    """Why a checkpoint's folder cannot be used for arrays of these shapes, in a few words; None if it can."""
    if not folder.is_dir():
        return "it is not a folder"
    try:
        digest = json.loads((folder / NAME).read_text(encoding="utf-8"))
        written, arrays = dict(digest["files"]), dict(digest["arrays"])
    except FileNotFoundError:
        return f"it has no {NAME}: it is incomplete, or another version wrote it"
    except OSError as error:
        return reason(error)
    except (ValueError, TypeError, KeyError):
        return f"its {NAME} has changed since it was written"
    try:
        for name, there in files(folder).items():
            if written.pop(name, there) != there:
                return f"its {name} has changed since it was written"
    except OSError as error:
        return reason(error)
    if written:
        return f"its {min(written)} is missing"
    for name in sorted(wanted.keys() | arrays.keys()):
        if name not in arrays:
            return f"it lacks {name}: another configuration or version wrote it"
        if name not in wanted and not name.startswith("['observers']"):
            return f"it has {name}: another configuration or version wrote it"
        if name in wanted and arrays[name] != wanted[name]:
            return f"its {name} is {arrays[name]}, but this configuration needs {wanted[name]}"
    return None


def reason(error: Exception) -> str:
    """The cause of a reading or writing error in a few words."""
    said = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    for sign in ("No space left on device", "Permission denied", "Read-only file system"):
        if sign in said:
            return sign[0].lower() + sign[1:]
    return f"orbax says {said[:160].rstrip(' .')}"


def _raise(error: OSError) -> None:
    raise error
