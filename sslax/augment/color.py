"""Colour ops, each a pure function of one image.

Images are float32 [h, w, 3] in [0, 1], RGB, and so are the results: each op clips. Half precision becomes float32; other
types, other shapes and concrete values outside [0, 1] raise TypeError or ValueError. Factors are ratios (1 changes nothing),
hue is in turns (0.5 is the complementary colour), probabilities are in [0, 1].

Three different semantics are in use:

| semantics       | brightness     | contrast: away from      | saturation     | used by                     |
|-----------------|----------------|--------------------------|----------------|-----------------------------|
| `"torchvision"` | times a factor | the mean of the gray     | away from gray | DINO, the PyTorch libraries |
| `"simclr"`      | times a factor | the mean of each channel | in HSV         | SimCLR's code (v2)          |
| `"tensorflow"`  | plus an amount | the mean of each channel | in HSV         | BYOL's code                 |

dm_pix has TensorFlow's ops, without clipping. The tests use them as reference, but this module does not call them: a view
made with them takes about twice as long (experiments/benchmarks/augmentation.py), because they work on interleaved channels
and convert to HSV and back. Internally an image is three planes of pixels: XLA:CPU vectorises over a plane, but hardly over a
last axis of three.
"""

from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from sslax.augment.ops import Scalar
from sslax.checks import as_images, check_at_least, check_choice, check_finite, check_probability

Semantics = Literal["torchvision", "simclr", "tensorflow"]
Planes: TypeAlias = tuple[Float[Array, "*p"], Float[Array, "*p"], Float[Array, "*p"]]

OPS = ("brightness", "contrast", "saturation", "hue")  # A jitter order is a permutation of their indices.
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
_GRAY = (0.299, 0.587, 0.114)  # The gray of ITU-R 601, as in PIL and TensorFlow (which writes 0.2989).


def to_planes(image: Float[Array, "h w 3"]) -> Planes:
    """The red, green and blue planes, flattened row by row."""
    flat = image.reshape(-1, 3)
    return flat[:, 0], flat[:, 1], flat[:, 2]


def from_planes(planes: Planes, height: int, width: int) -> Float[Array, "h w 3"]:
    """The image from its three planes: the inverse of `to_planes`."""
    return jnp.moveaxis(jnp.stack(planes), 0, -1).reshape(height, width, 3)


def adjust_brightness(
    image: Float[Array, "h w 3"], amount: Scalar, *, semantics: Semantics = "torchvision"
) -> Float[Array, "h w 3"]:
    """Multiply by `amount` (a factor), or in TensorFlow's semantics add `amount` (1 is the full range). Clipped to [0, 1].

    Raises ValueError for unknown semantics, a negative factor or a non-finite amount.
    """
    check_semantics(semantics)
    image = as_images("image", image, rgb=True, unit=True)
    if semantics == "tensorflow":
        check_finite("amount", amount)
    else:
        check_at_least("amount", amount)
    factor, offset = (1.0, amount) if semantics == "tensorflow" else (amount, None)
    return from_planes(blend(to_planes(image), factor, semantics, offset=offset), *image.shape[:2])


def adjust_contrast(
    image: Float[Array, "h w 3"], factor: Scalar, *, semantics: Semantics = "torchvision"
) -> Float[Array, "h w 3"]:
    """Scale each pixel's difference from the mean (of the gray, or of its channel) by `factor`. Clipped to [0, 1].

    torchvision rounds that mean to an integer level for PIL images; here it is exact, as for its tensors.
    Raises ValueError for unknown semantics or a negative factor.
    """
    check_semantics(semantics)
    image = as_images("image", image, rgb=True, unit=True)
    check_at_least("factor", factor)
    return from_planes(blend(to_planes(image), factor, semantics, contrast=True), *image.shape[:2])


def adjust_saturation(
    image: Float[Array, "h w 3"], factor: Scalar, *, semantics: Semantics = "torchvision"
) -> Float[Array, "h w 3"]:
    """Scale each pixel's difference from its gray, or its HSV saturation, by `factor`. Clipped to [0, 1].

    Raises ValueError for unknown semantics or a negative factor.
    """
    check_semantics(semantics)
    image = as_images("image", image, rgb=True, unit=True)
    check_at_least("factor", factor)
    return from_planes(blend(to_planes(image), factor, semantics, saturation=True), *image.shape[:2])


def adjust_hue(image: Float[Array, "h w 3"], delta: Scalar) -> Float[Array, "h w 3"]:
    """Turn the HSV hue by `delta` turns; it is the same in all semantics. Clipped to [0, 1].

    The result is exact; torchvision converts PIL images to 8-bit HSV. Raises ValueError for a non-finite turn.
    """
    image = as_images("image", image, rgb=True, unit=True)
    check_finite("delta", delta)
    # Remove whole turns, because the digits of a large delta would be lost in the sums below; up to half a turn stays as is.
    delta = jnp.asarray(delta, image.dtype)
    return from_planes(turn_hue(to_planes(image), delta - jnp.round(delta)), *image.shape[:2])


