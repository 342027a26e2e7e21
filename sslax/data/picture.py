"""One encoded image, in a file or in memory -> one square of uint8 RGB.

A file's content, not its name, decides its format (`sslax.data.formats`). It is turned upright by its EXIF orientation,
unless the stored pixels are asked for. Whatever its mode, it becomes RGB: gray is repeated, palettes and CMYK are converted,
what is transparent shows a background, 16-bit gray is scaled to 8 bits by its full range, and 32-bit integers or floats, which
carry no white of their own, are scaled by the smallest of 1 (floats), 255 and 65535 that holds their maximum. Of animations
and of several pages the first is read.

Resizing is Pillow's bicubic, antialiased. A JPEG that is large for the canvas is decoded at 1/2, 1/4 or 1/8 of its
size, as long as three pixels a canvas pixel are left in each direction: that costs a fraction of the time, and on
photographs and on noise the canvas differed by 7 levels of 255 at most, at over 50 dB PSNR, from the full decode's.
"""

import contextlib
import io
import os
import stat
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile, UnidentifiedImageError

from sslax.data import formats, opaque, upright
from sslax.data.opaque import WHITE, Colour

MAX_PIXELS = 2**27  # 400 MB as RGB: more than a 108-megapixel photograph.
# More pixels than this (100 MB as RGB), after a JPEG's reduction, are decoded by one thread at a time: a small file can
# claim them, and in every thread at once they would fill the memory.
_LARGE_PIXELS = 2**25
_large = threading.Lock()
_DRAFT_MARGIN = 3
RULES = 2
"""Version of the rules by which files become pixels. Raise it when pixels change, so that older caches are noticed."""


class Reading(NamedTuple):
    """How files are read where they leave a choice.

    Attributes:
        exif: turn photographs upright by their EXIF orientation; False leaves the pixels as they are stored.
        background: what shows where an image is transparent, RGB in [0, 255].
    """

    exif: bool = True
    background: Colour = WHITE

    def told(self) -> dict[str, object]:
        """What pixels depend on besides the file, as JSON has it."""
        return {"rules": RULES, "exif": self.exif, "background": list(self.background)}


USUAL = Reading()


class Unreadable(Exception):
    """A file that cannot be decoded; the message is the reason, without the file's name."""


class Picture(NamedTuple):
    """One decoded file.

    Attributes:
        pixels: RGB on the canvas.
        width: of the image as it is to be seen, pixels.
        height: of the same.
        treated: what was done to it that the user should know; the keys of `treated_note`.
    """

    pixels: UInt8[np.ndarray, "s s 3"]
    width: int
    height: int
    treated: tuple[str, ...] = ()


TURNED, TRANSPARENT, FRAMES, GUESSED_WHITE = "turned", "transparent", "frames", "guessed white"


def treated_note(treated: Mapping[str, int], background: Colour) -> str | None:
    """One line on what was done to images, or None.

    Args:
        treated: how many were turned, laid over the background, read of several frames, and had a white that was guessed.
        background: the colour.
    """

    def images(key: str, one: str, more: str) -> list[str]:
        count = treated.get(key, 0)
        return [f"{count:,} {f'image {one}' if count == 1 else f'images {more}'}"] if count else []

    colour = "white" if background == WHITE else f"the colour {','.join(map(str, background))}"
    guess = "whose white was taken to be 1, 255 or 65535, the smallest that holds the image's maximum"
    said = [
        *images(TURNED, "was turned upright by its EXIF orientation", "were turned upright by their EXIF orientation"),
        *images(TRANSPARENT, f"with transparency was laid over {colour}", f"with transparency were laid over {colour}"),
        *images(
            FRAMES,
            "has more frames or pages than the first, which was read",
            "have more frames or pages than the first, which was read",
        ),
        *images(GUESSED_WHITE, f"has 32-bit gray values, {guess}", f"have 32-bit gray values, {guess}"),
    ]
    return f"{'; '.join(said)}." if said else None


def read_image(file: Path | bytes, canvas: int, reading: Reading = USUAL) -> Picture:
    """Reads one file, or its bytes, onto a canvas of S = `canvas` pixels a side.

    Raises:
        Unreadable: the file is missing, cut off, no image, has more than 2^27 pixels or values of unknown meaning.
    """
    try:
        if isinstance(file, bytes):
            with Image.open(io.BytesIO(file), formats=formats.of_bytes(file)) as image:
                return _read(image, canvas, reading)
        path = str(file)
        # Opening a pipe would wait for someone to write into it.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Unreadable("not a file")
        with Image.open(path, formats=formats.of_path(path)) as image:
            return _read(image, canvas, reading)
    except Unreadable:
        raise
    # Readers of broken files raise nearly anything: OSError, SyntaxError, struct.error, IndexError, MemoryError.
    except Exception as error:
        raise Unreadable(_reason(file, error)) from error


