"""Recognition of image files: every format is read or excluded for a reason, and content decides if the name does not."""

import functools
import io
import sys
import types
import warnings

import numpy as np
import pytest
from PIL import Image

from sslax.data import formats, open_dataset
from sslax.data.formats import EXCLUDED, FORMATS, is_image
from sslax.data.picture import Unreadable, read_image
from sslax.errors import InputError

COLOURS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
IMAGE = Image.fromarray(COLOURS)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(64)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n"

# Suffix -> mode and format that Pillow writes, or the bytes of other formats.
WRITTEN = {
    "jpg": ("RGB", "JPEG"),
    "jfif": ("RGB", "JPEG"),
    "jpe": ("RGB", "JPEG"),
    "png": ("RGB", "PNG"),
    "webp": ("RGB", "WEBP"),
    "gif": ("P", "GIF"),
    "tif": ("RGB", "TIFF"),
    "bmp": ("RGB", "BMP"),
    "ppm": ("RGB", "PPM"),
    "pbm": ("1", "PPM"),
    "avif": ("RGB", "AVIF"),
    "jp2": ("RGB", "JPEG2000"),
    "j2k": ("RGB", "JPEG2000"),
    "qoi": ("RGB", "QOI"),
    "tga": ("RGB", "TGA"),
    "ico": ("RGBA", "ICO"),
    "icns": ("RGBA", "ICNS"),
    "dds": ("RGBA", "DDS"),
    "dib": ("RGB", "DIB"),
    "pcx": ("RGB", "PCX"),
    "sgi": ("RGB", "SGI"),
    "msp": ("1", "MSP"),
    "xbm": ("1", "XBM"),
}
SIGNED = sorted(suffix for suffix, (_, name) in WRITTEN.items() if FORMATS[name].signed)


@functools.cache
def _encoded(suffix):
    mode, name = WRITTEN[suffix]
    buffer = io.BytesIO()
    options = {"no_jp2": True} if suffix == "j2k" else {}
    IMAGE.convert(mode).save(buffer, name, **options)
    return buffer.getvalue()


def test_every_format_of_pillow_is_read_or_excluded_for_a_reason():
    Image.init()
    # Registered by the test below, or if pillow-heif is installed.
    known = set(FORMATS) | set(EXCLUDED)
    assert set(Image.OPEN) <= known, "decide on what this Pillow has learnt"
    assert not set(FORMATS) & set(EXCLUDED)
    assert {"EPS", "WMF"} <= set(EXCLUDED)
    assert all(EXCLUDED.values())


@pytest.mark.parametrize("suffix", WRITTEN)
def test_each_is_an_image_by_its_name(tmp_path, suffix):
    path = tmp_path / f"a.{suffix.upper()}"
    path.write_bytes(_encoded(suffix))
    assert is_image(path) is True
    picture = read_image(path, 16)
    mode, _ = WRITTEN[suffix]
    if mode in ("RGB", "RGBA"):
        # JPEG, AVIF and DDS lose some of the noise.
        assert np.abs(picture.pixels.astype(int).mean((0, 1)) - COLOURS.mean((0, 1))).max() < 12