def to_grayscale(image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """The ITU-R 601 gray in all three channels. dm_pix's weights sum to 0.9999, so white would not stay white."""
    image = as_images("image", image, rgb=True)
    return jnp.broadcast_to(_gray(to_planes(image)).reshape(*image.shape[:2], 1), image.shape)


def random_grayscale(
    key: Key[Array, ""], image: Float[Array, "h w 3"], *, probability: float = 0.2
) -> Float[Array, "h w 3"]:
    """Apply `to_grayscale` with a probability. Raises ValueError for a probability outside [0, 1]."""
    image = as_images("image", image, rgb=True)
    check_probability("probability", probability)
    applied = jax.random.bernoulli(key, probability)
    return jnp.where(applied, to_grayscale(image), image)


def grayscale_planes(planes: Planes, applied: Bool[Array, ""]) -> Planes:
    """The gray in all three planes where `applied`."""
    gray = _gray(planes)
    red, green, blue = (jnp.where(applied, gray, plane) for plane in planes)
    return red, green, blue


def check_semantics(semantics: str) -> None:
    """Raise ValueError for unknown semantics."""
    check_choice("semantics", semantics, get_args(Semantics))


def _gray(planes: Planes) -> Float[Array, "*p"]:
    red, green, blue = planes
    return _GRAY[0] * red + _GRAY[1] * green + _GRAY[2] * blue


def blend(
    planes: Planes,
    factor: Scalar,
    semantics: Semantics,
    *,
    offset: Scalar | None = None,
    contrast: bool | Bool[Array, ""] | None = None,
    saturation: bool | Bool[Array, ""] | None = None,
) -> Planes:
    """clip(factor·x + (1 - factor)·anchor + offset); a true flag, contrast or saturation, selects its anchor, else it is 0.

    HSV saturation is a blend too: the anchor is the pixel's largest channel (its value), and the factor is limited so that
    the smallest channel stays at least 0, where the saturation reaches its limit of 1.
    """
    anchors: list = [0.0, 0.0, 0.0]
    if contrast is not None:
        means = [_gray(planes).mean()] * 3 if semantics == "torchvision" else [plane.mean() for plane in planes]
        anchors = [jnp.where(contrast, mean, 0.0) for mean in means]
    if saturation is not None:
        if semantics == "torchvision":
            pixel = _gray(planes)
        else:
            pixel, chroma = _value_and_chroma(planes)
            factor = jnp.where(saturation, jnp.minimum(factor, _saturation_limit(pixel, chroma)), factor)
        anchors = [jnp.where(saturation, pixel, anchor) for anchor in anchors]
    shift = 0.0 if offset is None else offset
    red, green, blue = (
        jnp.clip(factor * plane + (1 - factor) * anchor + shift, 0.0, 1.0)
        for plane, anchor in zip(planes, anchors, strict=True)
    )
    return red, green, blue


def turn_hue(planes: Planes, delta: Scalar, *, saturation: Scalar | None = None) -> Planes:
    """Turn the HSV hue by `delta` and, unless None, multiply the HSV saturation by `saturation`.

    A channel is value - chroma·clip(min(k, 4 - k), 0, 1), k = (n + 6·hue) mod 6, with n = 5, 3, 1 for red, green, blue.
    All terms stay multiplied by the chroma, so the hue needs no division and grays need no special case.
    """
    red, green, blue = planes
    value, chroma = _value_and_chroma(planes)
    other = jnp.where(value == green, blue - red + 2 * chroma, red - green + 4 * chroma)
    hue = jnp.where(value == red, green - blue, other)
    neutral = jnp.asarray(delta) == 0
    if saturation is not None:
        neutral &= jnp.asarray(saturation) == 1
        scale = jnp.minimum(saturation, _saturation_limit(value, chroma))

    def channel(n: int, plane: Float[Array, "*p"]) -> Float[Array, "*p"]:
        shift = n + 6 * delta
        k = (
            hue + (shift - 6 * jnp.floor(shift / 6)) * chroma
        )  # In [-1, 11)·chroma; the clip below handles negative values.
        k = jnp.where(k >= 6 * chroma, k - 6 * chroma, k)
        below = jnp.clip(jnp.minimum(k, 4 * chroma - k), 0.0, chroma)
        turned = value - (below if saturation is None else scale * below)
        return jnp.where(neutral, plane, turned)  # A neutral jitter returns bitwise equal pixels.

    return channel(5, red), channel(3, green), channel(1, blue)


def _value_and_chroma(planes: Planes) -> tuple[Float[Array, "*p"], Float[Array, "*p"]]:
    red, green, blue = planes
    value = jnp.maximum(jnp.maximum(red, green), blue)
    return value, value - jnp.minimum(jnp.minimum(red, green), blue)


def _saturation_limit(value: Float[Array, "*p"], chroma: Float[Array, "*p"]) -> Float[Array, "*p"]:
    """The factor that raises the HSV saturation, chroma / value, to 1."""
    return value / jnp.maximum(chroma, 1e-12)
