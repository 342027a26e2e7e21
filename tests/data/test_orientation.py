"""Photographs are turned upright by their EXIF orientation, wherever they are stored and however large they are."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from sslax.data import open_chunks, open_dataset, open_lazily
from sslax.data.decode import read_files
from sslax.data.picture import Reading, read_image
from sslax.data.upright import orientation_of, turned
from tests.data.photographs import encoded, exif, scene, stored

SCENE = scene()
STORED_PIXELS = Reading(exif=False)


def _read(content, canvas=48, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_image(content, canvas, **options)


@pytest.mark.parametrize("size", [(160, 96), (4000, 2400)])
def test_the_eight_orientations_give_one_canvas_and_one_aspect(size):
    # The larger image is decoded at an eighth of its size.
    image = scene(*size)
    pictures = [_read(encoded(image, orientation)) for orientation in range(1, 9)]
    again = _read(encoded(image, 1, quality=80))
    noise = np.abs(again.pixels.astype(int) - pictures[0].pixels).mean()
    for picture in pictures:
        assert (picture.width, picture.height) == size
        assert np.abs(picture.pixels.astype(int) - pictures[0].pixels).mean() < max(noise, 0.5)
    assert [picture.treated for picture in pictures] == [()] + [("turned",)] * 7


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["png", "webp", "tiff", "avif"])
def test_formats_other_than_jpeg_store_it_too(orientation, format):
    options = {"lossless": True} if format == "webp" else {"quality": 100} if format == "avif" else {}
    picture = _read(encoded(SCENE, orientation, format, **options))
    assert (picture.width, picture.height) == SCENE.size
    expected = np.asarray(SCENE.resize((48, 48), Image.Resampling.BICUBIC))
    difference = np.abs(picture.pixels.astype(int) - expected)
    # Resizing rounds once between rows and columns, whose order differs here.
    assert difference.mean() < 2 if format == "avif" else difference.max() <= 1
    assert picture.treated == (("turned",) if orientation > 1 else ())


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "tiff", "avif"])
def test_the_stored_pixels_on_request(format):
    for orientation in range(1, 9):
        picture = _read(encoded(SCENE, orientation, format), reading=STORED_PIXELS)
        lying = stored(SCENE, orientation)
        assert (picture.width, picture.height) == lying.size
        expected = np.asarray(lying.resize((48, 48), Image.Resampling.BICUBIC))
        assert np.abs(picture.pixels.astype(int) - expected).mean() < 2
        assert picture.treated == ()


def test_turns_equal_pillows(tmp_path):
    canvas = np.random.default_rng(0).integers(0, 256, (5, 5, 3), np.uint8)
    for orientation in range(1, 9):
        image = Image.fromarray(canvas)
        image.getexif()[0x0112] = orientation
        np.testing.assert_array_equal(turned(canvas, orientation), np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [3, 4])
def test_blocks_of_both_byte_orders_and_types(order, kind):
    assert [orientation_of(exif(value, order, kind)) for value in range(10)] == [1, *range(1, 9), 1]


def test_damaged_blocks_are_ignored_without_a_warning():
    whole = exif(6)
    broken = [whole[:cut] for cut in range(len(whole) - 8)]
    broken += [b"Exif\0\0", b"Exif\0\0XX" + whole[8:], whole[:10] + b"\xff\xff\xff\xff" + whole[14:], b""]
    broken += [whole[:14] + b"\xff\xff" + b"\x00" * 12]
    assert {orientation_of(block) for block in broken} == {1}
    for block in broken:
        buffer = io.BytesIO()
        SCENE.save(buffer, "jpeg", exif=block)
        with warnings.catch_warnings():
            # Pillow itself reads a resolution from the block.
            warnings.simplefilter("ignore")
            picture = read_image(buffer.getvalue(), 8)
        assert (picture.width, picture.height, picture.treated) == (160, 96, ())


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize("format", ["jpeg", "webp", "tiff", "png", "avif"])
def test_an_orientation_only_in_xmp_is_ignored(format):
    options = {"xmp": XMP}
    if format == "png":
        options = {"pnginfo": PngImagePlugin.PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    elif format == "tiff":
        options = {"tiffinfo": {700: XMP}}
    buffer = io.BytesIO()
    SCENE.save(buffer, format, **options)
    picture = _read(buffer.getvalue())
    assert (picture.width, picture.height, picture.treated) == (160, 96, ())


def test_a_png_may_store_it_as_text_or_after_its_pixels():
    info = PngImagePlugin.PngInfo()
    block = exif(8)
    info.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n", zip=True)
    buffer = io.BytesIO()
    stored(SCENE, 8).save(buffer, "png", pnginfo=info)
    assert _read(buffer.getvalue()).treated == ("turned",)

    content = encoded(SCENE, 6, "png")
    start = content.index(b"eXIf") - 4
    length = 12 + int.from_bytes(content[start : start + 4], "big")
    end = content.index(b"IEND") - 4
    moved = content[:start] + content[start + length : end] + content[start : start + length] + content[end:]
    picture = _read(moved)
    assert (picture.width, picture.height, picture.treated) == (160, 96, ("turned",))


def test_other_modes_are_turned_as_well():
    for image, options in (
        (SCENE.convert("CMYK"), {"format": "jpeg"}),
        (SCENE.convert("L"), {"format": "jpeg"}),
        (SCENE.convert("RGBA"), {"format": "png"}),
        (Image.fromarray(np.asarray(SCENE.convert("L")).astype(np.uint16) * 257), {"format": "png"}),
    ):
        pictures = [_read(encoded(image, orientation, **options)) for orientation in (1, 6)]
        assert pictures[1].treated == ("turned",)
        assert np.abs(pictures[0].pixels.astype(int) - pictures[1].pixels).max() <= 8


@pytest.fixture
def album(tmp_path):
    """Two scenes, each saved with all eight camera orientations."""
    (tmp_path / "album").mkdir()
    for orientation in range(1, 9):
        for number, image in enumerate((SCENE, SCENE.rotate(180))):
            (tmp_path / "album" / f"{orientation}-{number}.jpg").write_bytes(encoded(image, orientation))
    return f"folder:{tmp_path / 'album'}"


def test_every_way_to_read_a_folder_agrees(album, tmp_path):
    data = open_dataset(album, canvas=16)
    assert "14 images were turned upright by their EXIF orientation." in data.notes
    np.testing.assert_allclose(data.train.aspects, 160 / 96, rtol=1e-6)
    lazy = open_lazily(album, canvas=16).train.read(np.arange(16))
    np.testing.assert_array_equal(lazy.images, data.train.images)
    np.testing.assert_array_equal(lazy.aspects, data.train.aspects)
    chunks = open_chunks(album, canvas=16)
    np.testing.assert_array_equal(chunks.read(3, 9, None).images, data.train.images[3:9])
    shown, aspect = chunks.look(10, 64)
    assert aspect == pytest.approx(160 / 96)
    assert np.abs(shown.astype(int) - chunks.look(0, 64)[0]).mean() < 2
    paths = [f"{tmp_path}/album/{name}" for name in data.train.names]
    images, aspects = read_files(paths, 16)
    np.testing.assert_array_equal(images, data.train.images)
    np.testing.assert_array_equal(aspects, data.train.aspects)


def test_every_way_can_give_the_stored_pixels(album):
    data = open_dataset(album, canvas=16, exif=False)
    assert not any("EXIF" in note for note in data.notes)
    assert sorted({round(aspect, 3) for aspect in data.train.aspects.tolist()}) == [0.6, 1.667]
    lazy = open_lazily(album, canvas=16, exif=False).train.read(np.arange(16))
    np.testing.assert_array_equal(lazy.images, data.train.images)
    chunks = open_chunks(album, canvas=16, exif=False)
    np.testing.assert_array_equal(chunks.read(0, 16, None).images, data.train.images)
    assert chunks.look(10, 64)[1] == pytest.approx(0.6)
