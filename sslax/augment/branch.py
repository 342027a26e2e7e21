"""Make the views of one branch: sample the random parameters of its ops, and render the view from them.

`sample_view` (draws) and `render_view` (applies) depend only on a `Branch`; the recipes in `views.py` consist of branches.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from sslax.augment import color, composed, crop, ops
from sslax.augment.jitter import jitter_planes, sample_jitter, sample_order
from sslax.augment.records import Branch, Channels, JitterOrder, View
from sslax.checks import (
    as_array,
    as_images,
    check_choice,
    check_count,
    check_positive,
    check_probability,
    is_concrete,
    value_range,
)


def sample_view(
    key: Key[Array, ""],
    height: int,
    width: int,
    branch: Branch,
    *,
    image_aspect: float | Float[Array, ""] | None = None,
    order: Int[Array, "4"] | None = None,
    crop_key: Key[Array, ""] | None = None,
) -> View:
    """Sample one view of a canvas of `height` x `width` with original width / height `image_aspect`; each op has its own key.

    `crop_key` draws the crop instead of `key`, for views that share their crop. Raises ValueError if a field of the branch is
    out of range.
    """
    for name in ("flip", "jitter", "grayscale", "blur", "solarize"):
        check_probability(name, getattr(branch, name))
    keys = jax.random.split(key, 8)
    box = crop.sample_crop(
        keys[0] if crop_key is None else crop_key,
        height,
        width,
        area=branch.crop_area,
        aspect=branch.crop_aspect,
        image_aspect=image_aspect,
        sampling=branch.crop_sampling,
        min_covered=branch.crop_min_covered,
    )
    if branch.composed is not None:
        drawn = composed.sample_ops(keys[1], branch, order=order)
        return View(box, None, None, None, None, None, drawn)
    strengths = {name: getattr(branch, name) for name in color.OPS}
    jitter = None
    if branch.jitter > 0 and any(strengths.values()):
        jitter = sample_jitter(keys[1], **strengths, semantics=branch.semantics, probability=branch.jitter, order=order)
    flip, grayscale, solarize = (
        jax.random.bernoulli(key, probability) if _present(probability) else None
        for key, probability in zip(keys[2:5], (branch.flip, branch.grayscale, branch.solarize), strict=True)
    )
    sigma = None
    if _present(branch.blur):
        sigma = ops.sample_blur(keys[5], probability=branch.blur, sigma=branch.blur_sigma)
    return View(box, flip, jitter, grayscale, sigma, solarize)


def render_view(
    image: Float[Array, "h w 3"], view: View, branch: Branch
) -> Float[Array, "{branch.size} {branch.size} 3"]:
    """Render a sampled view. Raises ValueError as the ops do."""
    image = as_images("image", image, rgb=True, unit=True)
    size = branch.size
    planes = crop.crop_planes(image, view.box, size, method=branch.interpolation, flip=view.flip)
    if branch.composed is not None:
        result = composed.render_ops(jnp.moveaxis(jnp.clip(planes, 0.0, 1.0), 0, -1), view.composed, branch)
        return _normalized(result, branch.mean, branch.std)
    red, green, blue = jnp.clip(planes, 0.0, 1.0).reshape(3, -1)
    channels: color.Planes = (red, green, blue)
    if view.jitter is not None:
        channels = jitter_planes(channels, view.jitter, semantics=branch.semantics)
    if view.grayscale is not None:
        channels = color.grayscale_planes(channels, view.grayscale)
    result = color.from_planes(channels, size, size)
    if view.sigma is not None:
        result = ops.gaussian_blur(result, view.sigma, radius=branch.blur_kernel // 2, padding=branch.blur_padding)
    if view.solarize is not None:
        result = jnp.where(view.solarize, ops.solarize(result), result)
    return _normalized(result, branch.mean, branch.std)


def branch_view(
    key: Key[Array, ""],
    image: Float[Array, "h w 3"] | UInt8[Array, "h w 3"],
    branch: Branch,
    *,
    image_aspect: float | Float[Array, ""] | None = None,
    order: Int[Array, "4"] | None = None,
    crop_key: Key[Array, ""] | None = None,
) -> Float[Array, "{branch.size} {branch.size} 3"]:
    """One view of one image (uint8 is scaled to [0, 1]).

    `image_aspect` is the original width / height of a squashed image; `order` is the jitter order, for a whole batch;
    `crop_key` draws the crop, for views that share it. Raises ValueError or TypeError as `sample_view`, and for an image that
    is neither uint8 nor in [0, 1].
    """
    image = as_images("image", image, rgb=True, unit=True, levels=True)
    height, width, _ = image.shape
    view = sample_view(key, height, width, branch, image_aspect=image_aspect, order=order, crop_key=crop_key)
    return render_view(to_float(image), view, branch)


def branch_views(
    key: Key[Array, ""],
    images: Float[Array, "n h w 3"] | UInt8[Array, "n h w 3"],
    branches: Sequence[Branch],
    *,
    jitter_order: JitterOrder = "image",
    aspects: Float[Array, " n"] | None = None,
) -> tuple[Float[Array, "n _ _ 3"], ...]:
    """A view of each image for each branch; `aspects` are the original widths / heights of squashed images.

    Branches with `composed` ops share the crop of each image.
    Raises ValueError or TypeError as `branch_view`, and for aspects that are not n positive numbers.
    """
    images = as_images("images", images, ndim=4, rgb=True, unit=True, levels=True)
    aspects = None if aspects is None else _checked_aspects(aspects, len(images))
    check_choice("jitter_order", jitter_order, get_args(JitterOrder))
    key_images, key_orders = jax.random.split(key)
    shared = any(branch.composed is not None for branch in branches)
    all_keys = view_keys(key_images, len(images), views=len(branches) + shared)
    orders = jax.random.split(key_orders, len(branches))

    def views(
        branch: Branch, keys: Key[Array, " n"], key_order: Key[Array, ""], blur: ops.Scalar, solarize: ops.Scalar
    ) -> Array:
        own = dataclasses.replace(branch, blur=blur, solarize=solarize)
        order = sample_order(key_order) if jitter_order == "batch" else None

        def one(key: Key[Array, ""], image: Array, aspect: Array | None, crop_key: Key[Array, ""] | None) -> Array:
            return branch_view(key, image, own, image_aspect=aspect, order=order, crop_key=crop_key)

        crop_keys = None if branch.composed is None else all_keys[-1]
        axes = tuple(None if x is None else 0 for x in (aspects, crop_keys))
        return jax.vmap(one, in_axes=(0, 0, *axes))(keys, images, aspects, crop_keys)

    made: dict[int, Array] = {}
    for alike in _same_programs(branches):
        # One trace, and so one compilation, for branches that differ only in these two probabilities.
        blur, solarize = (
            jnp.array(p, jnp.float32) if len(set(p)) > 1 else p[0]
            for p in ([getattr(branches[i], name) for i in alike] for name in ("blur", "solarize"))
        )
        index = np.array(alike)
        axes = tuple(0 if isinstance(p, jax.Array) else None for p in (blur, solarize))
        program = functools.partial(views, branches[alike[0]])
        stacked = jax.vmap(program, in_axes=(0, 0, *axes))(all_keys[index], orders[index], blur, solarize)
        made |= {i: stacked[place] for place, i in enumerate(alike)}
    return tuple(made[i] for i in range(len(branches)))


def _same_programs(branches: Sequence[Branch]) -> list[list[int]]:
    """Indices of the branches, grouped by the program that renders their views."""
    groups: dict[Branch, list[int]] = {}
    for i, branch in enumerate(branches):
        # Branches without blur get a separate program without it, which saves more than a second compilation costs.
        program = dataclasses.replace(branch, blur=float(branch.blur > 0), solarize=0.0)
        groups.setdefault(program, []).append(i)
    return list(groups.values())


def view_keys(key: Key[Array, ""], images: int, *, views: int = 2) -> Key[Array, "{views} {images}"]:
    """A key for each view of each image; with one key for the batch, all images would get the same draws.

    Raises ValueError for fewer than one image or view.
    """
    check_count("images", images)
    check_count("views", views)
    return jax.random.split(key, (views, images))


def eval_view(
    images: Float[Array, "n h w 3"] | UInt8[Array, "n h w 3"],
    size: int,
    *,
    aspects: Float[Array, " n"] | None = None,
    central: float | None = None,
    interpolation: crop.Interpolation = "bicubic",
    mean: Channels | None = None,
    std: Channels | None = None,
) -> Float[Array, "n {size} {size} 3"]:
    """The deterministic view for evaluation: the central square, resized and normalised like the views.

    The side of the square is `central` times the shorter side of the original image; `aspects` are the original widths /
    heights (None: the images are not squashed). `central=None` takes the whole of an image that is already `size` x `size`
    (CIFAR's protocol, without resizing) and 0.875 of any other: SimCLR's central crop, and DINO's resize to 256, crop to 224.
    Raises ValueError for a `central` outside (0, 1], and as `branch_views`, `crop_and_resize` and `normalize` do.
    """
    images = as_images("images", images, ndim=4, rgb=True, unit=True, levels=True)
    aspects = None if aspects is None else _checked_aspects(aspects, len(images))
    check_count("size", size, what=" pixel")
    check_choice("interpolation", interpolation, get_args(crop.Interpolation))
    _, height, width, _ = images.shape
    same = height == width == size
    if central is None:
        central = central_share(height, width, size)
    check_positive("central", central)
    if central > 1:
        raise ValueError(f"central is {central}; it must lie in (0, 1], a share of the shorter side.")

    def one(image: Array, aspect: Array) -> Array:
        image = to_float(image)
        if not (same and central == 1 and aspects is None):
            box = central_box(height, width, aspect, central)
            image = jnp.clip(crop.crop_and_resize(image, box, size, method=interpolation), 0.0, 1.0)
        return _normalized(image, mean, std)

    return jax.vmap(one)(images, jnp.full(len(images), width / height) if aspects is None else aspects)


def central_share(height: int, width: int, size: int) -> float:
    """The `central` of `eval_view` by default."""
    return 1.0 if height == width == size else 0.875


def central_box(height: int, width: int, aspect: Float[Array, ""], central: float) -> Float[Array, "4"]:
    """The box (top, left, height, width) in pixels that `eval_view` crops from a canvas of `height` x `width` pixels whose
    original width / height is `aspect`."""
    sides = jnp.stack([height * jnp.minimum(1.0, aspect), width * jnp.minimum(1.0, 1 / aspect)])
    sides = jnp.maximum(jnp.round(central * sides), 1.0)
    corner = jnp.floor((jnp.array([height, width]) - sides) / 2)
    return jnp.concatenate([corner, sides])


def _checked_aspects(aspects: Float[Array, " n"], count: int) -> Float[Array, " n"]:
    aspects = as_array("aspects", aspects)
    if not jnp.issubdtype(aspects.dtype, jnp.floating):
        raise TypeError(f"aspects has dtype {aspects.dtype}; it must be a floating-point array.")
    if aspects.shape != (count,):
        raise ValueError(f"aspects has shape {aspects.shape}; it must be ({count},), one for each image.")
    if is_concrete(aspects):
        low, high = value_range(aspects)
        if not 0 < low <= high < float("inf"):
            raise ValueError(f"aspects has values from {low:g} to {high:g}; they must be positive and finite.")
    return aspects.astype(jnp.float32)


def _present(probability: ops.Scalar) -> bool:
    """Whether an op with this probability is part of the program."""
    return isinstance(probability, jax.core.Tracer) or bool(probability > 0)


def to_float(images: Array) -> Array:
    """uint8 scaled to [0, 1]; float unchanged."""
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images


def _normalized(image: Float[Array, "h w 3"], mean: Channels | None, std: Channels | None) -> Float[Array, "h w 3"]:
    if mean is None and std is None:
        return image
    return ops.normalize(image, mean=mean or (0.0,) * 3, std=std or (1.0,) * 3)
