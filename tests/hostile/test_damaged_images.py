"""Folders of damaged image files among good ones: every unreadable one is counted and named, none crashes or hangs."""

import os
import struct
import threading
import warnings
import zlib

import hypothesis
import numpy as np
import pytest
from PIL import Image

from sslax.data import open_dataset
from sslax.data.decode import decode_files
from sslax.data.picture import Unreadable, read_image

CANVAS = 16
FORMATS = {"jpg": "JPEG", "png": "PNG", "gif": "GIF", "bmp": "BMP", "webp": "WEBP", "tif": "TIFF", "ppm": "PPM"}


def within(seconds, function):
    """The function's value; fails where it takes longer, as it does if somebody waits for a pipe."""
    found = []
    thread = threading.Thread(target=lambda: found.append(function()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, "it did not end, or raised"
    return found[0]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bombs(side):
    """Small files that say they have `side` x `side` pixels, where the format's fields hold that."""
    short = min(side, 65535)
    tags = ((256, side), (257, side), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, side), (279, 100))
    return {
        "png": b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(bytes(99)))
        + chunk(b"IEND", b""),
        "gif": b"GIF89a"
        + struct.pack("<HHBBB", short, short, 0, 0, 0)
        + b","
        + struct.pack("<HHHHB", 0, 0, short, short, 0)
        + b"\x08\x02\x4c\x01\x00;",
        "jpg": b"\xff\xd8\xff\xc0\x00\x0b\x08"
        + struct.pack(">HH", short, short)
        + b"\x01\x01\x11\x00\xff\xda\x00\x08"
        + b"\x01\x01\x00\x00\x3f\x00"
        + bytes(99),
        "bmp": b"BM"
        + struct.pack("<IHHI", 154, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
        + bytes(99),
        "webp": b"RIFF"
        + struct.pack("<I", 30)
        + b"WEBPVP8X"
        + struct.pack("<II", 10, 0)
        + struct.pack("<I", min(side, 2**24) - 1)[:3] * 2
        + bytes(8),
        "tif": b"II*\0"
        + struct.pack("<I", 8 + 100)
        + bytes(100)
        + struct.pack("<H", len(tags))
        + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        + bytes(4),
        "ppm": b"P6 %d %d 255\n" % (side, side) + bytes(99),
    }


def good(path, extension, rng):
    """A photograph of its own colour, and the colour."""
    colour = rng.integers(0, 256, 3)
    noise = rng.integers(-3, 4, (24, 20, 3))
    pixels = np.clip(colour + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, format=FORMATS[extension])
    return colour


def flipped(content, rng):
    content = bytearray(content)
    for _ in range(rng.integers(1, 20)):
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    return bytes(content)


class Folder:
    """`count` damaged files of each kind in turn among as many good ones.

    `sure` are the names of files that cannot be read whatever happens, `fine` those that can and their colours; of what was
    cut or had bits flipped, either may come out.
    """

    KINDS = ("cut", "flipped", "renamed", "bomb", "empty", "noise", "text", "folder", "circle", "pipe", "large bomb")

    def __init__(self, root, count):
        rng = np.random.default_rng(0)
        self.root, self.sure, self.fine, self.either, self.passed = root, set(), {}, set(), 0
        extensions = list(FORMATS)
        for index in range(count):
            # As both lists turn, every kind meets every format.
            kind, extension = self.KINDS[index % len(self.KINDS)], extensions[index % len(extensions)]
            self.fine[f"{index:05d}a.{extension}"] = good(root / f"{index:05d}a.{extension}", extension, rng)
            self._damaged(root / f"{index:05d}b.{extension}", kind, extension, rng)

    def _damaged(self, path, kind, extension, rng):
        if kind in ("folder", "pipe"):
            path.mkdir() if kind == "folder" else os.mkfifo(path)
            self.passed += 1
            return
        if kind == "renamed":
            path = path.with_suffix(".png" if extension != "png" else ".jpg")
            self.fine[path.name] = good(path, extension, rng)
            return
        if kind in ("cut", "flipped"):
            good(path, extension, rng)
            whole = path.read_bytes()
            path.write_bytes(whole[: rng.integers(1, len(whole))] if kind == "cut" else flipped(whole, rng))
            self.either.add(path.name)
            return
        if kind == "circle":
            path.symlink_to(path)
        elif kind in ("bomb", "large bomb"):
            # Beyond the limit; and just below it, without the data.
            path.write_bytes(bombs(100_000 if kind == "bomb" else 11_000)[extension])
        else:
            content = {"empty": b"", "noise": rng.bytes(300), "text": b"%!PS-Adobe-3.0 EPSF-3.0\n"}[kind]
            path.write_bytes(content)
        self.sure.add(path.name)


def resident(name):
    """VmRSS or VmHWM, the memory now or at most, bytes."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    soak = hypothesis.settings().max_examples > 100
    return Folder(tmp_path_factory.mktemp("damaged"), 1000 if soak else 77)


def test_damaged_files_are_counted_and_named_and_the_others_read(folder, capfd):
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        data = within(600, lambda: open_dataset(f"folder:{folder.root}", canvas=CANVAS, allow_unreadable=True))
    assert not leaked
    assert capfd.readouterr().err == ""
    read = dict(zip(data.train.names, data.train.images, strict=True))
    assert data.train.images.shape == (len(read), CANVAS, CANVAS, 3)
    assert np.isfinite(data.train.aspects).all()
    assert not folder.sure & set(read)
    assert set(read) <= set(folder.fine) | folder.either
    for name, colour in folder.fine.items():
        assert np.abs(read[name].mean((0, 1)) - colour).max() < 12, name
    total = len(folder.sure) + len(folder.fine) + len(folder.either)
    notes = " ".join(data.notes)
    assert f"{total - len(read)} of {total} image files cannot be decoded" in notes
    assert "Folders without images do not count as classes" in notes


def test_each_damaged_file_has_its_reason_and_the_memory_stays_flat(folder):
    names = sorted(folder.sure | set(folder.fine) | folder.either)
    measured = os.access("/proc/self/clear_refs", os.W_OK)
    if measured:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    before = resident("VmRSS") if measured else 0
    decoded = within(600, lambda: decode_files([folder.root / name for name in names], CANVAS))
    failed = {names[index]: reason for index, reason in decoded.failures.items()}
    assert folder.sure <= set(failed) <= folder.sure | folder.either
    assert len(decoded.images) == len(names) - len(failed)
    for reason in failed.values():
        assert reason
        assert "\n" not in reason
    # One image of 11,000 x 11,000 pixels as RGB with a fourth byte, and what else there is.
    if measured:
        assert resident("VmHWM") - before < 4 * 11_000**2 + 300e6


@pytest.mark.parametrize("extension", FORMATS)
def test_more_pixels_than_the_limit_are_refused_with_the_limit(tmp_path, extension):
    path = tmp_path / f"a.{extension}"
    path.write_bytes(bombs(100_000)[extension])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Unreadable) as error:
            read_image(path, 8)

    assert "134217728" in str(error.value)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_waited_for(tmp_path, make):
    make(tmp_path / "a.jpg")

    def read():
        with pytest.raises(Unreadable, match="not a file"):
            read_image(tmp_path / "a.jpg", 8)
        return True

    assert within(20, read)
