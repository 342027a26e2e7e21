"""The image formats that are read, those that are not and why, and how a file's format is recognised.

A file's content decides its format, never its name: `photo.jpg` may well be a PNG. The name matters only for
listing, where it saves opening every file, and for formats that have no signature.
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
    """How files of one format are told from others.

    Attributes:
        plugin: the module of Pillow that reads it.
        suffixes: of its files, lower case.
        named: a file of such a name is an image, and one that cannot be decoded is reported. Otherwise the suffix has other
            uses too, and a file whose header does not fit is passed over.
        signed: its first bytes tell it from anything else, so its files are known under any name. Others are opened only
            under their own suffixes: a few bytes of noise, or a C header, would pass for one of them.
        feature: what Pillow has to be built with.
        since: the first version of Pillow whose reader is safe on damaged files.
    """

    plugin: str
    suffixes: tuple[str, ...]
    named: bool = False
    signed: bool = True
    feature: str | None = None
    since: tuple[int, ...] = ()


# The order is that in which a file is tried: the frequent ones first.
FORMATS: dict[str, Format] = {
    # MPO, several JPEGs in one file, is read by the reader of JPEG.
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
    # Before it, tiles of negative extent were written before the image's memory (CVE-2026-25990).
    "PSD": Format("PsdImagePlugin", (".psd",), since=(12, 1, 1)),
    "FTEX": Format("FtexImagePlugin", (".ftc", ".ftu")),
    "BLP": Format("BlpImagePlugin", (".blp",)),
    "SUN": Format("SunImagePlugin", (".ras",)),
    "XPM": Format("XpmImagePlugin", (".xpm",)),
    # Before it, compressed data were unpacked to any size (CVE-2026-40192).
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
    "EPS": "a program, which Pillow has Ghostscript run",
    "WMF": "drawing commands, which Windows carries out; no raster",
    "IPTC": "its reader opens what the file holds by the readers of all formats, EPS among them",
    "BUFR": "Pillow only recognises it, and leaves decoding to another program",
    "GRIB": "Pillow only recognises it, and leaves decoding to another program",
    "HDF5": "Pillow only recognises it, and leaves decoding to another program",
    "MPEG": "a video, of which Pillow reads the size alone",
    "IM": "has no signature, and Pillow is to drop it",
    "IMT": "has neither a signature nor a suffix",
    "SPIDER": "has neither a signature nor a suffix",
    "MCIDAS": "has no suffix, and a signature of zeros; of weather satellites, not of cameras",
    "XVTHUMB": "thumbnails that xv kept of images, not images",
}

HEIF_INSTALL = "pip install pillow-heif"
# Names that exclude a file whatever it holds: camera raws are TIFFs whose first image is a thumbnail, .thm is a video's
# thumbnail, and backups and partial downloads duplicate other files.
_RAW = "3fr ari arw cr2 cr3 crw dcr dng erf iiq kdc mef mos mrw nef nrw orf pef raf raw rw2 rwl sr2 srf srw x3f"
_LEFT = "thm bak old orig tmp part crdownload download"
_DRAWN = "svg svgz eps ps ai wmf emf"
_OTHERWISE = frozenset(f".{name}" for names in (_RAW, _LEFT, _DRAWN) for name in names.split())
_SUFFIXES = {suffix: name for name, form in FORMATS.items() for suffix in form.suffixes}
# The brands of HEIF files that hold HEVC; AVIF has its own.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")


@functools.cache
def available() -> frozenset[str]:
    """The formats of `FORMATS` that the installed Pillow reads, HEIF among them where pillow-heif is installed.

    Imports their readers: Pillow would do it later, from whichever thread comes first.
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
    """The formats, as `Image.open` takes them, that a file of this suffix (lower case, with its dot) may have."""
    there = available()
    return tuple(name for name, form in FORMATS.items() if name in there and (form.signed or suffix in form.suffixes))


def suffix_of(name: str) -> str:
    """What follows the last dot of a file's name, with it and in lower case; empty where there is none."""
    return os.path.splitext(name)[1].lower()


def is_heif(head: bytes) -> bool:
    """Whether a file that begins like this holds HEVC images, as iPhones save them; from 12 bytes."""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


def is_image(path: str | os.PathLike[str]) -> bool | None:
    """Whether a file is an image: by its name, or by its content where the name says nothing.

    Args:
        path: of a regular file; anything else would be waited for.

    Returns:
        None for an image that needs another package, which `missing` names.
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
        # A few bytes may be a coincidence, a header that can be read is none.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=openable(suffix)):
                return True
    except Image.DecompressionBombError:
        return True
    # Readers of foreign bytes raise nearly anything.
    except Exception:
        return None if is_heif(head) and "HEIF" not in available() else False


@functools.lru_cache(maxsize=256)
def _is_other(suffix: str) -> bool:
    """Whether a suffix is known to be of other files than images: .txt, .json, .mp4."""
    kind, _ = mimetypes.MimeTypes().guess_type(f"a{suffix}")
    return kind is not None and not kind.startswith("image/") and kind != "application/octet-stream"


def missing(path: str | os.PathLike[str]) -> str:
    """What would read an image for which `is_image` is None."""
    name = _SUFFIXES.get(suffix_of(os.fspath(path)), "HEIF")
    return f"{HEIF_INSTALL} reads HEIC" if name == "HEIF" else f'pip install -U "pillow>=11.3" reads {name}'


def named_suffixes() -> list[str]:
    """The suffixes whose files are images whatever they hold, sorted."""
    return sorted(suffix for suffix, name in _SUFFIXES.items() if FORMATS[name].named and name in available())


def of_bytes(content: bytes) -> tuple[str, ...]:
    """The formats that encoded bytes may have: those with a signature. TGA has one since its version 2, at the end."""
    return openable(".tga" if content[-18:].startswith(b"TRUEVISION-XFILE.") else "")


def of_path(path: str) -> tuple[str, ...]:
    """The formats that a file may have."""
    # Asked for every file, so the path is only cut at its last dot; what that leaves of a name without one is no suffix.
    return _after_dot(path[path.rfind(".") :])


@functools.lru_cache(maxsize=1024)
def _after_dot(rest: str) -> tuple[str, ...]:
    return openable(suffix_of(f"a{rest}"))
