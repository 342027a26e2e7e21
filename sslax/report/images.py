"""Images and figures as data URIs, which embed them in the page.

Sizes are in pixels.
"""

import base64
import io

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from PIL import Image

from sslax.report import style

_SMALL = 64  # images up to this size are stored without loss and enlarged without smoothing
_SMALL_SVG = 40_000  # bytes; the PNG of a curve is hardly smaller, and drawing it takes longer
_STORED = 96  # larger images are reduced to this size


def data_uri(mime: str, data: bytes) -> str:
    """Encode `data` as a data URI."""
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def encode(figure: Figure) -> str:
    """Encode a figure as a data URI: SVG, or a high-resolution PNG if the SVG is large and the PNG is smaller."""
    svg, png = io.BytesIO(), io.BytesIO()
    with style.matplotlib_style():
        figure.savefig(svg, format="svg", metadata={"Date": None})
        if svg.tell() <= _SMALL_SVG:
            return data_uri("image/svg+xml", svg.getvalue())
        figure.savefig(png, format="png", dpi=250)
    if svg.tell() <= png.tell():
        return data_uri("image/svg+xml", svg.getvalue())
    return data_uri("image/png", png.getvalue())


def fit(image: UInt8[np.ndarray, "h w 3"], longest: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Resize `image` to fit `longest` pixels: reduce it smoothly, or enlarge it by an integer factor without smoothing."""
    height, width = image.shape[:2]
    if max(height, width) <= longest:
        factor = longest // max(height, width)
        return image.repeat(factor, axis=0).repeat(factor, axis=1)
    scale = longest / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def encode_image(image: UInt8[np.ndarray, "h w 3"]) -> tuple[str, int, bool]:
    """Encode an image for the page.

    Returns:
      The data URI, the width to show it at in CSS pixels, and whether to enlarge it without smoothing. Small images are
      unchanged PNGs. Larger ones are reduced, and JPEG if that is smaller, so that the page can be sent by mail.
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
