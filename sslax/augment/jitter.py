"""Colour jitter: brightness, contrast, saturation and hue with random amounts, in random order, clipped after each op.

Images are float32 [h, w, 3] in [0, 1], RGB; `color.py` has the units and the three semantics of the ops.
"""

import itertools
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from sslax.augment.color import (
    BRIGHTNESS,
    CONTRAST,
    HUE,
    OPS,
    SATURATION,
    Planes,
    Semantics,
    blend,
    check_semantics,
    from_planes,
    to_planes,
    turn_hue,
)
from sslax.augment.ops import Scalar, draw_uniforms
from sslax.checks import as_array, as_images, check_at_least, check_probability, is_concrete

_ORDERS = np.array(list(itertools.permutations(range(4))), np.int32)


class Jitter(NamedTuple):
    """The sampled colour jitter of one image. None means that the op has strength 0 and is not in the program."""

    brightness: Float[Array, ""] | None
    contrast: Float[Array, ""] | None
    saturation: Float[Array, ""] | None
    hue: Float[Array, ""] | None
    order: Int[Array, "4"]


def sample_order(key: Key[Array, ""]) -> Int[Array, "4"]:
    """One of the 24 orders of the four ops, with equal probability: a permutation of their indices in `OPS`."""
    return _order_at(jax.random.uniform(key, dtype=jnp.float32))


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
    """Sample a colour jitter: for a strength x, factors are from U[max(0, 1 - x), 1 + x]; TensorFlow's brightness and the hue
    are from U[-x, x]. The order is drawn unless it is given.

    With probability 1 - `probability` every amount is neutral. Raises ValueError for a negative strength, a hue above 0.5, a
    probability outside [0, 1], unknown semantics or an order that is not a permutation.
    """
    check_semantics(semantics)
    check_probability("probability", probability)
    strengths = (brightness, contrast, saturation, hue)
    for name, strength in zip(OPS, strengths, strict=True):
        check_at_least(name, strength)
    if hue > 0.5:
        raise ValueError(f"hue is {hue}; it must lie in [0, 0.5] turns.")
    if order is not None:
        order = _checked_order(order)
    uniforms = draw_uniforms(key, 6)
    applied = uniforms[4] < probability

    def draw(op: int) -> Float[Array, ""] | None:
        if strengths[op] == 0:
            return None
        neutral = 0.0 if op == HUE or (op == BRIGHTNESS and semantics == "tensorflow") else 1.0
        low, high = (max(0.0, 1 - strengths[op]) if neutral else -strengths[op]), neutral + strengths[op]
        return jnp.where(applied, low + uniforms[op] * (high - low), neutral)

    drawn = _order_at(uniforms[5]) if order is None else order
    return Jitter(draw(BRIGHTNESS), draw(CONTRAST), draw(SATURATION), draw(HUE), drawn)


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
    """Change brightness, contrast, saturation and hue by random amounts (`sample_jitter`), in random order.

    The image is clipped to [0, 1] after each op, as for PIL images and in SimCLR's code; a strength of 0 removes its op from
    the program. `order` is a permutation of the indices of `OPS` that a whole batch can share; None draws one per image.
    dm_pix has no random order and does not clip. Raises ValueError as `sample_jitter` does.
    """
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
    image = as_images("image", image, rgb=True, unit=True)
    jitter = sample_jitter(key, **strengths, semantics=semantics, order=order)
    planes = jitter_planes(to_planes(image), jitter, semantics=semantics)
    return from_planes(planes, *image.shape[:2])


def jitter_planes(planes: Planes, jitter: Jitter, *, semantics: Semantics) -> Planes:
    """Apply a sampled jitter.

    Under vmap, branching on the order would compute all four ops at each of the four positions. Instead every image runs the
    same sequence of ops, which contains every order as a subsequence; ops that are not in the image's order are neutral.
    """
    if semantics == "torchvision" or jitter.hue is None:
        return _blends_around_the_hue(planes, jitter, semantics)
    return _hsv_between_blends(planes, jitter, jitter.hue, semantics)


