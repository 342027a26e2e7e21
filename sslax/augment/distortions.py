"""Cutout, quarter turns, noise and Sobel filter: ops that SimCLR compares (figure 4); no method's default recipe uses them.

Images are float32 [h, w, c] in [0, 1], and so are the results: half precision becomes float32; other types, other shapes
and concrete values outside [0, 1] raise TypeError or ValueError. Sizes are in pixels. Of these ops, dm_pix has only the
quarter turn, with a number of turns that cannot be traced.
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
    """Replace a square of `size` pixels (None: half the shorter side) by gray (DeVries & Taylor 2017).

    Its centre is a uniformly drawn pixel, so part of the square may lie outside of the image. The paper's square is zero after
    normalisation, which is gray before it. Raises ValueError for a size below 1 or a fill outside [0, 1].
    """
    image = as_images("image", image, unit=True)
    if size is not None:
        check_count("size", size, what=" pixel")
    check_probability("fill", fill)
    height, width, _ = image.shape
    return cut(image, sample_centre(key, height, width), size=size, fill=fill)


def sample_centre(key: Key[Array, ""], height: int, width: int) -> Float[Array, "2"]:
    """The row and column of a uniformly drawn pixel of the image."""
    return jnp.floor(draw_uniforms(key, 2) * jnp.array([height, width], jnp.float32))


def cut(
    image: Float[Array, "h w c"], centre: Float[Array, "2"], *, size: int | None = None, fill: float = 0.5
) -> Float[Array, "h w c"]:
    """Fill the sampled square."""
    height, width, _ = image.shape
    side = max(1, min(height, width) // 2) if size is None else size

    def inside(pixels: int, middle: Array) -> Array:
        distance = jnp.arange(pixels) - middle + side // 2
        return (distance >= 0) & (distance < side)

    square = inside(height, centre[0])[:, None, None] & inside(width, centre[1])[None, :, None]
    return jnp.where(square, fill, image)


def sobel(image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """The gradient magnitude of each channel from Sobel's two filters, scaled so that a straight edge from 0 to 1 gives 1.

    Corners, which would reach at most 1.12, are clipped. The border is padded with the edge pixels.
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
    """Add independent normal noise with standard deviation `sigma` (may be traced) to every value, clipped to [0, 1].

    Raises ValueError for a negative sigma.
    """
    image = as_images("image", image, unit=True)
    check_at_least("sigma", sigma)
    return add_noise(image, sample_noise(key, image.shape), sigma)


def sample_noise(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Standard normal noise, from 65,536 quantiles up to ±4.3, which is finer than pixel levels.

    One random word gives two values, while jax.random.normal uses one word per value; on CPU a view with noise takes half
    the time or less.
    """
    count = math.prod(shape)
    words = jax.random.bits(key, ((count + 1) // 2,), jnp.uint32)
    halves = (_quantile(half) for half in (words >> 16, words & 0xFFFF))
    return jnp.concatenate(list(halves))[:count].reshape(shape)


def _quantile(half: UInt[Array, "n"]) -> Float[Array, "n"]:
    return math.sqrt(2) * jax.lax.erf_inv((half.astype(jnp.float32) + 0.5) / 2**15 - 1)


def add_noise(image: Float[Array, "h w c"], noise: Float[Array, "h w c"], sigma: Scalar) -> Float[Array, "h w c"]:
    """Add the sampled noise, clipped to [0, 1]."""
    return jnp.clip(image + sigma * noise, 0.0, 1.0)


def random_rotate(key: Key[Array, ""], image: Float[Array, "n n c"]) -> Float[Array, "n n c"]:
    """Rotate counter-clockwise by 0, 90, 180 or 270 degrees, with equal probability (Gidaris 2018).

    Raises ValueError for an image that is not square.
    """
    image = as_images("image", image, unit=True)
    if image.shape[0] != image.shape[1]:
        raise ValueError(f"image has shape {image.shape}; it must be square, so that rotation keeps its shape.")
    return turn(image, sample_turns(key))


def sample_turns(key: Key[Array, ""]) -> Int[Array, ""]:
    """A number of quarter turns, 0 to 3, with equal probability."""
    return jax.random.randint(key, (), 0, 4)


def turn(image: Float[Array, "n n c"], turns: Int[Array, ""]) -> Float[Array, "n n c"]:
    """Rotate by `turns` quarter turns, as one gather; under vmap a branch would compute all four rotations for every use."""
    side, _, channels = image.shape
    pixels = np.arange(side * side).reshape(side, side)
    places = jnp.asarray(np.stack([np.rot90(pixels, times).reshape(-1) for times in range(4)]))
    return image.reshape(-1, channels)[places[turns]].reshape(image.shape)
