"""Selected ops on one branch only, after a crop that both branches share: the setting of SimCLR's figure 5.

Source: Chen et al. 2020, arXiv:2002.05709, section 3.1: images are "first randomly" cropped and resized, then the ops
transform "only one branch", and the other branch is the identity. A selected op is always applied; its random parameters
use the branch's ranges and probabilities:

- crop: another crop of the crop, and the flip with its probability, because the paper's crop includes the flip.
- cutout: `cutout` of half the side.
- color: the paper's colour distortion (appendix A): the jitter and then grayscale, each with its probability.
- sobel: `sobel`.
- noise: `gaussian_noise` with sigma from U[0, 0.2]; the paper does not specify it.
- blur: `gaussian_blur` with sigma from the branch's range, never 0.
- rotate: `random_rotate`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from sslax.augment import color, crop, distortions, ops
from sslax.augment.jitter import jitter_planes, sample_jitter
from sslax.augment.records import Branch, Op

MOST_NOISE = 0.2


def sample_ops(key: Key[Array, ""], branch: Branch, *, order: Int[Array, "4"] | None = None) -> tuple[Any, ...]:
    """Sample the parameters of each op of the branch, with one key per op; `order` is the jitter order."""
    names = branch.composed or ()
    keys = jax.random.split(key, max(1, len(names)))
    return tuple(_sample(name, key, branch, order) for name, key in zip(names, keys, strict=False))


def render_ops(
    image: Float[Array, "{branch.size} {branch.size} 3"], drawn: tuple[Any, ...], branch: Branch
) -> Float[Array, "{branch.size} {branch.size} 3"]:
    """Apply the sampled ops in order."""
    for name, draws in zip(branch.composed or (), drawn, strict=True):
        image = _render(name, image, draws, branch)
    return image


def _sample(name: Op, key: Key[Array, ""], branch: Branch, order: Int[Array, "4"] | None) -> Any:
    side = branch.size
    first, second = jax.random.split(key)
    if name == "crop":
        box = crop.sample_crop(
            first,
            side,
            side,
            area=branch.crop_area,
            aspect=branch.crop_aspect,
            sampling=branch.crop_sampling,
            min_covered=branch.crop_min_covered,
        )
        return box, jax.random.bernoulli(second, branch.flip)
    if name == "color":
        strengths = {op: getattr(branch, op) for op in color.OPS}
        jitter = sample_jitter(first, **strengths, semantics=branch.semantics, probability=branch.jitter, order=order)
        return jitter, jax.random.bernoulli(second, branch.grayscale)
    if name == "cutout":
        return distortions.sample_centre(first, side, side)
    if name == "noise":
        noise = distortions.sample_noise(first, (side, side, 3))
        return noise, jax.random.uniform(second, (), jnp.float32, 0.0, MOST_NOISE)
    if name == "blur":
        return ops.sample_blur(first, probability=1.0, sigma=branch.blur_sigma)
    if name == "rotate":
        return distortions.sample_turns(first)
    return ()


def _render(name: Op, image: Array, drawn: Any, branch: Branch) -> Array:
    if name == "crop":
        box, flip = drawn
        planes = crop.crop_planes(image, box, branch.size, method=branch.interpolation, flip=flip)
        return jnp.clip(jnp.moveaxis(planes, 0, -1), 0.0, 1.0)
    if name == "color":
        jitter, gray = drawn
        colored = jitter_planes(color.to_planes(image), jitter, semantics=branch.semantics)
        return color.from_planes(color.grayscale_planes(colored, gray), branch.size, branch.size)
    if name == "cutout":
        return distortions.cut(image, drawn)
    if name == "noise":
        return distortions.add_noise(image, *drawn)
    if name == "blur":
        return ops.gaussian_blur(image, drawn, radius=branch.blur_kernel // 2, padding=branch.blur_padding)
    return distortions.turn(image, drawn) if name == "rotate" else distortions.sobel(image)
