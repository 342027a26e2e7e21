"""A scene as cameras store it: turned for each of the eight EXIF orientations and saved by the tests."""

import io
import struct

import numpy as np
from PIL import Image

# The turn, by Pillow's name, that a camera applies to the pixels and the orientation reverses.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def scene(width=160, height=96):
    """A photograph without symmetry: waves, a ramp and a distinct corner."""
    x, y = np.meshgrid(np.arange(width) / width, np.arange(height) / height)
    waves = [np.sin(9 * x + 4 * y), np.cos(7 * x * y), x - y]
    pixels = 128 + 100 * np.stack(waves, axis=-1)
    pixels[: height // 4, : width // 4] = (250, 20, 60)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def exif(orientation, order="<", kind=3):
    """An EXIF block that holds an orientation and nothing else, written without Pillow."""
    value = struct.pack(f"{order}{'H' if kind == 3 else 'I'}", orientation).ljust(4, b"\0")
    head = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(f"{order}HHI", 0x0112, kind, 1) + value
    return b"Exif\0\0" + head + struct.pack(f"{order}IH", 8, 1) + entry + bytes(4)


def stored(image, orientation):
    """The pixels as a camera with this orientation stores them."""
    turn = STORED[orientation]
    return image if turn is None else image.transpose(turn)


def encoded(image, orientation, format="jpeg", **options):
    """An image file as a camera with this orientation saves it."""
    buffer = io.BytesIO()
    if format == "jpeg":
        options = {"quality": 92, **options}
    stored(image, orientation).save(buffer, format, exif=exif(orientation), **options)
    return buffer.getvalue()
