"""Colour: each op a pure function of one image.

Images are float32 [h, w, 3] in [0, 1], RGB, and so is every result: each op clips. Factors are plain ratios (1 changes
nothing), hue is in turns (0.5 is the opposite colour), probabilities are in [0, 1].

Three semantics are in use, and they differ:

| semantics       | brightness     | contrast: away from      | saturation     | whose                       |
|-----------------|----------------|--------------------------|----------------|-----------------------------|
| `"torchvision"` | times a factor | the mean of the gray     | away from gray | DINO, the PyTorch libraries |
| `"simclr"`      | times a factor | the mean of each channel | in HSV         | SimCLR's code (v2)          |
| `"tensorflow"`  | plus an amount | the mean of each channel | in HSV         | BYOL's code                 |

dm_pix has TensorFlow's ops, unclipped. They are the tests' reference and are not called here: in interleaved channels
and with HSV's divisions and remainders they take several times as long.
Inside, an image is three planes of pixels: XLA:CPU vectorises over a plane, and hardly over a last axis of three.
"""

import itertools
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from sslax.augment.ops import Scalar, check_probability, draw_uniforms

Semantics = Literal["torchvision", "simclr", "tensorflow"]
Planes: TypeAlias = tuple[Float[Array, "*p"], Float[Array, "*p"], Float[Array, "*p"]]

OPS = ("brightness", "contrast", "saturation", "hue")  # An order is a permutation of their indices.
_HUE = 3
_ORDERS = np.array(list(itertools.permutations(range(4))), np.int32)
_GRAY = (0.299, 0.587, 0.114)  # The gray of ITU-R 601, as in PIL and TensorFlow (which writes 0.2989).


def to_planes(image: Float[Array, "h w 3"]) -> Planes:
    """The red, the green and the blue pixels, row by row."""
    flat = image.reshape(-1, 3)
    return flat[:, 0], flat[:, 1], flat[:, 2]


def from_planes(planes: Planes, height: int, width: int) -> Float[Array, "h w 3"]:
    """The image of three planes: the inverse of `to_planes`."""
    return jnp.moveaxis(jnp.stack(planes), 0, -1).reshape(height, width, 3)


def adjust_brightness(
    image: Float[Array, "h w 3"], amount: Scalar, *, semantics: Semantics = "torchvision"
) -> Float[Array, "h w 3"]:
    """Times `amount` (a factor), or plus `amount` (in units of the range) in TensorFlow's semantics. In [0, 1].

    Raises ValueError for unknown semantics.
    """
    return _on_image(image, 0, amount, semantics)


def adjust_contrast(
    image: Float[Array, "h w 3"], factor: Scalar, *, semantics: Semantics = "torchvision"
) -> Float[Array, "h w 3"]:
    """Each pixel's difference from the mean (of the gray, or of its channel) times `factor`. In [0, 1].

    torchvision rounds that mean to a whole level on PIL images; here it is exact, as on its tensors.
    Raises ValueError for unknown semantics.
    """
    return _on_image(image, 1, factor, semantics)


def adjust_saturation(
    image: Float[Array, "h w 3"], factor: Scalar, *, semantics: Semantics = "torchvision"
) -> Float[Array, "h w 3"]:
    """Each pixel's difference from its gray times `factor`, or its saturation in HSV times `factor`. In [0, 1].

    Raises ValueError for unknown semantics.
    """
    return _on_image(image, 2, factor, semantics)


def adjust_hue(image: Float[Array, "h w 3"], delta: Scalar) -> Float[Array, "h w 3"]:
    """The hue in HSV turned by `delta` turns: the same in all semantics. In [0, 1].

    Exact, where torchvision on PIL images goes through 8-bit HSV.
    """
    return from_planes(_turn_hue(to_planes(image), delta), *image.shape[:2])


class Jitter(NamedTuple):
    """One image's drawn colour jitter. None: the op's strength is zero, and it is not in the program."""

    brightness: Float[Array, ""] | None
    contrast: Float[Array, ""] | None
    saturation: Float[Array, ""] | None
    hue: Float[Array, ""] | None
    order: Int[Array, "4"]


def sample_order(key: Key[Array, ""]) -> Int[Array, "4"]:
    """One of the 24 orders of `OPS`, each as likely."""
    return _order_at(jax.random.uniform(key, dtype=jnp.float32))


def _order_at(uniform: Float[Array, ""]) -> Int[Array, "4"]:
    return jnp.asarray(_ORDERS)[(uniform * len(_ORDERS)).astype(int)]


