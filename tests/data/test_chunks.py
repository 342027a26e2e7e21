"""Chunks give the images of `open_dataset` in its order, and decode them only when they are read."""

import os

import numpy as np
import pytest
from PIL import Image

from sslax.data import open_chunks, open_dataset
from sslax.data.decode import Unreadable
from sslax.errors import InputError


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(10):
            pixels = rng.integers(0, 255, (6 + i, 9, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    return tmp_path


def whole(data, step):
    read = [data.read(start, min(start + step, len(data)), None) for start in range(0, len(data), step)]
    return np.concatenate([part.images for part in read]), np.concatenate([part.aspects for part in read])


@pytest.mark.parametrize("spec", ["digits", "folder"])
@pytest.mark.parametrize("limit", [None, 7])
def test_chunks_equal_open_dataset(folder, spec, limit):
    spec = f"folder:{folder}" if spec == "folder" else spec
    options = {"canvas": 8, "limit": limit, "split_seed": 1}
    data, chunks = open_dataset(spec, **options), open_chunks(spec, **options)
    parts = [data.train, data.test]
    assert chunks.names == data.train.names + data.test.names
    assert chunks.splits == ("train",) * len(data.train) + ("test",) * len(data.test)
    assert (chunks.classes, chunks.notes, len(chunks)) == (data.classes, data.notes, len(chunks.names))
    np.testing.assert_array_equal(chunks.labels(), np.concatenate([part.labels for part in parts]))
    for step in (3, 1000):
        images, aspects = whole(chunks, step)
        np.testing.assert_array_equal(images, np.concatenate([part.images for part in parts]))
        np.testing.assert_array_equal(aspects, np.concatenate([part.aspects for part in parts]))


def test_images_without_labels(folder):
    chunks = open_chunks(f"folder:{folder / 'cat'}", canvas=8)
    assert (chunks.labels(), chunks.classes, set(chunks.splits)) == (None, (), {"train"})


def test_the_digest_changes_with_every_change(folder):
    def digest(**options):
        return open_chunks(f"folder:{folder}", canvas=8, **options).digest

    before = digest()
    assert digest() == before
    assert digest(limit=5) != before
    assert digest(split_seed=1) != before
    path = folder / "cat" / "0.png"
    os.utime(path, ns=(0, 0))
    assert digest() != before
    assert open_chunks("digits", canvas=8).digest != open_chunks("digits", canvas=8, limit=100).digest


def test_nothing_is_decoded_before_it_is_read(folder):
    (folder / "cat" / "0.png").write_bytes(b"no image")
    (folder / "cat" / "1.png").unlink()
    (folder / "cat" / "1.png").symlink_to("nowhere")
    chunks = open_chunks(f"folder:{folder}", canvas=8)
    assert len(chunks) == 20
    failures = chunks.read(0, 20, None).failures
    assert {chunks.names[i] for i in failures} == {"cat/0.png", "cat/1.png"}
    with pytest.raises(Unreadable):
        chunks.look(chunks.names.index("cat/0.png"), 8)


def test_look_reads_the_file_and_does_not_enlarge(folder):
    chunks = open_chunks(f"folder:{folder}", canvas=2)
    pixels, aspect = chunks.look(chunks.names.index("cat/3.png"), 64)
    assert (pixels.shape, aspect) == ((9, 9, 3), 1.0)
    np.testing.assert_array_equal(pixels, Image.open(folder / "cat" / "3.png"))
    pixels, aspect = chunks.look(chunks.names.index("dog/0.png"), 5)
    assert (pixels.shape, aspect) == ((5, 5, 3), 9 / 6)


def test_listing_errors(folder):
    with pytest.raises(InputError, match="there is no such folder"):
        open_chunks(f"folder:{folder / 'none'}", canvas=8)
    with pytest.raises(InputError, match="does not say where the images are"):
        open_chunks("folder:", canvas=8)
