"""Cached canvases: written once, read without decoding, and rebuilt if they are stale, damaged or half-written."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from sslax.data import cache, open_dataset, open_lazily
from sslax.data.cache import open_cached
from sslax.errors import InputError
from tests.data.images import write_folder


@pytest.fixture
def spec(tmp_path):
    counts = {"train/a": 6, "train/b": 6, "test/a": 2, "test/b": 3}
    return write_folder(tmp_path / "images", counts, sides=((12, 12), (20, 10)))


def _open(spec, folder, **settings):
    asked = {"canvas": 8, **settings}
    return open_cached(open_lazily(spec, **asked), folder, {"limit": asked.get("limit")})


def _place(folder):
    [place] = folder.iterdir()
    return place


def _no_decoding(monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError("decoded")

    monkeypatch.setattr(cache, "load", fail)


def _same(a, b):
    assert (a.name, a.classes) == (b.name, b.classes)
    for ours, theirs in ((a.train, b.train), (a.test, b.test)):
        np.testing.assert_array_equal(ours.images, theirs.images)
        np.testing.assert_array_equal(ours.aspects, theirs.aspects)
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        assert list(ours.names) == list(theirs.names)


def test_a_cache_equals_its_source(spec, tmp_path, monkeypatch):
    expected = open_dataset(spec, canvas=8)
    first = _open(spec, tmp_path / "cache")
    _same(first, expected)
    assert first.notes == expected.notes
    assert isinstance(first.train.images, np.memmap)
    _no_decoding(monkeypatch)
    second = _open(spec, tmp_path / "cache")
    _same(second, expected)
    assert second.notes == expected.notes
    assert [path.name for path in _place(tmp_path / "cache").iterdir() if path.name.startswith(".")] == []


def test_other_settings_get_another_folder(spec, tmp_path):
    folder = tmp_path / "cache"
    assert _open(spec, folder).train.canvas == 8
    assert _open(spec, folder, canvas=4).train.canvas == 4
    assert len(_open(spec, folder, limit=4).train) == 4
    assert _open(spec, folder, canvas=None).train.canvas == 256
    assert len(list(folder.iterdir())) == 4


def test_a_cache_of_older_rules_is_rebuilt(spec, tmp_path):
    _open(spec, tmp_path / "cache")
    path = _place(tmp_path / "cache") / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["reading"]
    path.write_text(json.dumps(manifest))
    data = _open(spec, tmp_path / "cache")
    assert "was made by other decoding rules and is rebuilt" in data.notes[0]
    assert len(_open(spec, tmp_path / "cache").notes) == len(data.notes) - 1


def test_other_decoding_options_get_another_folder(spec, tmp_path):
    for options in ({}, {"exif": False}, {"background": (0, 0, 0)}, {"exif": False}, {}):
        assert open_cached(open_lazily(spec, canvas=8, **options), tmp_path / "cache", {}).notes == (
            "The test split is test/.",
        )
    assert len(list((tmp_path / "cache").iterdir())) == 3


@pytest.mark.parametrize("change", ["added", "replaced", "touched"])
def test_a_stale_cache_is_rebuilt(spec, tmp_path, change):
    _open(spec, tmp_path / "cache")
    images = tmp_path / "images" / "train" / "a"
    if change == "added":
        (images / "99.png").write_bytes((images / "00.png").read_bytes())
    elif change == "replaced":
        (images / "00.png").write_bytes((images / "01.png").read_bytes())
    else:
        os.utime(images / "00.png", (1, 1))
    data = _open(spec, tmp_path / "cache")
    assert data.notes[0].endswith("was made from files that have changed since and is rebuilt.")
    _same(data, open_dataset(spec, canvas=8))
    assert _open(spec, tmp_path / "cache").notes == data.notes[1:]


def _spoil(place, how):
    manifest = place / "manifest.json"
    if how == "no manifest":
        manifest.unlink()
    elif how == "half a manifest":
        manifest.write_text(manifest.read_text()[:40])
    elif how == "incomplete":
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"complete": False}))
    elif how == "cut off":
        with open(place / "images.npy", "r+b") as file:
            file.truncate(1000)
    elif how == "no labels":
        (place / "labels.npy").unlink()
    else:
        np.save(place / "aspects.npy", np.ones(3, np.float32))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no manifest", "is half-written"),
        ("half a manifest", "is half-written"),
        ("incomplete", "is half-written"),
        ("cut off", "is damaged"),
        ("no labels", "is damaged"),
        ("other aspects", "is damaged"),
    ],
)
def test_a_damaged_cache_is_rebuilt(spec, tmp_path, how, said):
    _open(spec, tmp_path / "cache")
    _spoil(_place(tmp_path / "cache"), how)
    data = _open(spec, tmp_path / "cache")
    assert f"{said} and is rebuilt." in data.notes[0]
    _same(data, open_dataset(spec, canvas=8))


def test_remains_of_a_killed_process_are_removed(spec, tmp_path):
    _open(spec, tmp_path / "cache")
    place = _place(tmp_path / "cache")
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    partial = place.with_name(f".{place.name}.{cache._machine()}-{int(gone.stdout)}.partial")
    place.rename(partial)
    data = _open(spec, tmp_path / "cache")
    assert "was left half-written and is rebuilt." in data.notes[0]
    assert _place(tmp_path / "cache") == place
    # The partial cache of a running process is kept.
    alive = place.with_name(f".{place.name}.{cache._machine()}-{os.getppid()}.partial")
    alive.mkdir()
    assert _open(spec, tmp_path / "cache").notes == data.notes[1:]
    assert alive.exists()


def test_a_failure_leaves_nothing(spec, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_cached(open_lazily(spec, canvas=8), tmp_path / "cache", {}, stop)
    assert list((tmp_path / "cache").iterdir()) == []


def test_unreadable_files_are_skipped(spec, tmp_path):
    (tmp_path / "images" / "train" / "a" / "00.png").write_bytes(b"")
    with pytest.raises(InputError, match="1 of 17 image files cannot be decoded, more than 1%"):
        _open(spec, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    for _ in range(2):
        data = _open(spec, tmp_path / "cache", allow_unreadable=True)
        assert len(data.train) == 11
        assert "were skipped: 'train/a/00.png' (empty file)" in data.notes[-1]
        _same(data, open_dataset(spec, canvas=8, allow_unreadable=True))


def test_a_folder_that_cannot_be_written(spec, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cache is .*file, which cannot be used \("):
        _open(spec, tmp_path / "file")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"cannot be used \(No space left on device\)"):
        _open(spec, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
