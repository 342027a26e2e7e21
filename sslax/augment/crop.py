"""Crops: draw a box of the image, cut it out and resize it; each a pure function of one image.

Images are float32 [h, w, c] in [0, 1]: half precision becomes float32, other types and shapes raise TypeError or
ValueError. A box is (y, x, height, width) in pixels of the image at hand, a canvas: the whole true image, perhaps squashed.
Aspects are width / height and areas shares of the whole, both of the true image.
"""

import math
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, Num

from sslax.augment.ops import Scalar, draw_uniforms
from sslax.checks import (
    as_array,
    as_images,
    check_choice,
    check_count,
    check_positive,
    check_probability,
    check_range,
    is_concrete,
)

Sampling = Literal["torchvision", "tensorflow"]
Interpolation = Literal["bicubic", "bilinear"]
_FULL = jax.lax.Precision.HIGHEST  # Accelerators would round pixels to 8 or 11 bits.


def sample_crop(
    key: Key[Array, ""],
    height: int,
    width: int,
    *,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
    image_aspect: Scalar | None = None,
    sampling: Sampling = "torchvision",
    min_covered: float = 0.0,
    tries: int = 10,
) -> Float[Array, "4"]:
    """Draw the box of a random resized crop, in whole pixels of a canvas of `height` x `width`.

    `image_aspect` is the true image's width / height; None: the canvas's own, as it is not squashed. The first of `tries`
    draws that fits is taken:

    - "torchvision": area uniform, aspect log-uniform; if none fits, the largest central box of an allowed aspect.
    - "tensorflow" (`tf.image.sample_distorted_bounding_box`, which SimCLR and BYOL call): aspect uniform, then the
      height uniform among those that the areas and the canvas allow, so small areas are rarer and boxes larger than the
      canvas never drawn; if none fits, the whole image. Its `min_object_covered` is `min_covered`: both released codes
      leave it at 0.1, which rejects areas below 0.1 whatever `area` says; 0, as here, is what the papers say.
      Deviation: TensorFlow never places a box at the very last row or column; here every position is as likely.

    Raises ValueError for an empty canvas, ranges that are not increasing and positive, areas above 1, no tries, an
    image_aspect that is not positive.
    """
    check_count("height", height, what=" pixel")
    check_count("width", width, what=" pixel")
    height, width = int(height), int(width)
    check_range("area", area, most=1.0)
    check_range("aspect", aspect)
    check_count("tries", tries)
    check_probability("min_covered", min_covered)
    check_choice("sampling", sampling, get_args(Sampling))
    if image_aspect is not None:
        check_positive("image_aspect", image_aspect)

    # A crop's aspect in canvas pixels is its true aspect times this; shares of the area are the same in both.
    stretch = jnp.float32(1.0) if image_aspect is None else width / height / jnp.asarray(image_aspect, jnp.float32)
    # As floats, since the pixels of a large canvas are more than JAX's integers hold.
    area = (float(area[0]), float(area[1]))
    uniforms = draw_uniforms(key, 2 * tries + 2)
    first, second, place = uniforms[:tries], uniforms[tries:-2], uniforms[-2:]
    propose = _propose_torchvision if sampling == "torchvision" else _propose_tensorflow
    heights, widths, fits = propose(first, second, height, width, area, aspect, stretch)
    fits &= heights * widths >= min_covered * height * width
    chosen = jnp.argmax(fits)
    if sampling == "torchvision":
        # The whole image, cut to the nearest allowed aspect.
        low, high = aspect[0] * stretch, aspect[1] * stretch
        # At least a pixel: of a panorama squashed to a small canvas the rounded box would have none.
        last_height = jnp.clip(jnp.round(width / low), 1, height)
        last_width = jnp.clip(jnp.round(height * high), 1, width)
    else:
        last_height, last_width = jnp.float32(height), jnp.float32(width)
    some = fits.any()
    box_height = jnp.where(some, heights[chosen], last_height)
    box_width = jnp.where(some, widths[chosen], last_width)

    room = jnp.stack([height - box_height, width - box_width])
    corner = jnp.minimum(jnp.floor(place * (room + 1)), room)
    corner = jnp.where(some, corner, jnp.floor(room / 2))
    return jnp.concatenate([corner, jnp.stack([box_height, box_width])])


