"""The nearest neighbours of an image among the features in a file, by cosine similarity, and a picture of them."""

import heapq
import pathlib
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from sslax.report.images import fit

# Pixels.
_SIDE, _QUERY, _GAP, _TEXT = 128, 224, 12, 22
_COLUMNS = 5
_INK, _PAPER, _RULE = "#24292f", "#ffffff", "#d9dce0"


def nearest(
    query: Float32[np.ndarray, "d"], pieces: Iterable[Float32[np.ndarray, "m d"]], count: int
) -> list[tuple[int, float]]:
    """Rows and cosines of the `count` features nearest to `query`.

    The nearest come first, ties in the order of their rows. An all-zero feature has cosine 0.
    """
    best: list[tuple[float, int]] = []
    start = 0
    direction = _normalised(query[None].astype(np.float64))[0]
    for piece in pieces:
        cosines = _normalised(piece.astype(np.float64)) @ direction
        best = heapq.nsmallest(count, [*best, *((-cosine, start + i) for i, cosine in enumerate(cosines.tolist()))])
        start += len(piece)
    return [(row, -cosine) for cosine, row in best]


def _normalised(x: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(lengths > 0, lengths, 1)


def thumbnail(pixels: UInt8[np.ndarray, "h w 3"], aspect: float, side: int) -> Image.Image:
    """Restore the aspect ratio (width / height) of an image on a square canvas, within `side` pixels.

    Small images are enlarged without smoothing.
    """
    if aspect != 1:
        longest = max(pixels.shape[:2])
        size = (longest, max(1, round(longest / aspect))) if aspect > 1 else (max(1, round(longest * aspect)), longest)
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    return Image.fromarray(fit(pixels, side))


def picture(
    query: tuple[UInt8[np.ndarray, "h w 3"], float],
    found: list[tuple[tuple[UInt8[np.ndarray, "_ _ 3"], float] | None, float]],
) -> Image.Image:
    """Draw the query on the left, and its neighbours on the right, row by row, with their cosines below them.

    Args:
      query: pixels and aspect ratio of the query, as for `thumbnail`.
      found: for each neighbour, nearest first: pixels and aspect ratio (None if its file can no longer be read), and cosine.
    """
    rows = -(-len(found) // _COLUMNS)
    columns = min(_COLUMNS, len(found))
    cell = _SIDE + _TEXT + _GAP
    left = _QUERY + 3 * _GAP
    height = max(rows * cell, _QUERY + _GAP) + _GAP
    sheet = Image.new("RGB", (left + columns * (_SIDE + _GAP) + _GAP, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    _paste(sheet, thumbnail(*query, _QUERY), (_GAP, (height - _QUERY) // 2), _QUERY)
    draw.line([(left - _GAP // 2, _GAP), (left - _GAP // 2, height - _GAP)], fill=_RULE)
    for place, (shown, cosine) in enumerate(found):
        x = left + _GAP // 2 + place % _COLUMNS * (_SIDE + _GAP)
        y = _GAP + place // _COLUMNS * cell
        if shown is None:
            draw.rectangle([x, y, x + _SIDE - 1, y + _SIDE - 1], outline=_RULE)
        else:
            _paste(sheet, thumbnail(*shown, _SIDE), (x, y), _SIDE)
        draw.text((x + _SIDE / 2, y + _SIDE + 4), f"{cosine:.3f}", fill=_INK, font=font, anchor="ma")
    return sheet


def _paste(sheet: Image.Image, image: Image.Image, corner: tuple[int, int], side: int) -> None:
    """Paste `image` into the middle of a square."""
    sheet.paste(image, (corner[0] + (side - image.width) // 2, corner[1] + (side - image.height) // 2))


def picture_path(out: pathlib.Path) -> pathlib.Path:
    """The path of the picture beside the feature file: FILE.search.png."""
    return out.with_suffix(".search.png")
