"""Cutout, quarter turns, noise and Sobel's filter: in no method's recipe, but among the ops that SimCLR compares (figure 4).

Images are float32 [h, w, c] in [0, 1], and so is every result: half precision becomes float32, other types, other shapes
and, where they are concrete, values outside [0, 1] raise TypeError or ValueError. Sizes are pixels. dm_pix has none of
these but the quarter turn, by a number that may not be traced.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt

from sslax.augment.ops import Scalar, draw_uniforms
from sslax.checks import as_images, check_at_least, check_count, check_probability


def cutout(
    key: Key[Array, ""], image: Float[Array, "h w c"], *, size: int | None = None, fill: float = 0.5
) -> Float[Array, "h w c"]:
    """A gray square of `size` pixels (None: half the shorter side) in place of what is there (DeVries & Taylor 2017).

    Its centre is any pixel, each as likely, so that part of the square may lie outside. Theirs is zero after
    normalisation, which is gray before it. Raises ValueError for a size below 1 or a fill outside [0, 1].
    """
    image = as_images("image", image, unit=True)
    if size is not None:
        check_count("size", size, what=" pixel")
    check_probability("fill", fill)
    height, width, _ = image.shape
    return cut(image, sample_centre(key, height, width), size=size, fill=fill)


def sample_centre(key: Key[Array, ""], height: int, width: int) -> Float[Array, "2"]:
    """A pixel of the image, each as likely: its row and its column."""
    return jnp.floor(draw_uniforms(key, 2) * jnp.array([height, width], jnp.float32))


def cut(
    image: Float[Array, "h w c"], centre: Float[Array, "2"], *, size: int | None = None, fill: float = 0.5
) -> Float[Array, "h w c"]:
    """The square that was drawn, filled."""
    height, width, _ = image.shape
    side = max(1, min(height, width) // 2) if size is None else size

    def inside(pixels: int, middle: Array) -> Array:
        distance = jnp.arange(pixels) - middle + side // 2
        return (distance >= 0) & (distance < side)

    square = inside(height, centre[0])[:, None, None] & inside(width, centre[1])[None, :, None]
    return jnp.where(square, fill, image)


def sobel(image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Each channel's gradient magnitude by Sobel's two filters, where 1 is a straight edge between 0 and 1.

    Corners would come to 1.12 at most, and are clipped. Beyond the border the image goes on as it ends.
    """
    image = as_images("image", image, unit=True)
    height, width, channels = image.shape
    # Rows of interleaved channels, as in `gaussian_blur`: XLA:CPU hardly vectorises over a last axis of three.
    padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge").reshape(height + 2, -1)
    rows = padded[:, : -2 * channels] + 2 * padded[:, channels:-channels] + padded[:, 2 * channels :]
    columns = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    down, right = rows[2:] - rows[:-2], columns[:, 2 * channels :] - columns[:, : -2 * channels]
    return jnp.minimum(jnp.sqrt(down * down + right * right) / 4, 1.0).reshape(height, width, channels)


def gaussian_noise(key: Key[Array, ""], image: Float[Array, "h w c"], *, sigma: Scalar) -> Float[Array, "h w c"]:
    """Independent normal noise on every value, `sigma` its standard deviation (may be traced), clipped to [0, 1].

    Raises ValueError for a negative sigma.
    """
    image = as_images("image", image, unit=True)
    check_at_least("sigma", sigma)
    return add_noise(image, sample_noise(key, image.shape), sigma)


def sample_noise(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Standard normal noise: quantiles of 65,536 shares, finer than pixels are, which reach 4.3.

    A random word gives two of them, where jax.random.normal takes one for each; a view with noise is made in half
    the time or less on CPU.
    """
    count = math.prod(shape)
    words = jax.random.bits(key, ((count + 1) // 2,), jnp.uint32)
    halves = (_quantile(half) for half in (words >> 16, words & 0xFFFF))
    return jnp.concatenate(list(halves))[:count].reshape(shape)


def _quantile(half: UInt[Array, "n"]) -> Float[Array, "n"]:
    return math.sqrt(2) * jax.lax.erf_inv((half.astype(jnp.float32) + 0.5) / 2**15 - 1)


def add_noise(image: Float[Array, "h w c"], noise: Float[Array, "h w c"], sigma: Scalar) -> Float[Array, "h w c"]:
    """The noise that was drawn, added."""
    return jnp.clip(image + sigma * noise, 0.0, 1.0)


def random_rotate(key: Key[Array, ""], image: Float[Array, "n n c"]) -> Float[Array, "n n c"]:
    """Turned counter-clockwise by 0, 90, 180 or 270 degrees, each as likely (Gidaris 2018).

    Raises ValueError for an image that is not square.
    """
    image = as_images("image", image, unit=True)
    if image.shape[0] != image.shape[1]:
        raise ValueError(f"image has shape {image.shape}; it must be square, to keep its shape when it is turned.")
    return turn(image, sample_turns(key))


def sample_turns(key: Key[Array, ""]) -> Int[Array, ""]:
    """How many quarter turns: 0 to 3, each as likely."""
    return jax.random.randint(key, (), 0, 4)


def turn(image: Float[Array, "n n c"], turns: Int[Array, ""]) -> Float[Array, "n n c"]:
    """So many quarter turns, as one gather: under vmap all four would be computed otherwise, and again for every use."""
    side, _, channels = image.shape
    pixels = np.arange(side * side).reshape(side, side)
    places = jnp.asarray(np.stack([np.rot90(pixels, times).reshape(-1) for times in range(4)]))
    return image.reshape(-1, channels)[places[turns]].reshape(image.shape)
