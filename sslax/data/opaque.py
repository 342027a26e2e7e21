"""Transparent images laid over a background, whatever way their format has of saying what is transparent."""

import numpy as np
from PIL import Image, ImageFile

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)

# Gray levels that PNG stores in 2 and 4 bits, and Pillow spreads over 8 without spreading the transparent one with them.
_SPREAD = {"L;2": 85, "L;4": 17}


def fix_transparent_key(image: ImageFile.ImageFile) -> None:
    """Makes a PNG's transparent gray or colour one of the pixels' values as Pillow has them; to be called before loading.

    Pillow keeps the key as it is stored while it scales 2, 4 and 16 bits to 8. Of 16-bit colours the upper halves are
    compared, which are all that is left of them.
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
    """Whether a loaded image has an alpha channel, a palette with one, or a transparent colour; all may still be opaque."""
    return image.has_transparency_data


def laid_over(image: Image.Image, background: Colour) -> tuple[Image.Image, bool]:
    """A loaded image of 8 bits that `is_transparent`, as RGB, and whether any of it showed the background."""
    if image.mode not in ("RGBA", "LA"):
        # Premultiplied modes go back to their own first.
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    low, _ = image.getchannel("A").getextrema()
    if low == 255:
        return image.convert("RGB"), False
    sheet = Image.new("RGB", image.size, background)
    # Three arguments: the image is its own mask, and no copy of it without alpha is made.
    sheet.paste(image, (0, 0), image)
    return sheet, True


def gray_over(gray: Image.Image, values: np.ndarray, key: object, background: Colour) -> tuple[Image.Image, bool]:
    """A gray image as RGB, the background where its 16-bit `values` are its transparent gray `key`."""
    rgb = gray.convert("RGB")
    shows = values == key if isinstance(key, int) else np.zeros(0, bool)
    if not shows.any():
        return rgb, False
    rgb.paste(background, (0, 0), Image.fromarray(shows.astype(np.uint8) * 255))
    return rgb, True
