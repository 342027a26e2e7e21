"""Images and drawn figures as data URIs, which stand in the page itself.

Sizes are pixels.
"""

import base64
import io

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from PIL import Image

from sslax.report import style

_SMALL = 64  # up to here an image is shown pixel by pixel and kept without loss
_STORED = 96  # larger images are reduced to this


def data_uri(mime: str, data: bytes) -> str:
    """`data` as an address that holds it all."""
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def encode(figure: Figure) -> str:
    """The figure as a data URI: SVG, or PNG for a screen of high density where that is smaller."""
    svg, png = io.BytesIO(), io.BytesIO()
    with style.matplotlib_style():
        figure.savefig(svg, format="svg", metadata={"Date": None})
        figure.savefig(png, format="png", dpi=250)
    if svg.tell() <= png.tell():
        return data_uri("image/svg+xml", svg.getvalue())
    return data_uri("image/png", png.getvalue())


def fit(image: UInt8[np.ndarray, "h w 3"], longest: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """`image` within `longest` pixels: reduced smoothly, or enlarged by a whole factor with its pixels kept crisp."""
    height, width = image.shape[:2]
    if max(height, width) <= longest:
        factor = longest // max(height, width)
        return image.repeat(factor, axis=0).repeat(factor, axis=1)
    scale = longest / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def encode_image(image: UInt8[np.ndarray, "h w 3"]) -> tuple[str, int, bool]:
    """An image for the page.

    Returns:
      Data URI, width to show it at in CSS pixels, and whether it is to be enlarged pixel by pixel. Small images are
      unchanged PNG; larger ones are reduced, and JPEG where that is smaller, so that the page can be mailed.
    """
    height, width = image.shape[:2]
    small = max(height, width) <= _SMALL
    if small:
        shown = width * max(1, round(80 / max(height, width)))
    else:
        image = fit(image, min(_STORED, max(height, width)))
        shown = image.shape[1]
    png, jpeg = io.BytesIO(), io.BytesIO()
    Image.fromarray(image).save(png, "PNG", optimize=True)
    if not small:
        Image.fromarray(image).save(jpeg, "JPEG", quality=85)
        if jpeg.tell() < png.tell():
            return data_uri("image/jpeg", jpeg.getvalue()), shown, small
    return data_uri("image/png", png.getvalue()), shown, small