def sample_jitter(
    key: Key[Array, ""],
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    semantics: Semantics = "torchvision",
    probability: float = 1.0,
    order: Int[Array, "4"] | None = None,
) -> Jitter:
    """Draw a colour jitter: factors from U[max(0, 1 - x), 1 + x] for a strength x, TensorFlow's amounts and the hue's
    turn from U[-x, x], and the order unless it is given.

    With probability 1 - `probability` every amount is the one that changes nothing. Raises ValueError for a negative
    strength, a hue above 0.5, a probability outside [0, 1] or unknown semantics.
    """
    _check_semantics(semantics)
    check_probability("probability", probability)
    if not 0 <= hue <= 0.5:
        raise ValueError(f"hue is {hue}; it has to be in [0, 0.5], as turns.")
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
    for name, strength in strengths.items():
        if not 0 <= strength < float("inf"):
            raise ValueError(f"{name} is {strength}; a strength has to be at least 0.")
    uniforms = draw_uniforms(key, 6)
    applied = uniforms[4] < probability

    def draw(op: int) -> Float[Array, ""] | None:
        strength = strengths[OPS[op]]
        if strength == 0:
            return None
        neutral = 0.0 if op == _HUE or (op == 0 and semantics == "tensorflow") else 1.0
        low, high = (max(0.0, 1 - strength) if neutral else -strength), neutral + strength
        return jnp.where(applied, low + uniforms[op] * (high - low), neutral)

    return Jitter(draw(0), draw(1), draw(2), draw(_HUE), _order_at(uniforms[5]) if order is None else order)


def color_jitter(
    key: Key[Array, ""],
    image: Float[Array, "h w 3"],
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    semantics: Semantics = "torchvision",
    order: Int[Array, "4"] | None = None,
) -> Float[Array, "h w 3"]:
    """Brightness, contrast, saturation and hue, each by a random amount (`sample_jitter`), in random order.

    The image is clipped to [0, 1] after each, as PIL images are and as SimCLR's code does; a strength of 0 leaves its op
    out of the program. `order` is a permutation of the indices of `OPS`: give one that is not batched and under vmap the
    whole batch has it, which is faster; None draws one for each image. Raises ValueError as `sample_jitter` does.
    """
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
    jitter = sample_jitter(key, **strengths, semantics=semantics, order=order)
    planes = jitter_planes(to_planes(image), jitter, semantics=semantics, one_order=order is not None)
    return from_planes(planes, *image.shape[:2])


def jitter_planes(planes: Planes, jitter: Jitter, *, semantics: Semantics, one_order: bool) -> Planes:
    """Apply a drawn jitter. `one_order`: the order is the whole batch's, not batched under vmap, so branch on it."""
    if one_order:
        ops = [_as_op(op, amount, semantics) for op, amount in enumerate(jitter[:4])]
        for op in jitter.order:
            planes = jax.lax.switch(op, ops, planes)
        return planes

    # Under vmap a branch on an image's own order would compute all four ops in each of the four places. But three of
    # them are blends, which differ only in what they blend with, and the hue, the dearest, is somewhere among them. So:
    # the blends in the drawn order, those before the hue; the hue, once; the blends again, those after it.
    amounts = {op: amount for op, amount in enumerate(jitter[:3]) if amount is not None}
    place = jnp.argmax(jitter.order[None, :] == jnp.arange(4)[:, None], axis=1)
    earlier = place[np.array(list(amounts), np.int32)][None, :] < place[:, None]
    turn = earlier.sum(axis=1)  # An op's turn is how many blends come before it.
    turns = jnp.arange(len(amounts))

    def run(planes: Planes, active: Bool[Array, " t"]) -> Planes:
        now = {op: active & (turn[op] == turns) for op in amounts}
        factor, offset = jnp.ones(len(amounts)), None
        for op, amount in amounts.items():
            if op == 0 and semantics == "tensorflow":
                offset = jnp.where(now[op], amount, 0.0)
            else:
                factor = jnp.where(now[op], amount, factor)
        # A loop, although of three: unrolled, XLA:CPU computes each step anew in all that follow it, in twice the time.
        steps = (factor, offset, now.get(1), now.get(2))
        return jax.lax.scan(lambda planes, step: (_blend(planes, *step, semantics), None), planes, steps)[0]

    if jitter.hue is None:
        return run(planes, turns >= 0)
    planes = _turn_hue(run(planes, turns < turn[_HUE]), jitter.hue)
    return run(planes, turns >= turn[_HUE])


def to_grayscale(image: Float[Array, "h w 3"]) -> Float[Array, "h w 3"]:
    """The gray of ITU-R 601 in all three channels. dm_pix's weights sum to 0.9999: white would not stay white."""
    return jnp.broadcast_to(_gray(to_planes(image)).reshape(*image.shape[:2], 1), image.shape)


