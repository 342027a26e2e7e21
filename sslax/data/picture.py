"""Decode one image, from a file or from memory, to a square of uint8 RGB.

The content of a file decides its format, not its name (`sslax.data.formats`). The image is turned upright by its EXIF
orientation, unless the stored pixels are requested. Every mode becomes RGB: gray is repeated, palettes and CMYK are converted,
transparent pixels show a background, and 16-bit gray is scaled to 8 bits by its full range. 32-bit integers and floats do not
define white; they are scaled by the smallest of 1 (floats only), 255 and 65535 that is not below their maximum. Animations
and multi-page files give their first frame.

Resizing is Pillow's bicubic, antialiased. A JPEG that is large for the canvas is decoded at 1/2, 1/4 or 1/8 of its size, if
at least three pixels per canvas pixel remain in each direction. This takes a fraction of the time. On photographs and on
noise, the canvas differed from a full decode's by at most 7 levels of 255, with over 50 dB PSNR.
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
# Images with more pixels than this (100 MB as RGB), after a JPEG's reduction, are decoded by one thread at a time. A small
# file can expand to such a size, and several at once would fill the memory.
_LARGE_PIXELS = 2**25
_large = threading.Lock()
_DRAFT_MARGIN = 3
RULES = 2
"""Version of the decoding rules. Increase it when decoded pixels change, so that older caches are recognised as stale."""


class Reading(NamedTuple):
    """Options for decoding files.

    Attributes:
        exif: turn photographs upright by their EXIF orientation; False keeps the stored pixels.
        background: colour behind transparent pixels, RGB in [0, 255].
    """

    exif: bool = True
    background: Colour = WHITE

    def told(self) -> dict[str, object]:
        """Everything besides the file that the pixels depend on, as JSON values."""
        return {"rules": RULES, "exif": self.exif, "background": list(self.background)}


USUAL = Reading()


class Unreadable(Exception):
    """A file that cannot be decoded; the message is the reason, without the file's name."""


class Picture(NamedTuple):
    """One decoded file.

    Attributes:
        pixels: RGB on the canvas.
        width: width of the upright image in pixels.
        height: height of the upright image in pixels.
        treated: special treatments that the user should know about; the keys of `treated_note`.
    """

    pixels: UInt8[np.ndarray, "s s 3"]
    width: int
    height: int
    treated: tuple[str, ...] = ()


TURNED, TRANSPARENT, FRAMES, GUESSED_WHITE = "turned", "transparent", "frames", "guessed white"


def treated_note(treated: Mapping[str, int], background: Colour) -> str | None:
    """A line for the user on special treatments of images, or None.

    Args:
        treated: numbers of images that were turned upright, composed over the background, cut to their first frame, or
            scaled by a guessed white.
        background: the background colour.
    """

    def images(key: str, one: str, more: str) -> list[str]:
        count = treated.get(key, 0)
        return [f"{count:,} {f'image {one}' if count == 1 else f'images {more}'}"] if count else []

    colour = "white" if background == WHITE else f"the colour {','.join(map(str, background))}"
    guess = "with white assumed to be 1, 255 or 65535, the smallest value not below the image's maximum"
    said = [
        *images(TURNED, "was turned upright by its EXIF orientation", "were turned upright by their EXIF orientation"),
        *images(TRANSPARENT, f"with transparency was laid over {colour}", f"with transparency were laid over {colour}"),
        *images(
            FRAMES,
            "has several frames or pages, of which only the first was read",
            "have several frames or pages, of which only the first was read",
        ),
        *images(GUESSED_WHITE, f"has 32-bit gray values, {guess}", f"have 32-bit gray values, {guess}"),
    ]
    return f"{'; '.join(said)}." if said else None


def read_image(file: Path | bytes, canvas: int, reading: Reading = USUAL) -> Picture:
    """Decode one file, or its bytes, to a canvas with a side of S = `canvas` pixels.

    Raises:
        Unreadable: if the file is missing, truncated or not an image, has more than 2^27 pixels, or has gray values of an
            unknown range.
    """
    try:
        if isinstance(file, bytes):
            with Image.open(io.BytesIO(file), formats=formats.of_bytes(file)) as image:
                return _read(image, canvas, reading)
        path = str(file)
        # Opening a pipe would block until another process writes to it.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Unreadable("not a file")
        with Image.open(path, formats=formats.of_path(path)) as image:
            return _read(image, canvas, reading)
    except Unreadable:
        raise
    # Readers raise nearly any exception on broken files: OSError, SyntaxError, struct.error, IndexError, MemoryError.
    except Exception as error:
        raise Unreadable(_reason(file, error)) from error


def _read(image: ImageFile.ImageFile, canvas: int, reading: Reading) -> Picture:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Unreadable(f"{width} x {height} pixels are more than {MAX_PIXELS}")
    if width * height == 0:
        raise Unreadable("no pixels")
    # A small image decodes in 0.1 ms, so rare properties are tested only once, with cheap tests.
    already = upright.turned_already(image) if image.format == "TIFF" else 1
    if "transparency" in image.info:
        opaque.fix_transparent_key(image)
    # The box excludes the parts of a draft's last row and column that lie outside of the image.
    box = None
    enough = canvas * _DRAFT_MARGIN
    if min(width, height) >= 2 * enough and (draft := image.draft(None, (enough, enough))):
        box = draft[1]
    with _large if image.width * image.height > _LARGE_PIXELS else contextlib.nullcontext():
        rgb, treated = _as_rgb(image, reading.background)
        if box is None:
            # Icon files hold images of several sizes; the size is known only after loading.
            width, height = rgb.size
        if rgb.size != (canvas, canvas):
            rgb = rgb.resize((canvas, canvas), Image.Resampling.BICUBIC, box=box)
    pixels = np.asarray(rgb)
    # If the stored pixels are requested, undo the turn that Pillow applied to a TIFF.
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
    # Pillow counts the layers of a PSD as frames, but the decoded image is composed of all layers.
    if image.format == "PSD":
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    # For a GIF, Pillow reads the second frame to answer this; that frame may be damaged.
    except Exception:
        return False


def read_quietly(file: Path | bytes, canvas: int, reading: Reading = USUAL) -> Picture:
    """`read_image` without Pillow's warnings. Call it from the main thread only, because filters are global to the process."""
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
        return f"a HEIC image; {formats.HEIF_INSTALL} makes it readable"
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
    # Pillow's own conversion would clip these at 255. It loads 16-bit PGM as mode I with values up to 65535.
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    known = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")
    whites = [65535] if known else [1, 255, 65535] if image.mode == "F" else [255, 65535]
    white = next((white for white in whites if high <= white), None)
    if white is None or low < 0:
        raise Unreadable(f"gray values from {low:g} to {high:g}; the range must be 0 to at most {whites[-1]}")
    gray = Image.fromarray(np.rint(values * np.float32(255 / white)).astype(np.uint8))
    rgb, shows = opaque.gray_over(gray, values, image.info.get("transparency"), background)
    return rgb, [TRANSPARENT] * shows + [GUESSED_WHITE] * (not known)