@pytest.mark.parametrize("suffix", SIGNED)
@pytest.mark.parametrize("name", ["a", "a.image", "a.jpg_large", "2024.05.17"])
def test_content_decides_if_the_name_does_not(tmp_path, suffix, name):
    (tmp_path / name).write_bytes(_encoded(suffix))
    assert is_image(tmp_path / name) is True
    # Bytes have no name.
    np.testing.assert_array_equal(read_image(tmp_path / name, 8).pixels, read_image(_encoded(suffix), 8).pixels)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes", b"#define width 8\n#define height 8\n"),
        ("empty", b""),
        ("README", b"BMW and P6 are no images"),
        ("weights.bin", bytes(range(256)) * 8),
        ("labels.txt", _encoded("png")),
        ("scene.nef", _encoded("tif")),
        ("clip.thm", _encoded("jpg")),
        ("photo.jpg.bak", _encoded("jpg")),
        ("photo.crdownload", _encoded("jpg")[:200]),
        ("drawing.eps", EPS),
        ("drawing", EPS),
        ("drawing.wmf", b"\xd7\xcd\xc6\x9a" + bytes(60)),
        ("cloud.pcd", b"# .PCD v.7 - Point Cloud Data file format\n" * 60),
        ("board.gbr", b"G04 Gerber*%FSLAX26Y26*%" * 9),
        ("patch.msp", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)),
    ],
)
def test_files_that_are_not_images(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert is_image(tmp_path / name) is False


def test_nothing_unsafe_is_opened_under_any_name(tmp_path):
    for suffix in ("", ".jpg", ".tga", ".eps", ".png"):
        (tmp_path / f"a{suffix}").write_bytes(EPS)
        with pytest.raises(Unreadable):
            read_image(tmp_path / f"a{suffix}", 8)
        assert not set(formats.openable(suffix)) & set(EXCLUDED)


def test_noise_is_never_taken_for_a_format_without_a_signature(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(300):
        for content in (rng.bytes(400), bytes([0, 0, 2]) + rng.bytes(400)):
            with pytest.raises(Unreadable):
                read_image(content, 8)
            (tmp_path / str(index)).write_bytes(content)
            assert is_image(tmp_path / str(index)) is False


def test_tga_in_memory_is_recognised_by_its_footer():
    buffer = io.BytesIO()
    IMAGE.save(buffer, "TGA")
    np.testing.assert_array_equal(read_image(buffer.getvalue(), 16).pixels, COLOURS)


def _without_heif(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    formats.available.cache_clear()
    formats.openable.cache_clear()
    formats._after_dot.cache_clear()
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)


@pytest.fixture(autouse=True)
def _as_it_was():
    yield
    formats.available.cache_clear()
    formats.openable.cache_clear()
    formats._after_dot.cache_clear()


def test_heic_without_its_package_is_skipped_with_an_install_hint(tmp_path, monkeypatch):
    _without_heif(monkeypatch)
    for name in ("a.heic", "b.HEIF", "c"):
        (tmp_path / name).write_bytes(HEIC)
        assert is_image(tmp_path / name) is None
    IMAGE.save(tmp_path / "d.png")
    notes = open_dataset(f"folder:{tmp_path}", canvas=8).notes
    assert notes == (
        "3 other files or folders were ignored (1 .heic, 1 .heif, 1 no extension; pip install pillow-heif reads HEIC).",
    )
    # iPhones' photographs are often renamed.
    (tmp_path / "e.jpg").write_bytes(HEIC)
    with pytest.raises(InputError, match="a HEIC image; pip install pillow-heif makes it readable"):
        open_dataset(f"folder:{tmp_path}", canvas=8)


def test_heic_with_its_package_is_read(tmp_path, monkeypatch):
    def register(**options):
        from PIL import ImageFile

        class HeifFile(ImageFile.ImageFile):
            format = "HEIF"

            def _open(self):
                self._mode, self._size, self.tile = "RGB", (16, 16), []
                self.im = IMAGE.im.copy()

        Image.register_open("HEIF", HeifFile, lambda prefix: prefix[4:12] == b"ftypheic")

    _without_heif(monkeypatch)
    monkeypatch.setitem(sys.modules, "pillow_heif", types.SimpleNamespace(register_heif_opener=register))
    for name in ("a.heic", "b", "c.jpg"):
        (tmp_path / name).write_bytes(HEIC)
    data = open_dataset(f"folder:{tmp_path}", canvas=16)
    assert (data.train.names, data.notes) == (("a.heic", "b", "c.jpg"), ())
    np.testing.assert_array_equal(data.train.images, np.broadcast_to(COLOURS, (3, 16, 16, 3)))
    monkeypatch.delitem(Image.OPEN, "HEIF")


def test_unsafe_readers_of_this_pillow_are_not_used(monkeypatch, tmp_path):
    monkeypatch.setattr("PIL.__version__", "12.1.0")
    formats.available.cache_clear()
    formats.openable.cache_clear()
    formats._after_dot.cache_clear()
    assert {"PSD", "FITS"} & formats.available() == set()
    assert "JPEG" in formats.available()


def test_frames_beyond_the_first_are_counted(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    more = {"save_all": True, "append_images": frames[1:]}
    for suffix, name in (
        ("gif", "GIF"),
        ("png", "PNG"),
        ("webp", "WEBP"),
        ("tif", "TIFF"),
        ("mpo", "MPO"),
        ("avif", "AVIF"),
    ):
        frames[0].save(tmp_path / f"a.{suffix}", name, **more)
        frames[0].save(tmp_path / f"b.{suffix}", name if name != "MPO" else "JPEG")
    data = open_dataset(f"folder:{tmp_path}", canvas=8)
    assert data.notes == ("6 images have several frames or pages, of which only the first was read.",)
    for pixels in data.train.images:
        assert np.abs(pixels[4, 4].astype(int) - (255, 0, 0)).max() < 12


def test_a_folder_with_everything_gives_at_most_three_notes(tmp_path, monkeypatch):
    _without_heif(monkeypatch)
    for suffix in WRITTEN:
        (tmp_path / f"a.{suffix}").write_bytes(_encoded(suffix))
    (tmp_path / "no-extension").write_bytes(_encoded("png"))
    others = {"b.heic": HEIC, "b.eps": EPS, "b.wmf": EPS, "b.txt": b"text", "b.nef": _encoded("tif"), "b": b"text"}
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    frames = [Image.new("RGBA", (8, 8), (9, 9, 9, 0)), Image.new("RGB", (8, 8), "lime")]
    frames[0].save(tmp_path / "c.gif", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[0x0112] = 6
    IMAGE.save(tmp_path / "c.jpg", exif=exif)
    Image.fromarray(np.eye(8, dtype=np.float32)).save(tmp_path / "c.tif")
    (tmp_path / "c.png").write_bytes(b"broken")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = open_dataset(f"folder:{tmp_path}", canvas=8, allow_unreadable=True)
    assert len(data.train) == len(WRITTEN) + 4
    assert data.notes == (
        "6 other files or folders were ignored (1 .eps, 1 .heic, 1 .nef, 1 .txt, 1 .wmf, and 1 more; "
        "pip install pillow-heif reads HEIC).",
        "1 of 28 image files cannot be decoded and were skipped: 'c.png' (not an image).",
        "1 image was turned upright by its EXIF orientation; 1 image with transparency was laid over white; 1 image has "
        "several frames or pages, of which only the first was read; 1 image has 32-bit gray values, with white assumed to be "
        "1, 255 or 65535, the smallest value not below the image's maximum.",
    )