def _read(image: ImageFile.ImageFile, canvas: int, reading: Reading) -> Picture:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Unreadable(f"{width} x {height} pixels are more than {MAX_PIXELS}")
    if width * height == 0:
        raise Unreadable("no pixels")
    # Small images are read in a tenth of a millisecond, so rare properties are tested for once, and cheaply.
    already = upright.turned_already(image) if image.format == "TIFF" else 1
    if "transparency" in image.info:
        opaque.fix_transparent_key(image)
    # The box leaves out what of a draft's last row and column lies outside of the image.
    box = None
    enough = canvas * _DRAFT_MARGIN
    if min(width, height) >= 2 * enough and (draft := image.draft(None, (enough, enough))):
        box = draft[1]
    with _large if image.width * image.height > _LARGE_PIXELS else contextlib.nullcontext():
        rgb, treated = _as_rgb(image, reading.background)
        if box is None:
            # Icons hold images of several sizes, and tell which it is when they are loaded.
            width, height = rgb.size
        if rgb.size != (canvas, canvas):
            rgb = rgb.resize((canvas, canvas), Image.Resampling.BICUBIC, box=box)
    pixels = np.asarray(rgb)
    # For the stored pixels, the turn that Pillow has applied to a TIFF is undone.
    orientation = upright.undone(already)
    if reading.exif:
        orientation = upright.stored_orientation(image)
        if orientation != 1 or already != 1:
            treated.append(TURNED)
    if orientation != 1:
        pixels = upright.turned(pixels, orientation)
        if upright.is_sideways(orientation):
            width, height = height, width
    if _has_more_frames(image):
        treated.append(FRAMES)
    return Picture(pixels, width, height, tuple(treated))


def _has_more_frames(image: Image.Image) -> bool:
    # What Pillow counts of a PSD are layers, which the image that is read is made of.
    if image.format == "PSD":
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    # A GIF has to look at its second frame for it, which may be damaged.
    except Exception:
        return False


def read_quietly(file: Path | bytes, canvas: int, reading: Reading = USUAL) -> Picture:
    """`read_image` without Pillow's warnings, for the main thread: filters belong to the process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_image(file, canvas, reading)


def _reason(file: Path | bytes, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return _unidentified(file)
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS} pixels"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return text.splitlines()[0][:80]


def _unidentified(file: Path | bytes) -> str:
    head = b""
    with contextlib.suppress(OSError):
        head = file[:16] if isinstance(file, bytes) else _first_bytes(file)
    if formats.is_heif(head) and "HEIF" not in formats.available():
        return f"a HEIC image, which {formats.HEIF_INSTALL} makes readable"
    return "not an image" if head else "empty file"


def _first_bytes(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(16)


def _as_rgb(image: Image.Image, background: Colour) -> tuple[Image.Image, list[str]]:
    image.load()
    if image.mode == "RGB" and "transparency" not in image.info:
        return image, []  # convert() would copy.
    if image.mode.startswith(("I", "F")):
        return _deep_as_rgb(image, background)
    if opaque.is_transparent(image):
        rgb, shows = opaque.laid_over(image, background)
        return rgb, [TRANSPARENT] if shows else []
    return image.convert("RGB"), []


def _deep_as_rgb(image: Image.Image, background: Colour) -> tuple[Image.Image, list[str]]:
    # Pillow's own conversion would clip these at 255. 16-bit PGM comes as mode I, its values already 16-bit.
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    known = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")
    whites = [65535] if known else [1, 255, 65535] if image.mode == "F" else [255, 65535]
    white = next((white for white in whites if high <= white), None)
    if white is None or low < 0:
        raise Unreadable(f"gray values from {low:g} to {high:g} have no known white")
    gray = Image.fromarray(np.rint(values * np.float32(255 / white)).astype(np.uint8))
    rgb, shows = opaque.gray_over(gray, values, image.info.get("transparency"), background)
    return rgb, [TRANSPARENT] * shows + [GUESSED_WHITE] * (not known)