def _propose_torchvision(first, second, height, width, area, aspect, stretch):
    areas = (area[0] + first * (area[1] - area[0])) * float(height * width)
    low, high = math.log(aspect[0]), math.log(aspect[1])
    aspects = jnp.exp(low + second * (high - low)) * stretch
    widths, heights = jnp.round(jnp.sqrt(areas * aspects)), jnp.round(jnp.sqrt(areas / aspects))
    return heights, widths, (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)


def _propose_tensorflow(first, second, height, width, area, aspect, stretch):
    least, most = area[0] * height * width, area[1] * height * width
    aspects = (aspect[0] + first * (aspect[1] - aspect[0])) * stretch
    tallest = jnp.round(jnp.sqrt(most / aspects))
    # The tallest box whose rounded width still fits.
    tallest = jnp.where(jnp.round(tallest * aspects) > width, jnp.floor((width + 0.5 - 1e-7) / aspects), tallest)
    tallest = jnp.minimum(tallest, height)
    shortest = jnp.minimum(jnp.round(jnp.sqrt(least / aspects)), tallest)
    choices = tallest - shortest + 1
    heights = shortest + jnp.minimum(jnp.floor(second * choices), choices - 1)
    # Rounding must not make a draw fail: one pixel more where the area is short, then one less where it is too large.
    heights = heights + (heights * jnp.round(heights * aspects) < least)
    heights = heights - (heights * jnp.round(heights * aspects) > most)
    widths = jnp.round(heights * aspects)
    areas = heights * widths
    inside = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    return heights, widths, inside & (areas >= least) & (areas <= most)


def crop_and_resize(
    image: Float[Array, "h w c"],
    box: Num[Array, "4"],
    size: int,
    *,
    method: Interpolation = "bicubic",
) -> Float[Array, "{size} {size} c"]:
    """Cut out `box`, then resize it to `size` x `size`: antialiased, half-pixel centres, cubic with a = -0.5 (Keys).

    As PIL and torch resize an image that was cut first: no pixel outside the box is read (`jax.image.scale_and_translate`
    reads them). The box may be traced, and has to lie in the image and hold a pixel's centre in either direction.
    Bicubic results overshoot [0, 1] and are not clipped here. Deviation: SimCLR's code shrinks without antialiasing.
    Raises ValueError for a size below 1, an unknown method or a box, where it is concrete, that is not as said.
    """
    image = as_images("image", image)
    box = _checked_box(box, *image.shape[:2])
    return jnp.moveaxis(crop_planes(image, box, size, method=method), 0, -1)


def _checked_box(box: Num[Array, "4"], height: int, width: int) -> Num[Array, "4"]:
    box = as_array("box", box)
    if not (jnp.issubdtype(box.dtype, jnp.floating) or jnp.issubdtype(box.dtype, jnp.integer)):
        raise TypeError(f"box has dtype {box.dtype}; it must be an array of real numbers.")
    if box.shape != (4,):
        raise ValueError(f"box has shape {box.shape}; it must be the four numbers y, x, height, width.")
    if is_concrete(box):
        start, length = np.asarray(box, np.float64).reshape(2, 2)
        # The first centre of a pixel beyond the box's edge; not a number fails every comparison.
        centre = np.floor(start + 0.5) + 0.5
        if not ((start >= 0) & (centre < start + length) & (start + length <= (height, width))).all():
            raise ValueError(
                f"box is {np.asarray(box).tolist()}; it must lie in the image of {height} x {width} pixels and hold the "
                "centre of one."
            )
    return box


