"""Folders of image files.

    PATH/CLASS/*.jpg                      classes; a fifth of each is held out as the test split
    PATH/*.jpg                            no labels, no test split
    PATH/train/..., PATH/test/...         the same two forms inside each split; test/, val/ or validation/ (case-insensitive)

`sslax.data.formats` decides by name or content which files are images. Files in subfolders of a class folder belong to that
class. Files are ordered by name, folder by folder, independently of the file system's order. Symbolic links are followed, but
no folder is read twice within one class, so circular links end.
"""

import contextlib
import difflib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32

from sslax.data.dataset import TEST_FRACTION, Request, hold_out, keep_first, limit_note
from sslax.data.decode import NO_LABEL, Encoded
from sslax.data.formats import is_image, missing, named_suffixes, suffix_of
from sslax.data.lazy import LazyDataset, LazySplit, some
from sslax.errors import InputError
from sslax.files import expanded, printable

_TRAIN = "train"
_TESTS = ("test", "val", "validation")


class _Files(NamedTuple):
    """The sorted image files of one split, named relative to the source, and the class of each; no classes if unlabelled."""

    names: list[str]
    classes: list[str]


@dataclass
class _Walk:
    """State of listing a folder: its root, the notes for the user, and counts of the entries that were skipped."""

    spec: str
    root: Path
    notes: list[str] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    missing: set[str] = field(default_factory=set)
    empty: list[str] = field(default_factory=list)
    circles: int = 0

    def error(self, problem: str) -> InputError:
        return InputError(printable(f"data={self.spec!r}: {problem}{'' if problem.endswith('?') else '.'}"))


@dataclass(frozen=True)
class _Fetch:
    """The root and the names of a split's files, and their labels or None."""

    root: Path
    names: list[str]
    labels: Int32[np.ndarray, "n"] | None

    def __call__(self, index: int) -> Encoded:
        label = NO_LABEL if self.labels is None else int(self.labels[index])
        return Encoded(self.root / self.names[index], label)


def open_folder(location: str, request: Request) -> LazyDataset:
    """List `"folder:PATH"`, in one of the forms at the top of this module.

    Args:
        location: the path, `~` allowed.
        request: `open_dataset`'s arguments.

    Returns:
        The set; names are relative to PATH, with `/`. `classes` are the classes of the train split, sorted by name.

    Raises:
        InputError: if there is no such folder, it has none of these forms, the test split has classes that the train split
            lacks, or a folder cannot be listed.
    """
    walk = _Walk(request.spec, expanded(location))
    _check_root(walk)
    train, test = _find_splits(walk)
    classes = tuple(sorted(set(train.classes))) if train.classes else ()
    if test is None and train.classes:
        train, test = _hold_out(walk, train, classes, request.split_seed)
    splits = [files for files in (train, test) if files is not None]
    if request.limit is not None:
        splits = [_take(files, keep_first(_labels(files, classes), request.limit)) for files in splits]
        if classes and (note := limit_note(_labels(splits[0], classes), classes)):
            walk.notes.append(note)
    _note_passed_over(walk)
    notes = tuple(printable(note) for note in walk.notes)

    def listed(files: _Files) -> LazySplit:
        fetch = _Fetch(walk.root, files.names, _labels(files, classes) if classes else None)
        return LazySplit(request.spec, fetch, files.names, bool(classes), request.canvas, request.reading)

    read = [listed(files) for files in splits]
    return LazyDataset(
        request.spec,
        read[0],
        read[1] if len(read) > 1 else None,
        classes,
        notes,
        request.allow_unreadable,
        lambda: [walk.root / name for files in splits for name in files.names],
    )


