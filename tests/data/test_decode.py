"""Decoding one file to one canvas, for every kind of file, and many files to one array."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from sslax.data import decode
from sslax.data.decode import decode_files
from sslax.data.picture import Unreadable, read_image

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
GRAY = COLOURS[..., 0]
DEEP = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)


def _read(image, path, **options):
    image.save(path, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return decode_files([path], None).images[0]


def _gray(values):
    return np.repeat(np.asarray(values)[..., None], 3, axis=2)


def test_rgb_is_kept(tmp_path):
    np.testing.assert_array_equal(_read(Image.fromarray(COLOURS), tmp_path / "a.png"), COLOURS)


@pytest.mark.parametrize("extension", ["png", "bmp", "gif", "tif", "pgm", "webp"])
def test_gray_is_repeated(tmp_path, extension):
    options = {"lossless": True} if extension == "webp" else {}
    got = _read(Image.fromarray(GRAY), tmp_path / f"a.{extension}", **options)
    np.testing.assert_array_equal(got, _gray(GRAY))


def test_bilevel_becomes_black_and_white(tmp_path):
    np.testing.assert_array_equal(_read(Image.fromarray(GRAY > 99), tmp_path / "a.png"), _gray((GRAY > 99) * 255))


def test_cmyk_jpeg(tmp_path):
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    got = _read(red, tmp_path / "a.jpg", quality=100)
    assert abs(got.astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("extension", ["png", "tif", "pgm"])
def test_16_bits_are_scaled_not_clipped(tmp_path, extension):
    got = _read(Image.fromarray(DEEP), tmp_path / f"a.{extension}")
    np.testing.assert_array_equal(got, _gray(np.rint(DEEP / 257.0)))
    # A dark image stays dark: the white of 16 bits does not depend on the image's maximum.
    dark = _read(Image.fromarray(DEEP // 512), tmp_path / f"b.{extension}")
    assert dark.max() == 0


def test_16_bits_big_endian(tmp_path):
    image = Image.frombytes("I;16B", (8, 8), DEEP.astype(">u2").tobytes())
    np.testing.assert_array_equal(_read(image, tmp_path / "a.tif"), _gray(np.rint(DEEP / 257.0)))


@pytest.mark.parametrize(
    ("values", "white"),
    [
        (DEEP.astype(np.int32), 65535),
        (GRAY.astype(np.int32), 255),
        (DEEP.astype(np.float32), 65535),
        (GRAY.astype(np.float32), 255),
        (GRAY.astype(np.float32) / 255, 1),
    ],
)
def test_32_bit_gray_is_scaled_by_the_smallest_white_that_fits(tmp_path, values, white):
    path = tmp_path / "a.tif"
    Image.fromarray(values).save(path)
    picture = read_image(path, 8)
    assert picture.treated == ("guessed white",)
    np.testing.assert_array_equal(picture.pixels, _gray(np.rint(values.astype(np.float64) * 255 / white)))


@pytest.mark.parametrize("value", [-1.0, 70000.0, np.nan])
def test_gray_values_of_unknown_range_are_unreadable(tmp_path, value):
    Image.fromarray(np.full((4, 4), value, dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(Unreadable, match="the range must be 0 to at most"):
        read_image(tmp_path / "a.tif", 4)


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.gif", 4).pixels[0, 0], [255, 0, 0])


def test_content_decides_the_format(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.jpg", format="png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg", 8).pixels, COLOURS)


def test_canvas_is_the_whole_image_squashed_by_pillow(tmp_path):
    image = Image.fromarray(RNG.integers(0, 256, (30, 50, 3), dtype=np.uint8))
    image.save(tmp_path / "a.png")
    for canvas in (12, 64):
        picture = read_image(tmp_path / "a.png", canvas)
        assert (picture.width, picture.height) == (50, 30)
        expected = np.asarray(image.resize((canvas, canvas), Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(picture.pixels, expected)


@pytest.mark.parametrize("size", [(640, 480), (643, 485), (2001, 395)])
def test_reduced_decoding_of_large_jpegs_stays_close(tmp_path, size):
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    waves = np.stack([np.sin(x * y / 4000), np.sin(x / 3), np.cos(y / 2)], axis=-1)
    noise = RNG.normal(0, 20, (height, width, 3))
    image = Image.fromarray(np.clip(128 + 90 * waves + noise, 0, 255).astype(np.uint8))
    image.save(tmp_path / "a.jpg", quality=95)
    picture = read_image(tmp_path / "a.jpg", 32)
    assert (picture.width, picture.height) == size
    with Image.open(tmp_path / "a.jpg") as whole:
        expected = np.asarray(whole.resize((32, 32), Image.Resampling.BICUBIC)).astype(float)
    error = picture.pixels - expected
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 45
    # No shift and no tint, which could occur if the size is not a multiple of the reduction.
    assert abs(error.mean()) < 0.5


def _png_header(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def _truncated_jpeg(path):
    Image.fromarray(np.tile(COLOURS, (8, 8, 1))).save(path, format="jpeg")
    path.write_bytes(path.read_bytes()[:-300])


UNREADABLE = {
    "empty.png": (lambda path: path.write_bytes(b""), "empty file"),
    "text.jpg": (lambda path: path.write_text("not an image"), "not an image"),
    "truncated.jpg": (_truncated_jpeg, "truncated"),
    # Pillow only warns about the first, and refuses the second.
    "bomb.png": (lambda path: path.write_bytes(_png_header(12_000, 12_000)), "pixels"),
    "huge_bomb.png": (lambda path: path.write_bytes(_png_header(2_000_000_000, 2_000_000_000)), "pixels"),
    "script.jpg": (lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n"), "not an image"),
    "link.jpg": (lambda path: path.symlink_to(path.with_name("nowhere.jpg")), "No such file"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_files_say_why(tmp_path, name):
    make, reason = UNREADABLE[name]
    make(tmp_path / name)
    with pytest.raises(Unreadable, match=reason):
        read_image(tmp_path / name, 8)


def test_unreadable_files_are_skipped_in_order(tmp_path):
    paths = []
    for index in range(100):
        paths.append(tmp_path / f"{index:03d}.png")
        Image.new("RGB", (4, 2), (index, 0, 0)).save(paths[-1])
    bad = {0: "bomb.png", 31: "empty.png", 32: "text.jpg", 99: "truncated.jpg"}
    for index, name in bad.items():
        UNREADABLE[name][0](paths[index])
    seen = []
    decoded = decode_files(paths, 4, lambda done, total: seen.append((done, total)))
    assert sorted(decoded.failures) == list(bad)
    good = [index for index in range(100) if index not in bad]
    assert decoded.images[:, 0, 0, 0].tolist() == good
    assert decoded.aspects.tolist() == [2.0] * 96
    assert seen == [(32, 100), (64, 100), (96, 100), (100, 100)]


def _save(folder, sizes):
    paths = [folder / f"{index}.png" for index in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        Image.new("RGB", size, (9, 9, 9)).save(path)
    return paths


@pytest.mark.parametrize(
    ("sizes", "canvas", "own_size"),
    [
        ([(20, 20)] * 70, 20, True),
        ([(256, 256)], 256, True),
        ([(257, 257)], 256, False),
        ([(20, 10)] * 3, 256, False),
        ([(20, 20)] * 69 + [(20, 21)], 256, False),
        ([(20, 20), (30, 30)], 256, False),
    ],
)
def test_the_default_canvas(tmp_path, sizes, canvas, own_size):
    decoded = decode_files(_save(tmp_path, sizes), None)
    assert decoded.images.shape == (len(sizes), canvas, canvas, 3)
    assert decoded.own_size == own_size
    assert (decoded.images == 9).all()
    np.testing.assert_allclose(decoded.aspects, [width / height for width, height in sizes], rtol=1e-6)


def test_the_default_canvas_is_not_decided_by_an_unreadable_file(tmp_path):
    paths = _save(tmp_path, [(64, 64), (8, 8), (8, 8)])
    _truncated_jpeg(paths[0])
    decoded = decode_files(paths, None)
    assert decoded.images.shape == (2, 8, 8, 3)
    assert list(decoded.failures) == [0]


def test_decoding_is_the_same_with_any_number_of_threads(tmp_path, monkeypatch):
    paths = [tmp_path / f"{index}.png" for index in range(80)]
    for path in paths:
        Image.fromarray(RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)).save(path)
    results = []
    for threads in (1, 7):
        monkeypatch.setattr(decode, "default_threads", lambda threads=threads: threads)
        results.append(decode_files(paths, 6).images)
    np.testing.assert_array_equal(*results)


def test_an_interrupt_stops_decoding(tmp_path, monkeypatch):
    paths = _save(tmp_path, [(4, 4)]) * 5000
    monkeypatch.setattr(decode, "default_threads", lambda: 1)
    read = []
    monkeypatch.setattr(
        decode, "read_image", lambda path, canvas, reading: read.append(path) or read_image(path, canvas)
    )

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode_files(paths, 4, interrupt)
    assert len(read) < 1000


def test_more_than_the_memory_is_refused_before_decoding(tmp_path):
    with pytest.raises(MemoryError, match="GiB"):
        decode_files([tmp_path / "nowhere.png"] * 1_000_000, 4096)
