"""EXIF orientation: read it from an image, and turn a canvas upright by it.

The eight values are those of EXIF 2.32, tag 0x0112, which describe the stored rows and columns; 1 is upright. Pillow's
`getexif` is not used, because it also reads the orientation from XMP and warns about damaged blocks.
"""

import struct
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

_ORIENTATION = 0x0112
# TIFF's integer types -> struct format; the tag should be a SHORT, but some programs write other types.
_TYPES = {1: "B", 3: "H", 4: "I"}
_UNDONE = {6: 8, 8: 6}


def orientation_of(exif: bytes) -> int:
    """The orientation, 1 to 8, in an EXIF block; 1 if the block has none or is damaged.

    Args:
        exif: a TIFF header and its first directory, optionally preceded by `Exif\\0\\0`.
    """
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(f"{order}HHI", exif, place)
            if tag == _ORIENTATION and kind in _TYPES and values == 1:
                (value,) = struct.unpack_from(f"{order}{_TYPES[kind]}", exif, place + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def stored_orientation(image: Image.Image) -> int:
    """The orientation in the EXIF block of an opened image; 1 if there is no such block.

    A PNG may store the block after its pixels, so load the image first. For TIFF see `turned_already`.
    """
    block = image.info.get("exif")
    if block is None and isinstance(profile := image.info.get("Raw profile type exif"), str):
        # ImageMagick's form from before PNG had a chunk for EXIF: three lines, then the block in hexadecimal digits.
        try:
            block = bytes.fromhex("".join(profile.split("\n")[3:]))
        except ValueError:
            block = None
    return orientation_of(block) if isinstance(block, bytes) else 1


def turned_already(image: Image.Image) -> int:
    """The orientation that Pillow itself applies when it loads this image: TIFF's own tag; 1 for other formats.

    A HEIF container stores its own rotations. They are part of decoding: always applied, and not included here.

    Call it before loading the image, because loading drops the tag. For a TIFF without the tag, Pillow would take the
    orientation from XMP; this call prevents that.
    """
    tags: Any = getattr(image, "tag_v2", None)
    if image.format != "TIFF" or tags is None:
        return 1
    value = tags.get(_ORIENTATION, 1)
    if _ORIENTATION not in tags and "xmp" in image.info:
        image.getexif()[_ORIENTATION] = 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def undone(orientation: int) -> int:
    """The orientation that reverses `orientation`."""
    return _UNDONE.get(orientation, orientation)


def is_sideways(orientation: int) -> bool:
    """Whether the orientation swaps width and height."""
    return orientation >= 5


def turned(canvas: UInt8[np.ndarray, "s s 3"], orientation: int) -> UInt8[np.ndarray, "s s 3"]:
    """A square canvas turned upright.

    Squashing to a square and turning commute; turning the canvas moves the fewest pixels.
    """
    if orientation >= 5:
        canvas = canvas.swapaxes(0, 1)
    rows, columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(canvas[:: -1 if rows else 1, :: -1 if columns else 1])