def _check_root(walk: _Walk) -> None:
    if os.path.isdir(walk.root):
        return
    # Errors show a relative path as an absolute one, because the user may have meant it relative to another folder.
    where = os.path.abspath(walk.root)
    if os.path.exists(walk.root):
        raise walk.error(f"{where} is a file, not a folder; give the folder that holds the images")
    beside: list[str] = []
    with contextlib.suppress(OSError):
        beside = os.listdir(walk.root.parent)
    near = difflib.get_close_matches(walk.root.name, beside, n=1)
    hint = f"did you mean {str(walk.root.with_name(near[0]))!r}?" if near else "give the folder that holds the images"
    raise walk.error(f"there is no such folder as {where}; {hint}")


def _look(walk: _Walk, relative: str) -> tuple[list[str], list[str]]:
    """Sorted relative names of the images and of the subfolders directly in a folder."""
    images, folders = [], []
    try:
        entries = list(os.scandir(walk.root / relative))
    except OSError as error:
        raise walk.error(f"{relative or '.'}/ cannot be listed ({error.strerror}); make it readable") from error
    for entry in entries:
        name = f"{relative}/{entry.name}" if relative else entry.name
        if entry.name.startswith("."):
            walk.ignored["hidden"] += 1
        elif os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():
            folders.append(name)
        elif found := _is_file(entry) and is_image(entry.path):
            images.append(name)
        else:
            walk.ignored[suffix_of(entry.name) or "no extension"] += 1
            if found is None:
                walk.missing.add(missing(entry.path))
    return sorted(images), sorted(folders)


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether the entry is a regular file, which a pipe is not. A broken link counts, and is then reported as unreadable."""
    if entry.is_symlink():
        return os.path.isfile(entry.path) or not os.path.exists(entry.path)
    return entry.is_file()


def _images_below(walk: _Walk, top: str, above: Sequence[str]) -> list[str]:
    """All images in a folder and its subfolders at any depth, sorted folder by folder."""
    seen = {_identity(walk, relative) for relative in above}
    found, todo = [], [top]
    while todo:
        relative = todo.pop()
        identity = _identity(walk, relative)
        if identity in seen:
            walk.circles += 1
            continue
        seen.add(identity)
        images, folders = _look(walk, relative)
        found += images
        todo += reversed(folders)
    return sorted(found, key=lambda name: name.split("/"))


def _identity(walk: _Walk, relative: str) -> tuple[int, int]:
    status = (walk.root / relative).stat()
    return status.st_dev, status.st_ino


def _scan(walk: _Walk, relative: str) -> _Files:
    """The images of one split, either in its class folders or directly in it."""
    images, folders = _look(walk, relative)
    above = ["", relative] if relative else [""]
    names: list[str] = []
    classes: list[str] = []
    for folder in folders:
        inside = _images_below(walk, folder, above)
        names += inside
        classes += [folder.rpartition("/")[2]] * len(inside)
        if not inside:
            walk.empty.append(f"{folder}/")
    where = f"{relative}/" if relative else "the folder"
    if images and names:
        raise walk.error(
            f"{where} holds both images ({images[0]!r}) and folders of images ({names[0]!r}); "
            "move the images into class folders, or keep only images"
        )
    if not images and not names:
        kinds = f" (only {_ignored(walk)})" if walk.ignored else ""
        raise walk.error(
            f"{where} holds no image files{kinds}; image files have names ending in {', '.join(named_suffixes())}, or the "
            "content of a supported image format"
        )
    return _Files(images or names, classes)


def _find_splits(walk: _Walk) -> tuple[_Files, _Files | None]:
    """The train and test files as laid out in the folder; None if it has no folder for a test split."""
    images, folders = _look(walk, "")
    splits: dict[str, str] = {}
    for folder in folders:
        kind = folder.lower()
        if kind in (_TRAIN, *_TESTS):
            if kind in splits:
                raise walk.error(f"there are both {splits[kind]!r} and {folder!r}; keep one of them")
            splits[kind] = folder
    if not splits:
        walk.ignored.clear()  # _scan counts them again.
        files = _scan(walk, "")
        if len(set(files.classes)) == 1 and os.path.isdir(walk.root / files.classes[0] / _TRAIN):
            raise walk.error(f"its splits are one folder deeper; write it as 'folder:{walk.root / files.classes[0]}'")
        return files, None
    if _TRAIN not in splits:
        found = next(iter(splits.values()))
        raise walk.error(f"there is {found!r} but no folder 'train'; put the images to learn from into 'train'")

    beside = [folder for folder in folders if folder not in splits.values()]
    train = _scan(walk, splits[_TRAIN])
    if not train.classes and len(splits) == 1:
        for folder in beside:
            if _images_below(_Walk(walk.spec, walk.root), folder, [""]):
                raise walk.error(
                    f"{splits[_TRAIN]!r} may be a split or, like {folder!r}, a class; "
                    "move all class folders into a folder 'train'"
                )
    if beside or images:
        passed_over = [f"{name}/" for name in beside] + images
        walk.notes.append(f"Only the splits' folders were read, not {some(passed_over)} beside them.")
    return train, _find_test(walk, train, [splits[kind] for kind in _TESTS if kind in splits])


def _find_test(walk: _Walk, train: _Files, candidates: list[str]) -> _Files | None:
    if not candidates:
        return None
    # Benchmarks often publish an unlabelled test/ and a labelled val/.
    known = set(train.classes)
    labelled = [name for name in candidates if any(os.path.isdir(walk.root / name / a_class) for a_class in known)]
    chosen = (labelled or candidates)[0]
    walk.notes.append(f"The test split is {chosen}/.")
    walk.notes += [f"{name}/ was not read." for name in candidates if name != chosen]
    test = _scan(walk, chosen)
    if bool(train.classes) != bool(test.classes):
        sides = "the train split", f"{chosen}/"
        sorted_, flat = sides if train.classes else reversed(sides)
        raise walk.error(f"{sorted_} has class folders but {flat} has none; give both the same form")
    if strange := sorted(set(test.classes) - known):
        raise walk.error(
            f"{chosen}/ has classes that the train split lacks ({some(strange)}); every test class must also be a train class"
        )
    return test


def _hold_out(walk: _Walk, files: _Files, classes: tuple[str, ...], seed: int) -> tuple[_Files, _Files | None]:
    labels = _labels(files, classes)
    train, test = hold_out(files.names, labels, seed)
    if single := [classes[label] for label in np.flatnonzero(np.bincount(labels) == 1)]:
        walk.notes.append(f"Classes with only one image keep it in the train split: {some(single)}.")
    if not len(test):
        walk.notes.append("There is no test split, because no class has two images.")
        return files, None
    walk.notes.append(f"{TEST_FRACTION:.0%} of each class is held out as the test split (split seed {seed}).")
    return _take(files, train), _take(files, test)


def _take(files: _Files, indices: Int[np.ndarray, "m"]) -> _Files:
    classes = [files.classes[index] for index in indices] if files.classes else []
    return _Files([files.names[index] for index in indices], classes)


def _labels(files: _Files, classes: tuple[str, ...]) -> Int32[np.ndarray, "n"]:
    """The class index of each file; zeros if there are no classes."""
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index[name] for name in files.classes] or [0] * len(files.names), dtype=np.int32)


def _note_passed_over(walk: _Walk) -> None:
    if walk.ignored:
        counted = sum(walk.ignored.values())
        walk.notes.append(f"{counted} other files or folders were ignored ({_ignored(walk)}).")
    if walk.empty:
        walk.notes.append(f"Folders without images do not count as classes: {some(walk.empty)}.")
    if walk.circles:
        walk.notes.append(f"{walk.circles} links to folders already read were not followed.")


def _ignored(walk: _Walk) -> str:
    kinds = sorted(walk.ignored.items(), key=lambda item: (-item[1], item[0]))
    listed = some([f"{count} {kind}" for kind, count in kinds])
    return "; ".join([listed, *sorted(walk.missing)])