def _blends_around_the_hue(planes: Planes, jitter: Jitter, semantics: Semantics) -> Planes:
    """All ops except the hue are blends, which differ only in their anchor; the hue is the most expensive op. So the sequence
    is: the blends before the hue, in the sampled order; the hue, once; the blends after it."""
    blends = {op: amount for op, amount in enumerate(jitter[:HUE]) if amount is not None}
    earlier = _count_earlier(jitter.order, blends)

    def run(planes: Planes, before: bool) -> Planes:
        def step(planes: Planes, turn: Int[Array, ""]) -> tuple[Planes, None]:
            active = ((turn < earlier[HUE]) == before) | (jitter.hue is None)
            now = {op: active & (earlier[op] == turn) for op in blends}
            return _blend_now(planes, blends, now, semantics), None

        # A loop, although it has only three steps: unrolled, XLA:CPU recomputes each step in all later ones, which takes
        # twice the time.
        return jax.lax.scan(step, planes, jnp.arange(len(blends)))[0]

    if jitter.hue is None:
        return run(planes, True)
    return run(turn_hue(run(planes, True), jitter.hue), False)


def _hsv_between_blends(planes: Planes, jitter: Jitter, hue: Float[Array, ""], semantics: Semantics) -> Planes:
    """In HSV, saturation and hue commute and form one op. So the sequence is: HSV, blend, HSV, blend, HSV, with brightness and
    contrast as blends in the sampled order. Each HSV op applies the saturation, the hue, both or neither."""
    blends = {op: amount for op, amount in enumerate(jitter[:SATURATION]) if amount is not None}
    earlier = _count_earlier(jitter.order, blends)
    saturation = jitter.saturation

    def hsv(planes: Planes, gap: int | Int[Array, ""]) -> Planes:
        delta = jnp.where(earlier[HUE] == gap, hue, 0.0)
        if saturation is None:
            return turn_hue(planes, delta)
        return turn_hue(planes, delta, saturation=jnp.where(earlier[SATURATION] == gap, saturation, 1.0))

    def step(planes: Planes, turn: Int[Array, ""]) -> tuple[Planes, None]:
        now = {op: earlier[op] == turn for op in blends}
        return hsv(_blend_now(planes, blends, now, semantics), turn + 1), None

    return jax.lax.scan(step, hsv(planes, 0), jnp.arange(len(blends)))[0]


def _count_earlier(order: Int[Array, "4"], ops: Iterable[int]) -> Int[Array, "4"]:
    """For each of the four ops, the number of `ops` that come before it in `order`."""
    place = jnp.argmax(order[None, :] == jnp.arange(4)[:, None], axis=1)
    return (place[np.array(list(ops), np.int32)][None, :] < place[:, None]).sum(axis=1)


def _blend_now(
    planes: Planes, amounts: dict[int, Float[Array, ""]], now: dict[int, Bool[Array, ""]], semantics: Semantics
) -> Planes:
    """Apply the op with a true `now` flag, if any."""
    factor: Scalar = 1.0
    offset: Scalar | None = None
    for op, amount in amounts.items():
        if op == BRIGHTNESS and semantics == "tensorflow":
            offset = jnp.where(now[op], amount, 0.0)
        else:
            factor = jnp.where(now[op], amount, factor)
    return blend(planes, factor, semantics, offset=offset, contrast=now.get(CONTRAST), saturation=now.get(SATURATION))


def _order_at(uniform: Float[Array, ""]) -> Int[Array, "4"]:
    return jnp.asarray(_ORDERS)[(uniform * len(_ORDERS)).astype(int)]


def _checked_order(order: Int[Array, "4"]) -> Int[Array, "4"]:
    order = as_array("order", order)
    if not jnp.issubdtype(order.dtype, jnp.integer):
        raise TypeError(f"order has dtype {order.dtype}; it must be an array of integers.")
    if order.shape != (4,) or (is_concrete(order) and sorted(order.tolist()) != [0, 1, 2, 3]):
        shown = order.tolist() if is_concrete(order) else f"of shape {order.shape}"
        raise ValueError(f"order is {shown}; it must be a permutation of 0, 1, 2, 3.")
    return order
