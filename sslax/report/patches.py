"""Patch features drawn as colours: three principal components as red, green and blue.

Source: Oquab et al. 2023, "DINOv2", arXiv:2304.07193, figure 1. Sizes are in pixels.
"""

from typing import Literal

import jax
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from sslax.evaluation import principal_components

Foreground = Literal["off", "inner", "outer"]
_SMALLEST = 64  # pictures are at least this large, so that patches are visible
_PERCENTILES = (1.0, 99.0)
_CHANNELS = 3
# Sheets of pictures: the smallest side of one picture, the gap between pictures, and pairs of pictures per row.
_SIDE, _GAP, _PAIRS = 256, 12, 3

# As one program: op by op, each has its own.
_components = jax.jit(principal_components, static_argnames="count")


def patch_colours(
    patches: Float[np.ndarray, "n rows columns d"], *, foreground: Foreground = "off"
) -> Float[np.ndarray, "n rows columns 3"]:
    """The first three principal components of patch features, as RGB in [0, 1].

    The components are those of all patches of all images together, so one colour has the same meaning in every image. The 1st
    and the 99th percentile of each component become 0 and 1; a component without spread becomes 0.5.

    Args:
      patches: patch features of n images on one grid.
      foreground: "off" colours all patches. The other values split the patches at 0 of the first component, paint one part
        black, and colour the other by its own principal components, as the paper does: "inner" keeps the part that has at
        most half of the patches at the images' edges, which often is the object; "outer" keeps the other part. Known
        deviation: the paper's authors choose the part by hand.

    Raises:
      ValueError: if there are fewer than two patches, a value is not finite, or `foreground` has another value.
    """
    if foreground not in ("off", "inner", "outer"):
        raise ValueError(f'foreground is {foreground!r}; it must be "off", "inner" or "outer".')
    n, rows, columns, d = patches.shape
    x = np.asarray(patches, np.float32).reshape(-1, d)
    if len(x) < 2:
        raise ValueError(f"patches has {len(x)} patches; principal components need at least 2.")
    if not np.isfinite(x).all():
        raise ValueError("patches has values that are not finite; all must be finite.")
    shown = np.ones(len(x), bool)
    if foreground != "off":
        shown = _part(_coordinates(x, 1)[:, 0].reshape(n, rows, columns) > 0, foreground).ravel()
    colours = np.zeros((len(x), _CHANNELS), np.float32)
    colours[shown] = _scaled(_coordinates(x[shown], _CHANNELS))
    return colours.reshape(n, rows, columns, _CHANNELS)


def patch_pictures(
    images: UInt8[np.ndarray, "n h w 3"],
    patches: Float[np.ndarray, "n rows columns d"],
    *,
    foreground: Foreground = "off",
) -> UInt8[np.ndarray, "n 2 h2 w2 3"]:
    """Each image, and beside it the colours of its patches as squares of equal size.

    Args:
      images: the images that the network saw; each patch covers an equal share of them.
      patches: their patch features.
      foreground: as in `patch_colours`.

    Returns:
      [n, 2, h, w, 3]. If the longer side is below 64 pixels, both are enlarged without smoothing, by the smallest integer
      factor that makes it at least 64.

    Raises:
      ValueError: if the numbers of images differ, and as `patch_colours`.
    """
    if len(images) != len(patches):
        raise ValueError(
            f"patches has features of {len(patches)} images, but images has {len(images)}; the numbers must be the same."
        )
    factor = max(1, -(-_SMALLEST // max(images.shape[1:3])))
    images = images.repeat(factor, axis=1).repeat(factor, axis=2)
    colours = (patch_colours(patches, foreground=foreground) * 255 + 0.5).astype(np.uint8)
    squares = [_enlarged(one, (images.shape[2], images.shape[1])) for one in colours]
    return np.stack([images, np.stack(squares)], axis=1)


def sheet(pictures: UInt8[np.ndarray, "n 2 h w 3"]) -> Image.Image:
    """The pairs of `patch_pictures` on one white sheet, image and colours side by side, up to three pairs in a row."""
    n, _, height, width, _ = pictures.shape
    columns = min(_PAIRS, n)
    pair, cell = 2 * width + 3 * _GAP, height + _GAP
    page = Image.new("RGB", (columns * pair + _GAP, -(-n // columns) * cell + _GAP), "#ffffff")
    for place, (image, colours) in enumerate(pictures):
        left, top = _GAP + place % columns * pair, _GAP + place // columns * cell
        page.paste(Image.fromarray(image), (left, top))
        page.paste(Image.fromarray(colours), (left + width + _GAP, top))
    return page


def sheet_side(grid: int) -> int:
    """The side of a picture on a sheet: at least 256 pixels, and a whole number of pixels for each of `grid` patches."""
    return grid * -(-_SIDE // grid)


def _enlarged(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.NEAREST))


def _coordinates(x: np.ndarray, count: int) -> np.ndarray:
    """Coordinates [m, k] of x [m, d] on its first principal components, at most `count` of them."""
    if len(x) < 2:
        return np.zeros((len(x), 0), np.float32)
    # Scaled, so that the products with the components cannot overflow.
    x = x / (np.abs(x).max() or 1)
    found = _components(x, count=min(count, *x.shape))
    return (x - np.asarray(found.mean)) @ np.asarray(found.components).T


def _scaled(coordinates: np.ndarray) -> np.ndarray:
    """Coordinates as channels in [0, 1] by their percentiles. Channels without spread or without a component are 0.5."""
    channels = np.full((len(coordinates), _CHANNELS), 0.5, np.float32)
    if coordinates.shape[1]:
        low, high = np.percentile(coordinates, _PERCENTILES, axis=0)
        spread = high > low
        share = (coordinates - low) / np.where(spread, high - low, 1)
        channels[:, : coordinates.shape[1]] = np.where(spread, np.clip(share, 0, 1), 0.5)
    return channels


def _part(above: Bool[np.ndarray, "n rows columns"], foreground: Foreground) -> Bool[np.ndarray, "n rows columns"]:
    """The part of the patches, `above` or the rest, that has at most half of the patches at the edges, or the other part."""
    edge = np.ones(above.shape[1:], bool)
    edge[1:-1, 1:-1] = False
    inner = above if above[:, edge].mean() <= 0.5 else ~above
    return inner if foreground == "inner" else ~inner
