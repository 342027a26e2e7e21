"""SimCLR's views: images per second, compared with dm-pix's ops and kornia in the same run.

`python -m experiments.benchmarks.augmentation [--small N --large N --rounds N]`. A figure counts single views, from uint8
canvases to float32. dm-pix has no crop of random size, no random order and no clipping between ops, and it applies every op
to every image. Its ops are chained under vmap (random crop of one size, resize by jax.image, flip, brightness, contrast,
saturation, hue, grayscale, blur), so it does less work. kornia is included if it is installed with PyTorch for the same
device; its jitter has one order per batch.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Float, Key, UInt8

from experiments.benchmarks.timing import alternate, finished, report, torch_device
from sslax.augment import SimCLRViews, branch_view, sample_order


@dataclasses.dataclass(frozen=True)
class Options:
    """Speed of SimCLR's views, compared with other libraries."""

    small: int = 512
    """Images in a batch at 32 pixels."""
    large: int | None = None
    """Images in a batch at 224 pixels; None is 256, or 16 on CPU, where a batch larger than the cache is slower."""
    rounds: int = 11
    """Timed calls of each, alternating; the median counts."""


def ours(key: Key[Array, ""], images: UInt8[Array, "n h w 3"], recipe: SimCLRViews) -> Float[Array, "n s s 3"]:
    """One view of each image."""
    key_images, key_order = jax.random.split(key)
    order = sample_order(key_order) if recipe.jitter_order == "batch" else None
    view = functools.partial(branch_view, branch=recipe.branch(), order=order)
    return jax.vmap(view)(jax.random.split(key_images, len(images)), images)


def with_dm_pix(key: Key[Array, ""], images: UInt8[Array, "n h w 3"], recipe: SimCLRViews) -> Float[Array, "n s s 3"]:
    """The same ops as far as dm-pix has them, in a fixed order."""
    branch, size = recipe.branch(), recipe.size
    side = round(0.73 * size)  # This crop has the mean area of the random crops.

    def one(key: Key[Array, ""], image: UInt8[Array, "h w 3"]) -> Float[Array, "s s 3"]:
        keys = jax.random.split(key, 8)
        x = dm_pix.random_crop(keys[0], image.astype(jnp.float32) / 255, (side, side, 3))
        x = jax.image.resize(x, (size, size, 3), "bicubic")
        x = dm_pix.random_flip_left_right(keys[1], x)
        x = dm_pix.random_brightness(keys[2], x, branch.brightness)
        x = dm_pix.random_contrast(keys[3], x, 1 - branch.contrast, 1 + branch.contrast)
        x = dm_pix.random_saturation(keys[4], x, 1 - branch.saturation, 1 + branch.saturation)
        x = dm_pix.random_hue(keys[5], x, branch.hue)
        gray = jax.random.bernoulli(keys[6], recipe.grayscale)
        x = jnp.where(gray, dm_pix.rgb_to_grayscale(x, keep_dims=True), x)
        if recipe.blur > 0:
            sigma = jax.random.uniform(keys[7], minval=recipe.blur_sigma[0], maxval=recipe.blur_sigma[1])
            x = dm_pix.gaussian_blur(x, sigma, branch.blur_kernel)
        return x

    return jax.vmap(one)(jax.random.split(key, len(images)), images)


def with_kornia(images: UInt8[Array, "n h w 3"], recipe: SimCLRViews) -> Callable[[], object] | None:
    """kornia's views of the same images, or None if it is not installed for this device."""
    device = torch_device()
    if device is None:
        return None
    try:
        import kornia.augmentation as augmentation
        import torch
    except ImportError:
        return None
    branch, size = recipe.branch(), recipe.size
    jitter = (branch.brightness, branch.contrast, branch.saturation, branch.hue)
    ops = [
        augmentation.RandomResizedCrop((size, size), recipe.crop_area, recipe.crop_aspect, resample="bicubic"),
        augmentation.RandomHorizontalFlip(recipe.flip),
        augmentation.ColorJitter(*jitter, p=recipe.jitter),
        augmentation.RandomGrayscale(p=recipe.grayscale),
    ]
    if recipe.blur > 0:
        kernel = branch.blur_kernel // 2 * 2 + 1
        ops.append(augmentation.RandomGaussianBlur((kernel, kernel), recipe.blur_sigma, p=recipe.blur))
    chain = torch.nn.Sequential(*ops)
    planes = torch.from_numpy(np.moveaxis(np.asarray(images), -1, 1).copy()).to(device)

    def views() -> object:
        with torch.no_grad():
            return chain(planes.float() / 255)

    return finished(views)


def run(options: Options) -> None:
    """Print a line for each kind of view and library."""
    small, large = SimCLRViews.small(32), SimCLRViews()
    many = options.large or (16 if jax.default_backend() == "cpu" else 256)
    by_batch = dataclasses.replace(small, jitter_order="batch")
    for recipes, count, what in (
        ({"one jitter order a batch": by_batch, "one jitter order an image": small}, options.small, "no blur"),
        ({"one jitter order an image": large}, many, "with blur"),
    ):
        rival_recipe = next(iter(recipes.values()))
        size = rival_recipe.size
        images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8))
        functions: dict[str, Callable[[], object]] = {}
        for name, recipe in recipes.items():
            functions[name] = functools.partial(
                jax.jit(functools.partial(ours, recipe=recipe)), jax.random.key(0), images
            )
        rival = jax.jit(functools.partial(with_dm_pix, recipe=rival_recipe))
        functions["dm-pix"] = functools.partial(rival, jax.random.key(0), images)
        kornia = with_kornia(images, rival_recipe)
        if kornia is not None:
            functions["kornia"] = kornia
        seconds = alternate(functions, rounds=options.rounds)
        for name in recipes:
            for other in functions:
                if other in recipes:
                    continue
                report(
                    f"SimCLR view, {size} px, {what}, {name}",
                    count / seconds[name],
                    "images/s",
                    rival=other,
                    rival_figure=count / seconds[other],
                    batch=count,
                )
    if "kornia" not in functions:
        print("kornia is not installed for this device; only dm-pix is compared.", file=sys.stderr)


if __name__ == "__main__":
    run(tyro.cli(Options, prog="python -m experiments.benchmarks.augmentation"))