def crop_planes(
    image: Float[Array, "h w c"],
    box: Num[Array, "4"],
    size: int,
    *,
    method: Interpolation = "bicubic",
    flip: Bool[Array, ""] | None = None,
) -> Float[Array, "c {size} {size}"]:
    """`crop_and_resize` with the channels first and, where `flip` is true, left and right exchanged at no cost."""
    check_count("size", size, what=" pixel")
    check_choice("method", method, get_args(Interpolation))
    height, width, channels = image.shape
    y, x, box_height, box_width = box.astype(jnp.float32)
    planes = jnp.moveaxis(image, -1, 0)

    # Rows. Each reads `taps` rows of the image, four where nothing is shrunk, so few that they are gathered.
    radius = 2 if method == "bicubic" else 1
    taps = math.ceil(2 * radius * max(1.0, height / size))
    scale = box_height / size
    first = jnp.floor(y + (jnp.arange(size) + 0.5) * scale - radius * jnp.maximum(scale, 1.0) + 0.5)
    if taps <= 16:
        rows = first[:, None] + jnp.arange(taps)[None, :]
        weights = _resize_weights(y, box_height, size, rows, method)
        index = jnp.clip(rows.astype(int), 0, height - 1)
        parts = [weights[None, :, tap, None] * planes[:, index[:, tap]] for tap in range(taps)]
        planes = sum(parts[1:], start=parts[0])
    else:
        weights = _resize_weights(y, box_height, size, jnp.arange(height)[None, :], method)
        planes = jnp.einsum("oh,chw->cow", weights, planes, precision=_FULL)

    # Columns. XLA gathers along the last axis pixel by pixel, and multiplies matrices faster than that.
    weights = _resize_weights(x, box_width, size, jnp.arange(width)[None, :], method)
    if flip is not None:
        weights = jnp.where(flip, weights[::-1], weights)
    columns = planes.reshape(channels * size, width)
    return jnp.dot(columns, weights.T, precision=_FULL).reshape(channels, size, size)


def _resize_weights(
    start: Array, length: Array, size: int, pixels: Num[Array, "r k"], method: Interpolation
) -> Float[Array, "{size} k"]:
    """How much each of `pixels` (one row of indices, or one for each row of the result) counts; rows sum to one."""
    # A row's centre is centres / size, from the box's edge. Whole pixels are taken off before the division, whose
    # rounding would otherwise be felt at the far end of a large canvas, as the weights are steep.
    centres = (jnp.arange(size)[:, None] + 0.5) * length
    whole = jnp.floor(centres / size)
    middles = pixels - start + 0.5
    distance = jnp.abs((middles - whole) - (centres - whole * size) / size) / jnp.maximum(length / size, 1.0)
    if method == "bicubic":
        near = (1.5 * distance - 2.5) * distance * distance + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        weights = jnp.where(distance < 1, near, jnp.where(distance < 2, far, 0.0))
    else:
        weights = jnp.maximum(1 - distance, 0.0)
    weights = jnp.where((middles > 0) & (middles < length), weights, 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


def random_resized_crop(
    key: Key[Array, ""],
    image: Float[Array, "h w c"],
    size: int,
    *,
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
    image_aspect: Scalar | None = None,
    sampling: Sampling = "torchvision",
    min_covered: float = 0.0,
    method: Interpolation = "bicubic",
) -> Float[Array, "{size} {size} c"]:
    """A random box of the image (see `sample_crop`), resized to `size` x `size` and clipped to [0, 1].

    Ours, as dm_pix has no crop of random size. Raises ValueError as `sample_crop` and `crop_and_resize` do.
    """
    image = as_images("image", image)
    height, width, _ = image.shape
    box = sample_crop(
        key,
        height,
        width,
        area=area,
        aspect=aspect,
        image_aspect=image_aspect,
        sampling=sampling,
        min_covered=min_covered,
    )
    return jnp.clip(crop_and_resize(image, box, size, method=method), 0.0, 1.0)
