"""Transparent pixels show a background, for every way in which formats store transparency."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from sslax.data import open_chunks, open_dataset, open_lazily
from sslax.data.opaque import laid_over
from sslax.data.picture import Reading, read_image
from sslax.errors import InputError

BACKGROUNDS = [(255, 255, 255), (10, 200, 30)]
LEFT, RIGHT = (200, 40, 90), (60, 60, 60)
HIDDEN = (0, 0, 0)


def _png(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "png", **options)
    return buffer.getvalue()


def _halves(mode):
    """8 x 8: the left half is opaque red, or gray; the right half is transparent black."""
    image = Image.new("RGBA", (8, 8), (*HIDDEN, 0))
    image.paste((*(RIGHT if mode == "LA" else LEFT), 255), (0, 0, 4, 8))
    return image.convert(mode) if mode != "P" else image.quantize(4)


def _palette_of_alphas():
    image = Image.new("P", (8, 8), 1)
    image.paste(0, (0, 0, 4, 8))
    image.putpalette([*LEFT, *HIDDEN])
    return _png(image, transparency=bytes([255, 0]))


def _chunked(width, depth, kind, key, rows):
    """A PNG with a tRNS chunk, written byte by byte."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, len(rows), depth, kind, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    content = chunk(b"IHDR", header) + chunk(b"tRNS", key) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


CASES = {
    "RGBA": (lambda: _png(_halves("RGBA")), LEFT),
    "LA": (lambda: _png(_halves("LA")), RIGHT),
    "P, one index": (lambda: _png(_halves("P")), LEFT),
    "P, alphas": (_palette_of_alphas, LEFT),
    "RGB, tRNS": (
        lambda: _chunked(8, 8, 2, struct.pack(">3H", *HIDDEN), [bytes(LEFT) * 4 + bytes(HIDDEN) * 4] * 8),
        LEFT,
    ),
    "RGB of 16 bits, tRNS": (
        lambda: _chunked(
            8,
            16,
            2,
            struct.pack(">3H", 7, 7, 7),
            [struct.pack(">3H", *(257 * level for level in LEFT)) * 4 + struct.pack(">3H", 7, 7, 7) * 4] * 8,
        ),
        LEFT,
    ),
    "L, tRNS": (lambda: _chunked(8, 8, 0, struct.pack(">H", 7), [bytes([60] * 4 + [7] * 4)] * 8), RIGHT),
    # Levels 4 of 15 and 2 of 3; the right half is level 3 of 15, and 1 of 3.
    "L of 4 bits, tRNS": (lambda: _chunked(8, 4, 0, struct.pack(">H", 3), [b"\x44\x44\x33\x33"] * 8), (68, 68, 68)),
    "L of 2 bits, tRNS": (lambda: _chunked(8, 2, 0, struct.pack(">H", 1), [b"\xaa\x55"] * 8), (170, 170, 170)),
    "1 bit, tRNS": (lambda: _chunked(8, 1, 0, struct.pack(">H", 0), [b"\xf0"] * 8), (255, 255, 255)),
    "gray of 16 bits, tRNS": (
        lambda: _chunked(8, 16, 0, struct.pack(">H", 500), [struct.pack(">8H", *[60 * 257] * 4, *[500] * 4)] * 8),
        RIGHT,
    ),
    "gray and alpha of 16 bits": (
        lambda: _chunked(8, 16, 4, b"", [struct.pack(">8H", *[60 * 257, 65535] * 4) + bytes(16)] * 8).replace(
            struct.pack(">I", 0) + b"tRNS" + struct.pack(">I", zlib.crc32(b"tRNS")), b""
        ),
        RIGHT,
    ),
}


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("case", CASES)
def test_the_background_shows_where_an_image_is_transparent(case, background):
    make, left = CASES[case]
    picture = read_image(make(), 8, Reading(background=background))
    np.testing.assert_array_equal(picture.pixels[:, :4], np.broadcast_to(left, (8, 4, 3)))
    np.testing.assert_array_equal(picture.pixels[:, 4:], np.broadcast_to(background, (8, 4, 3)))
    assert picture.treated == ("transparent",)


@pytest.mark.parametrize(("format", "options"), [("webp", {"lossless": True}), ("tiff", {}), ("gif", {}), ("tga", {})])
def test_formats_other_than_png(tmp_path, format, options):
    _halves("RGBA").save(tmp_path / f"a.{format}", **options)
    picture = read_image(tmp_path / f"a.{format}", 8)
    np.testing.assert_array_equal(picture.pixels[:, 4:], np.full((8, 4, 3), 255))
    np.testing.assert_array_equal(picture.pixels[:, :4], np.broadcast_to(LEFT, (8, 4, 3)))


def test_palettes_with_an_alpha_channel_of_their_own():
    # No writer keeps the mode PA, so it is taken as a reader gives it.
    image = Image.new("PA", (8, 8))
    image.putpalette([*LEFT, *HIDDEN])
    image.putalpha(_halves("RGBA").getchannel("A"))
    rgb, shows = laid_over(image, (1, 2, 3))
    assert (shows, rgb.getpixel((0, 0)), rgb.getpixel((7, 0))) == (True, LEFT, (1, 2, 3))


def test_half_transparent_pixels_are_mixed_before_they_are_resized():
    half = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    np.testing.assert_array_equal(read_image(_png(half), 4).pixels[0, 0], [255, 127, 127])
    # What hides under the transparent half does not bleed into the other when both become one pixel.
    pixel = read_image(_png(_halves("RGBA")), 1).pixels[0, 0].astype(int)
    assert np.abs(pixel - (np.array(LEFT) + 255) / 2).max() <= 1


def test_opaque_images_are_what_they_were_and_are_not_counted():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
    for mode, options in (("RGBA", {}), ("LA", {}), ("P", {"transparency": bytes([255] * 256)})):
        picture = read_image(_png(image.convert(mode), **options), 8)
        np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert(mode).convert("RGB")))
        assert picture.treated == ()


@pytest.fixture
def folder(tmp_path):
    for index in range(3):
        (tmp_path / f"{index}.png").write_bytes(_png(_halves("RGBA")))
    (tmp_path / "3.png").write_bytes(_png(_halves("RGBA").convert("RGB")))
    return f"folder:{tmp_path}"


def test_a_set_counts_them_and_every_way_to_read_it_agrees(folder):
    assert "3 images with transparency were laid over white." in open_dataset(folder, canvas=8).notes
    options = {"canvas": 8, "background": (10, 200, 30)}
    data = open_dataset(folder, **options)
    assert "3 images with transparency were laid over the colour 10,200,30." in data.notes
    np.testing.assert_array_equal(data.train.images[0, 0, 7], (10, 200, 30))
    lazy = open_lazily(folder, **options).train.read(np.arange(4))
    np.testing.assert_array_equal(lazy.images, data.train.images)
    chunks = open_chunks(folder, **options)
    np.testing.assert_array_equal(chunks.read(0, 4, None).images, data.train.images)
    np.testing.assert_array_equal(chunks.look(0, 8)[0][0, 7], (10, 200, 30))


@pytest.mark.parametrize("background", [(1, 2, 256), (1, 2, -3)])
def test_invalid_colours(folder, background):
    with pytest.raises(InputError, match="three integers from 0 to 255"):
        open_dataset(folder, background=background)
