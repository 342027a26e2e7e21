"""Crops: sample a box of the image, cut it out and resize it; each op is a pure function of one image.

Images are float32 [h, w, c] in [0, 1]: half precision becomes float32, other types and shapes raise TypeError or
ValueError. A box is (y, x, height, width) in pixels of the given canvas, which shows the whole original image, possibly
squashed. Aspects are width / height and areas are shares of the whole area, both of the original image.
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
_FULL = jax.lax.Precision.HIGHEST  # By default accelerators would round pixels to 8 or 11 bits.


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
    """Sample the box of a random resized crop, in integer pixels of a canvas of `height` x `width`.

    `image_aspect` is the original image's width / height; None for a canvas that is not squashed. The box is the first of
    `tries` draws that fits:

    - "torchvision": area uniform, aspect log-uniform; if no draw fits, the largest central box with an allowed aspect.
    - "tensorflow" (`tf.image.sample_distorted_bounding_box`, used by SimCLR and BYOL): aspect uniform, then the height
      uniform among those that the areas and the canvas allow. So small areas are rarer, and boxes larger than the canvas are
      never drawn; if no draw fits, the whole image. `min_covered` is its `min_object_covered`: both released codes leave it
      at 0.1, which rejects areas below 0.1 regardless of `area`; the default here, 0, follows the papers.
      Deviation: TensorFlow never places a box at the very last row or column; here every position is equally likely.

    Raises ValueError for an empty canvas, ranges that are not increasing and positive, areas above 1, fewer than one try, or
    an image_aspect that is not positive.
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

    # A crop's aspect in canvas pixels is its original aspect times this; shares of the area are the same in both.
    stretch = jnp.float32(1.0) if image_aspect is None else width / height / jnp.asarray(image_aspect, jnp.float32)
    # As floats, because the number of pixels of a large canvas can overflow JAX's int32.
    area = (float(area[0]), float(area[1]))
    uniforms = draw_uniforms(key, 2 * tries + 2)
    first, second, place = uniforms[:tries], uniforms[tries:-2], uniforms[-2:]
    propose = _propose_torchvision if sampling == "torchvision" else _propose_tensorflow
    heights, widths, fits = propose(first, second, height, width, area, aspect, stretch)
    fits &= heights * widths >= min_covered * height * width
    chosen = jnp.argmax(fits)
    if sampling == "torchvision":
        # The whole image, cropped to the nearest allowed aspect.
        low, high = aspect[0] * stretch, aspect[1] * stretch
        # At least one pixel: for a panorama squashed to a small canvas, the rounded box would be empty.
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
    # The tallest box with a rounded width that still fits.
    tallest = jnp.where(jnp.round(tallest * aspects) > width, jnp.floor((width + 0.5 - 1e-7) / aspects), tallest)
    tallest = jnp.minimum(tallest, height)
    shortest = jnp.minimum(jnp.round(jnp.sqrt(least / aspects)), tallest)
    choices = tallest - shortest + 1
    heights = shortest + jnp.minimum(jnp.floor(second * choices), choices - 1)
    # Rounding must not make a draw fail: add a pixel if the area is too small, then remove one if it is too large.
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

    Like PIL and torch on an image that was cropped first, it reads no pixel outside the box
    (`jax.image.scale_and_translate` does). The box may be traced. It must lie in the image and contain the centre of a pixel
    in each direction. Bicubic results overshoot [0, 1] and are not clipped here. Deviation: SimCLR's code downsamples without
    antialiasing. Raises ValueError for a size below 1, an unknown method, or a concrete box that violates these conditions.
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
        # The first pixel centre after the box's edge. NaN fails every comparison.
        centre = np.floor(start + 0.5) + 0.5
        if not ((start >= 0) & (centre < start + length) & (start + length <= (height, width))).all():
            raise ValueError(
                f"box is {np.asarray(box).tolist()}; it must lie in the image of {height} x {width} pixels and contain the "
                "centre of a pixel."
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
    """`crop_and_resize` with the channels first; a true `flip` mirrors left and right at no extra cost."""
    check_count("size", size, what=" pixel")
    check_choice("method", method, get_args(Interpolation))
    height, width, channels = image.shape
    y, x, box_height, box_width = box.astype(jnp.float32)
    planes = jnp.moveaxis(image, -1, 0)

    # Rows. Each output row reads `taps` image rows, four for bicubic without downsampling; so few are gathered.
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

    # Columns. XLA gathers along the last axis pixel by pixel; a matrix product is faster.
    weights = _resize_weights(x, box_width, size, jnp.arange(width)[None, :], method)
    if flip is not None:
        weights = jnp.where(flip, weights[::-1], weights)
    columns = planes.reshape(channels * size, width)
    return jnp.dot(columns, weights.T, precision=_FULL).reshape(channels, size, size)


def _resize_weights(
    start: Array, length: Array, size: int, pixels: Num[Array, "r k"], method: Interpolation
) -> Float[Array, "{size} k"]:
    """The weights of `pixels` (one row of indices, or one row per output row); each row of weights sums to one."""
    # An output row's centre is centres / size from the box's edge. Whole pixels are subtracted before the division; otherwise
    # its rounding error would change the steep weights at the far end of a large canvas.
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

    dm_pix has no crop of random size. Raises ValueError as `sample_crop` and `crop_and_resize` do.
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
