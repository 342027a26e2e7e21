"""The supported image formats, the excluded formats with the reason, and the rules that recognise a file's format.

The content of a file decides its format, not its name: `photo.jpg` may be a PNG. The name matters only for listing, where it
saves opening every file, and for formats without a signature.
"""

import contextlib
import functools
import importlib
import importlib.util
import mimetypes
import os
import warnings
from typing import NamedTuple

import PIL
from PIL import Image, features


class Format(NamedTuple):
    """How to recognise files of one format.

    Attributes:
        plugin: the Pillow module that reads the format.
        suffixes: its file suffixes, lower case.
        named: if True, a file with such a suffix is an image, and is reported if it cannot be decoded. If False, the suffix
            has other uses too, and a file with a different header is skipped.
        signed: if True, the first bytes identify the format, so its files are recognised under any name. Files of other
            formats are opened only under their own suffixes, because random bytes or a C header could match.
        feature: the optional feature that Pillow must be built with.
        since: the first Pillow version with a reader that is safe on damaged files.
    """

    plugin: str
    suffixes: tuple[str, ...]
    named: bool = False
    signed: bool = True
    feature: str | None = None
    since: tuple[int, ...] = ()


# Readers are tried in this order, the most frequent formats first.
FORMATS: dict[str, Format] = {
    # The JPEG reader also reads MPO, several JPEGs in one file.
    "JPEG": Format("JpegImagePlugin", (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo"), named=True),
    "PNG": Format("PngImagePlugin", (".png", ".apng"), named=True),
    "WEBP": Format("WebPImagePlugin", (".webp",), named=True, feature="webp"),
    "GIF": Format("GifImagePlugin", (".gif",), named=True),
    "TIFF": Format("TiffImagePlugin", (".tif", ".tiff"), named=True),
    "BMP": Format("BmpImagePlugin", (".bmp",), named=True),
    "PPM": Format("PpmImagePlugin", (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"), named=True),
    "AVIF": Format("AvifImagePlugin", (".avif", ".avifs"), named=True, feature="avif"),
    "HEIF": Format("", (".heic", ".heif", ".hif", ".heics", ".heifs"), named=True),
    "JPEG2000": Format(
        "Jpeg2KImagePlugin", (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"), named=True, feature="jpg_2000"
    ),
    "QOI": Format("QoiImagePlugin", (".qoi",), named=True),
    "ICNS": Format("IcnsImagePlugin", (".icns",)),
    "DDS": Format("DdsImagePlugin", (".dds",)),
    # Earlier versions write tiles of negative extent outside of the image's memory (CVE-2026-25990).
    "PSD": Format("PsdImagePlugin", (".psd",), since=(12, 1, 1)),
    "FTEX": Format("FtexImagePlugin", (".ftc", ".ftu")),
    "BLP": Format("BlpImagePlugin", (".blp",)),
    "SUN": Format("SunImagePlugin", (".ras",)),
    "XPM": Format("XpmImagePlugin", (".xpm",)),
    # Earlier versions decompress data without a size limit (CVE-2026-40192).
    "FITS": Format("FitsImagePlugin", (".fits", ".fit"), since=(12, 2)),
    "TGA": Format("TgaImagePlugin", (".tga", ".icb", ".vda", ".vst"), named=True, signed=False),
    "ICO": Format("IcoImagePlugin", (".ico",), signed=False),
    "CUR": Format("CurImagePlugin", (".cur",), signed=False),
    "DIB": Format("BmpImagePlugin", (".dib",), signed=False),
    "PCX": Format("PcxImagePlugin", (".pcx",), signed=False),
    "DCX": Format("DcxImagePlugin", (".dcx",), signed=False),
    "SGI": Format("SgiImagePlugin", (".sgi", ".bw", ".rgb", ".rgba"), signed=False),
    "FLI": Format("FliImagePlugin", (".fli", ".flc"), signed=False),
    "GBR": Format("GbrImagePlugin", (".gbr",), signed=False),
    "MSP": Format("MspImagePlugin", (".msp",), signed=False),
    "PCD": Format("PcdImagePlugin", (".pcd",), signed=False),
    "PIXAR": Format("PixarImagePlugin", (".pxr",), signed=False),
    "XBM": Format("XbmImagePlugin", (".xbm",), signed=False),
}

EXCLUDED: dict[str, str] = {
    "EPS": "a PostScript program, which Pillow runs with Ghostscript",
    "WMF": "drawing commands for Windows, not a raster image",
    "IPTC": "its reader opens the embedded data with the readers of all formats, including EPS",
    "BUFR": "Pillow only recognises it and leaves decoding to another program",
    "GRIB": "Pillow only recognises it and leaves decoding to another program",
    "HDF5": "Pillow only recognises it and leaves decoding to another program",
    "MPEG": "a video; Pillow reads only its size",
    "IM": "has no signature, and Pillow plans to drop it",
    "IMT": "has neither a signature nor a suffix",
    "SPIDER": "has neither a signature nor a suffix",
    "MCIDAS": "has no suffix and a signature of zeros; images of weather satellites, not of cameras",
    "XVTHUMB": "thumbnails that the viewer xv stored, not images",
}

HEIF_INSTALL = "pip install pillow-heif"
# Suffixes that exclude a file regardless of its content: camera raws are TIFFs with a thumbnail as first image, .thm is the
# thumbnail of a video, and backups and partial downloads duplicate other files.
_RAW = "3fr ari arw cr2 cr3 crw dcr dng erf iiq kdc mef mos mrw nef nrw orf pef raf raw rw2 rwl sr2 srf srw x3f"
_LEFT = "thm bak old orig tmp part crdownload download"
_DRAWN = "svg svgz eps ps ai wmf emf"
_OTHERWISE = frozenset(f".{name}" for names in (_RAW, _LEFT, _DRAWN) for name in names.split())
_SUFFIXES = {suffix: name for name, form in FORMATS.items() for suffix in form.suffixes}
# The brands of HEIF files with HEVC images; AVIF has its own brands.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")


@functools.cache
def available() -> frozenset[str]:
    """The formats of `FORMATS` that the installed Pillow reads, including HEIF if pillow-heif is installed.

    This imports the readers; otherwise Pillow would import them later, in the first thread that needs one.
    """
    version = tuple(int(part) for part in PIL.__version__.split(".")[:3] if part.isdigit())
    found = set()
    for name, form in FORMATS.items():
        with contextlib.suppress(ImportError):
            if name == "HEIF":
                importlib.import_module("pillow_heif").register_heif_opener(thumbnails=False)
            else:
                importlib.import_module(f"PIL.{form.plugin}")
            if version >= form.since and (form.feature is None or features.check(form.feature)):
                found.add(name)
    return frozenset(found & set(Image.OPEN))


@functools.lru_cache(maxsize=256)
def openable(suffix: str) -> tuple[str, ...]:
    """The possible formats, for `Image.open`, of a file with this suffix (lower case, with its dot)."""
    there = available()
    return tuple(name for name, form in FORMATS.items() if name in there and (form.signed or suffix in form.suffixes))


def suffix_of(name: str) -> str:
    """The suffix of a file name in lower case, including its dot; empty if there is none."""
    return os.path.splitext(name)[1].lower()


def is_heif(head: bytes) -> bool:
    """Whether a file that begins with `head` (at least 12 bytes) holds HEVC images, as iPhones save them."""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


def is_image(path: str | os.PathLike[str]) -> bool | None:
    """Whether a file is an image, by its name, or by its content if the name does not decide.

    Args:
        path: path of a regular file; reading a pipe, for example, would block.

    Returns:
        True, False, or None for an image that needs another package, which `missing` names.
    """
    suffix = suffix_of(os.fspath(path))
    name = _SUFFIXES.get(suffix)
    if name is not None and FORMATS[name].named:
        return True if name in available() else None
    if suffix in _OTHERWISE or (name is None and _is_other(suffix)):
        return False
    head = b""
    try:
        with open(path, "rb") as file:
            head = file.read(16)
        # A few matching bytes can be a coincidence; a header that Pillow can parse cannot.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=openable(suffix)):
                return True
    except Image.DecompressionBombError:
        return True
    # Readers raise nearly any exception on bytes of another format.
    except Exception:
        return None if is_heif(head) and "HEIF" not in available() else False


@functools.lru_cache(maxsize=256)
def _is_other(suffix: str) -> bool:
    """Whether a suffix is known for files other than images: .txt, .json, .mp4."""
    kind, _ = mimetypes.MimeTypes().guess_type(f"a{suffix}")
    return kind is not None and not kind.startswith("image/") and kind != "application/octet-stream"


def missing(path: str | os.PathLike[str]) -> str:
    """The command that installs a reader for an image for which `is_image` is None."""
    name = _SUFFIXES.get(suffix_of(os.fspath(path)), "HEIF")
    return f"{HEIF_INSTALL} reads HEIC" if name == "HEIF" else f'pip install -U "pillow>=11.3" reads {name}'


def named_suffixes() -> list[str]:
    """The sorted suffixes of files that count as images regardless of their content."""
    return sorted(suffix for suffix, name in _SUFFIXES.items() if FORMATS[name].named and name in available())


def of_bytes(content: bytes) -> tuple[str, ...]:
    """The possible formats of encoded bytes: those with a signature. TGA version 2 has its signature at the end."""
    return openable(".tga" if content[-18:].startswith(b"TRUEVISION-XFILE.") else "")


def of_path(path: str) -> tuple[str, ...]:
    """The possible formats of a file."""
    # This runs for every file, so it only cuts the path at the last dot. Without a dot, the rest is not a known suffix.
    return _after_dot(path[path.rfind(".") :])


@functools.lru_cache(maxsize=1024)
def _after_dot(rest: str) -> tuple[str, ...]:
    return openable(suffix_of(f"a{rest}"))
