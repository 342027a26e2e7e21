"""Composition of transparent images over a background, for every way in which a format stores transparency."""

import numpy as np
from PIL import Image, ImageFile

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)

# PNG stores gray levels in 2 or 4 bits. Pillow scales the pixels to 8 bits by these factors, but not the transparent level.
_SPREAD = {"L;2": 85, "L;4": 17}


def fix_transparent_key(image: ImageFile.ImageFile) -> None:
    """Scale a PNG's transparent gray or colour to the pixel values that Pillow loads; call it before loading.

    Pillow keeps the stored key although it scales 2-, 4- and 16-bit pixels to 8 bits. For 16-bit colours only the upper bytes
    are compared, because the loaded pixels have only those.
    """
    key = image.info.get("transparency")
    if image.format != "PNG" or key is None or not image.tile:
        return
    raw = image.tile[0][3]
    if isinstance(key, int) and raw in _SPREAD:
        image.info["transparency"] = min(key * _SPREAD[raw], 255)
    elif isinstance(key, tuple) and raw == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in key)


def is_transparent(image: Image.Image) -> bool:
    """Whether a loaded image has an alpha channel, a palette with alpha, or a transparent colour; all pixels may be opaque."""
    return image.has_transparency_data


def laid_over(image: Image.Image, background: Colour) -> tuple[Image.Image, bool]:
    """A loaded 8-bit image that `is_transparent`, composed to RGB, and whether the background shows anywhere."""
    if image.mode not in ("RGBA", "LA"):
        # Premultiplied modes are converted back to straight alpha first.
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    low, _ = image.getchannel("A").getextrema()
    if low == 255:
        return image.convert("RGB"), False
    sheet = Image.new("RGB", image.size, background)
    # The image is its own mask, which avoids a copy without alpha.
    sheet.paste(image, (0, 0), image)
    return sheet, True


def gray_over(gray: Image.Image, values: np.ndarray, key: object, background: Colour) -> tuple[Image.Image, bool]:
    """A gray image as RGB, with the background where its 16-bit `values` equal its transparent gray `key`."""
    rgb = gray.convert("RGB")
    shows = values == key if isinstance(key, int) else np.zeros(0, bool)
    if not shows.any():
        return rgb, False
    rgb.paste(background, (0, 0), Image.fromarray(shows.astype(np.uint8) * 255))
    return rgb, True
