"""Decoded canvases on disk: the first run writes them, later runs memory-map them and decode nothing.

A cache folder holds one folder for each set, canvas, limit and split seed: `images.npy` (uint8 [n, S, S, 3], the training
split first), `aspects.npy`, `labels.npy`, and `manifest.json`, which records the set and settings that they were made from.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from sslax.data.dataset import Dataset, Split
from sslax.data.decode import NO_LABEL
from sslax.data.lazy import LazyDataset, load
from sslax.data.picture import USUAL
from sslax.errors import InputError
from sslax.files import expanded, write_atomically


def open_cached(
    data: LazyDataset,
    folder: str | os.PathLike[str],
    settings: Mapping[str, Any],
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """The set as `load` returns it, with images memory-mapped from the cache. A missing, stale or damaged cache is rebuilt.

    Args:
        data: the listed set.
        folder: the cache folder; created if missing.
        settings: the settings that the set was opened with, plain values. Each combination has its own subfolder.
        progress: as in `open_dataset`.

    Returns:
        The set; `notes` say whether a cache was rebuilt, and why.

    Raises:
        InputError: as `load`, or if the folder is not writable or the disk is full.
    """
    folder = expanded(folder)
    asked = {"spec": data.name, "canvas": data.train.canvas, **settings}
    # The folder name omits the default `Reading`, so that a cache from an older version is found and recognised as stale.
    if data.train.reading != USUAL:
        asked |= data.train.reading._asdict()
    place = folder / _slug(asked)
    digest = data.digest()
    notes: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in _left_over(folder, place.name):
            shutil.rmtree(left)
            notes.append(f"The cache {place} was left half-written and is rebuilt.")
        if place.exists():
            found = _open(place, data, digest)
            if isinstance(found, Dataset):
                return found
            notes.append(f"The cache {place} {found} and is rebuilt.")
        _make(place, data, asked, digest, progress)
    except OSError as error:
        raise InputError(
            f"cache is {folder}, which cannot be used ({error.strerror or error}); it must be a writable folder on a disk "
            "with enough space."
        ) from error
    made = _open(place, data, digest)
    if not isinstance(made, Dataset):
        raise InputError(f"cache is {folder}, but {place} {made} although it was just written; run the command again.")
    return Dataset(made.name, made.train, made.test, made.classes, (*notes, *made.notes))


def _slug(asked: Mapping[str, Any]) -> str:
    told = json.dumps(asked, sort_keys=True)
    name = re.sub(r"[^A-Za-z0-9]+", "-", str(asked["spec"]))[-40:].strip("-")
    return f"{name}-{asked['canvas'] or 'own'}-{hashlib.blake2b(told.encode(), digest_size=4).hexdigest()}"


def _left_over(folder: Path, name: str) -> list[Path]:
    """Partial caches of this set from processes of this machine that no longer run."""
    left = []
    for path in folder.glob(f".{name}.{_machine()}-*.partial"):
        try:
            os.kill(int(path.name.removesuffix(".partial").rpartition("-")[2]), 0)
        except ProcessLookupError:
            left.append(path)
        except (PermissionError, ValueError):
            continue
    return left


def _machine() -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", os.uname().nodename)


def _make(
    place: Path,
    data: LazyDataset,
    asked: Mapping[str, Any],
    digest: str,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Write the set to a temporary folder beside `place`, and rename it to `place` when it is complete."""
    beside = place.with_name(f".{place.name}.{_machine()}-{os.getpid()}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:

        def allocate(count: int, canvas: int) -> UInt8[np.ndarray, "n s s 3"]:
            path = beside / "images.npy"
            images = np.lib.format.open_memmap(path, "w+", np.uint8, (count, canvas, canvas, 3))
            # Reserve the disk space now: a disk that fills up during writes to a mapped file kills the process (SIGBUS).
            if hasattr(os, "posix_fallocate"):
                with open(path, "r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            return images

        whole = load(data, progress, allocate=allocate)
        splits = [split for split in (whole.train, whole.test) if split is not None]
        labels = [np.full(len(s), NO_LABEL, np.int32) if s.labels is None else s.labels for s in splits]
        for name, arrays in (("aspects", [split.aspects for split in splits]), ("labels", labels)):
            np.save(beside / f"{name}.npy", np.concatenate(arrays), allow_pickle=False)
        manifest = {
            "made_from": asked,
            "digest": digest,
            "reading": data.train.reading.told(),
            "canvas": whole.train.canvas,
            "classes": whole.classes,
            "notes": whole.notes,
            "labelled": [split.labelled for split in splits],
            "names": [split.names for split in splits],
            "complete": True,
        }
        write_atomically(beside / "manifest.json", json.dumps(manifest))
        # Another process, for example of the same run on another machine, may have finished the same cache in the meantime.
        if not isinstance(_open(place, data, digest), Dataset):
            shutil.rmtree(place, ignore_errors=True)
            try:
                beside.rename(place)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _open(place: Path, data: LazyDataset, digest: str) -> Dataset | str:
    """The cached set, or the reason why it cannot be used."""
    try:
        manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
        complete = bool(manifest["complete"])
    except (OSError, ValueError, KeyError, TypeError):
        complete = False
    if not complete:
        return "is half-written"
    if manifest.get("reading") != data.train.reading.told():
        return "was made by other decoding rules"
    if manifest["digest"] != digest:
        return "was made from files that have changed since"
    try:
        images = np.load(place / "images.npy", mmap_mode="r", allow_pickle=False)
        aspects, labels = (np.load(place / f"{name}.npy", allow_pickle=False) for name in ("aspects", "labels"))
    except (OSError, ValueError, EOFError):
        return "is damaged"
    counts = [len(names) for names in manifest["names"]]
    side = manifest["canvas"]
    right = images.dtype == np.uint8 and images.shape[1:] == (side, side, 3) and len(images) >= sum(counts)
    if not right or not len(aspects) == len(labels) == sum(counts):
        return "is damaged"
    splits, start = [], 0
    for names, labelled in zip(manifest["names"], manifest["labelled"], strict=True):
        rows = slice(start, start + len(names))
        splits.append(Split(images[rows], labels[rows] if labelled else None, aspects[rows], tuple(names)))
        start = rows.stop
    test = splits[1] if len(splits) > 1 else None
    return Dataset(data.name, splits[0], test, tuple(manifest["classes"]), tuple(manifest["notes"]))