def random_grayscale(
    key: Key[Array, ""], image: Float[Array, "h w 3"], *, probability: float = 0.2
) -> Float[Array, "h w 3"]:
    """`to_grayscale` with a probability. Raises ValueError for a probability outside [0, 1]."""
    check_probability("probability", probability)
    applied = jax.random.bernoulli(key, probability)
    return jnp.where(applied, to_grayscale(image), image)


def grayscale_planes(planes: Planes, applied: Bool[Array, ""]) -> Planes:
    """The gray in all three planes where `applied`."""
    gray = _gray(planes)
    red, green, blue = (jnp.where(applied, gray, plane) for plane in planes)
    return red, green, blue


def _check_semantics(semantics: str) -> None:
    if semantics not in ("torchvision", "simclr", "tensorflow"):
        raise ValueError(f"semantics is {semantics!r}; it has to be 'torchvision', 'simclr' or 'tensorflow'.")


def _on_image(image: Float[Array, "h w 3"], op: int, amount: Scalar, semantics: Semantics) -> Float[Array, "h w 3"]:
    _check_semantics(semantics)
    return from_planes(_as_op(op, amount, semantics)(to_planes(image)), *image.shape[:2])


def _as_op(op: int, amount: Scalar | None, semantics: Semantics):
    """The op at index `op` of `OPS` as a function of planes."""
    if amount is None:
        return lambda planes: planes
    if op == _HUE:
        return lambda planes: _turn_hue(planes, amount)
    if op == 0 and semantics == "tensorflow":
        return lambda planes: _blend(planes, 1.0, amount, None, None, semantics)
    return lambda planes: _blend(planes, amount, None, op == 1 or None, op == 2 or None, semantics)


def _gray(planes: Planes) -> Float[Array, "*p"]:
    red, green, blue = planes
    return _GRAY[0] * red + _GRAY[1] * green + _GRAY[2] * blue


def _blend(
    planes: Planes,
    factor: Scalar,
    offset: Scalar | None,
    contrast: bool | Bool[Array, ""] | None,
    saturation: bool | Bool[Array, ""] | None,
    semantics: Semantics,
) -> Planes:
    """clip(factor·x + (1 - factor)·anchor + offset). The anchor is 0 (brightness), or what the flags say; None: never.

    HSV's saturation is a blend too: away from the pixel's largest channel (its value), with the factor limited so that
    the smallest channel stays at 0 or above, which is the saturation's limit of 1.
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
            limit = pixel / jnp.maximum(chroma, 1e-12)
            factor = jnp.where(saturation, jnp.minimum(factor, limit), factor)
        anchors = [jnp.where(saturation, pixel, anchor) for anchor in anchors]
    shift = 0.0 if offset is None else offset
    red, green, blue = (
        jnp.clip(factor * plane + (1 - factor) * anchor + shift, 0.0, 1.0)
        for plane, anchor in zip(planes, anchors, strict=True)
    )
    return red, green, blue


def _value_and_chroma(planes: Planes) -> tuple[Float[Array, "*p"], Float[Array, "*p"]]:
    red, green, blue = planes
    value = jnp.maximum(jnp.maximum(red, green), blue)
    return value, value - jnp.minimum(jnp.minimum(red, green), blue)


def _turn_hue(planes: Planes, delta: Scalar) -> Planes:
    """HSV's hue, turned. Hues are kept multiplied by the chroma and in sixths, so nothing is divided and grays are safe.

    A channel is value - chroma·clip(min(k, 4 - k), 0, 1), k = (n + 6·hue) mod 6, with n = 5, 3, 1 for red, green, blue.
    """
    red, green, blue = planes
    value, chroma = _value_and_chroma(planes)
    hue = jnp.where(
        value == red,
        green - blue,
        jnp.where(value == green, blue - red + 2 * chroma, red - green + 4 * chroma),
    )

    def channel(n: int, plane: Float[Array, "*p"]) -> Float[Array, "*p"]:
        shift = n + 6 * delta
        k = hue + (shift - 6 * jnp.floor(shift / 6)) * chroma  # In [-1, 11)·chroma; what is below 0 is clipped anyway.
        k = jnp.where(k >= 6 * chroma, k - 6 * chroma, k)
        turned = value - jnp.clip(jnp.minimum(k, 4 * chroma - k), 0.0, chroma)
        return jnp.where(delta == 0, plane, turned)  # Bit for bit where nothing was to be done.

    return channel(5, red), channel(3, green), channel(1, blue)
