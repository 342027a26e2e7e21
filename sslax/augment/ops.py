"""Flip, blur, solarisation and normalisation, each a pure function of one image. See `crop.py` and `color.py` for the others.

Images are float32 [h, w, c] in [0, 1]: half precision becomes float32, other types and shapes raise TypeError or
ValueError. Sigmas and sizes are in pixels, probabilities in [0, 1].
"""

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import dm_pix
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from sslax.checks import (
    as_images,
    check_at_least,
    check_choice,
    check_count,
    check_finite,
    check_positive,
    check_probability,
    check_range,
)

Padding = Literal["reflect", "zeros"]
Scalar: TypeAlias = float | Float[Array, ""]


def random_flip(
    key: Key[Array, ""], image: Float[Array, "h w c"], *, probability: float = 0.5
) -> Float[Array, "h w c"]:
    """Flip left and right with a probability. Raises ValueError for a probability outside [0, 1]."""
    return random_apply(key, dm_pix.flip_left_right, image, probability=probability)


def gaussian_blur(
    image: Float[Array, "h w c"], sigma: Scalar, *, radius: int, padding: Padding = "reflect"
) -> Float[Array, "h w c"]:
    """Gaussian blur, truncated at `radius` pixels (static; `sigma` may be traced, and 0 is no blur); the taps sum to one.

    The border is padded by reflection (d c b a | a b c d). Deviation: SimCLR's and BYOL's code pads with zeros, which darkens
    the edges; `padding="zeros"` does the same. The blur is a sum of shifted images, because dm_pix's depthwise convolution
    takes over ten times as long under vmap on CPU. Raises ValueError for a negative radius or sigma or unknown padding.
    """
    image = as_images("image", image)
    check_choice("padding", padding, get_args(Padding))
    check_count("radius", radius, least=0, what=" pixels")
    check_at_least("sigma", sigma)
    height, width, channels = image.shape
    offsets = jnp.arange(radius + 1) / jnp.maximum(jnp.asarray(sigma, jnp.float32), 1e-4)
    taps = jnp.exp(-0.5 * offsets**2)
    taps = taps / (2 * taps.sum() - taps[0])
    margins = ((radius, radius), (radius, radius), (0, 0))
    padded = jnp.pad(image, margins, mode="symmetric" if padding == "reflect" else "constant")
    rows = _convolve(padded.reshape(height + 2 * radius, -1), taps, 0, 1)
    return _convolve(rows, taps, 1, channels).reshape(height, width, channels)


def _convolve(lines: Float[Array, "a b"], taps: Float[Array, " t"], axis: int, step: int) -> Float[Array, "c d"]:
    """The sum of `lines`, shifted by multiples of `step` and weighted with symmetric taps, where all shifts are defined."""
    reach = (len(taps) - 1) * step
    length = lines.shape[axis] - 2 * reach

    def shifted(offset: int) -> Array:
        return jax.lax.slice_in_dim(lines, reach + offset, reach + offset + length, axis=axis)

    total = taps[0] * shifted(0)
    for tap in range(1, len(taps)):
        total = total + taps[tap] * (shifted(tap * step) + shifted(-tap * step))
    return total


def random_blur(
    key: Key[Array, ""],
    image: Float[Array, "h w c"],
    *,
    probability: float,
    sigma: tuple[float, float] = (0.1, 2.0),
    kernel_size: int,
    padding: Padding = "reflect",
) -> Float[Array, "h w c"]:
    """`gaussian_blur` with a probability and a uniform sigma. An even `kernel_size` is increased by one (SimCLR: size // 10).

    Raises ValueError as `gaussian_blur` does, for a kernel below 1, sigmas that are not increasing and positive, or a
    probability outside [0, 1].
    """
    check_count("kernel_size", kernel_size, what=" pixel")
    drawn = sample_blur(key, probability=probability, sigma=sigma)
    return gaussian_blur(image, drawn, radius=kernel_size // 2, padding=padding)


def sample_blur(
    key: Key[Array, ""], *, probability: Scalar, sigma: tuple[float, float] = (0.1, 2.0)
) -> Float[Array, ""]:
    """Sample a blur's sigma uniformly; with probability 1 - `probability` it is 0, no blur. ValueError as `random_blur`."""
    check_probability("probability", probability)
    check_range("sigma", sigma)
    applied, drawn = draw_uniforms(key, 2)
    return jnp.where(applied < probability, sigma[0] + drawn * (sigma[1] - sigma[0]), 0.0)


def random_apply(
    key: Key[Array, ""],
    op: Callable[[Float[Array, "h w c"]], Float[Array, "h w c"]],
    image: Float[Array, "h w c"],
    *,
    probability: float,
) -> Float[Array, "h w c"]:
    """`op(image)` with a probability, else the image. Under vmap both are computed for every image, and one is selected.

    Raises ValueError for a probability outside [0, 1] or an op that changes the shape.
    """
    image = as_images("image", image)
    check_probability("probability", probability)
    changed = op(image)
    if jnp.shape(changed) != image.shape:
        raise ValueError(f"op changes the image's shape from {image.shape} to {jnp.shape(changed)}; it must keep it.")
    return jnp.where(jax.random.bernoulli(key, probability), changed, image)


def solarize(image: Float[Array, "h w c"], *, threshold: float = 0.5) -> Float[Array, "h w c"]:
    """Invert values of at least `threshold`, to 1 - x. Raises ValueError for a threshold outside [0, 1]."""
    image = as_images("image", image, unit=True)
    check_probability("threshold", threshold)
    return dm_pix.solarize(image, threshold)


def random_solarize(
    key: Key[Array, ""], image: Float[Array, "h w c"], *, probability: float, threshold: float = 0.5
) -> Float[Array, "h w c"]:
    """Apply `solarize` with a probability. Raises ValueError for a probability or a threshold outside [0, 1]."""
    return random_apply(key, lambda image: solarize(image, threshold=threshold), image, probability=probability)


def normalize(
    image: Float[Array, "h w c"], *, mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Array, "h w c"]:
    """(image - mean) / std in each channel; always the last op, because the others need [0, 1].

    Raises ValueError unless there is a finite mean and a positive std for each channel.
    """
    image = as_images("image", image)
    channels = image.shape[-1]
    if len(mean) != channels or len(std) != channels:
        raise ValueError(
            f"mean has {len(mean)} and std {len(std)} numbers; both must have {channels}, one per channel."
        )
    for value in mean:
        check_finite("mean", value)
    for value in std:
        check_positive("std", value)
    return (image - jnp.asarray(mean).reshape(1, 1, -1)) / jnp.asarray(std).reshape(1, 1, -1)


def draw_uniforms(key: Key[Array, ""], count: int) -> Float[Array, "{count}"]:
    """`count` numbers from U[0, 1), drawn at once as a multiple of eight, which XLA:CPU compiles in half the time."""
    return jax.random.uniform(key, (-(-count // 8) * 8,), jnp.float32)[:count]
