"""What each method shows each branch: the recipes, and the views that they make.

A recipe is what a user sets; its `branch()` is one branch's list of ops with their numbers, which is all that
`sample_view` (draws) and `render_view` (applies) know. BYOL's two views are two branches, DINO's crops three.
"""

import dataclasses
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from sslax.augment import color, crop, ops
from sslax.augment.jitter import Jitter, jitter_planes, sample_jitter, sample_order
from sslax.errors import InputError

Channels = tuple[float, float, float]
Range = tuple[float, float]
JitterOrder = Literal["image", "batch"]


@dataclasses.dataclass(frozen=True)
class Branch:
    """One branch's ops in the order they are applied. A probability or a strength of 0 leaves an op out."""

    size: int
    crop_area: Range
    crop_aspect: Range
    crop_sampling: crop.Sampling
    crop_min_covered: float
    interpolation: crop.Interpolation
    flip: float
    jitter: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    semantics: color.Semantics
    grayscale: float
    blur: float
    blur_sigma: Range
    blur_kernel: int
    blur_padding: ops.Padding
    mean: Channels | None
    std: Channels | None
    solarize: float = 0.0


@dataclasses.dataclass(frozen=True)
class SimCLRViews:
    """SimCLR's views (Chen 2020, appendix A), one branch for both. Probabilities are in [0, 1]."""

    size: int = 224
    """Side of a view, pixels."""
    crop_area: Range = (0.08, 1.0)
    """Smallest and largest crop, share of the image's area."""
    crop_aspect: Range = (3 / 4, 4 / 3)
    """Narrowest and widest crop, width / height."""
    crop_sampling: crop.Sampling = "tensorflow"
    """How crops are drawn: as SimCLR's code, or as torchvision."""
    crop_min_covered: float = 0.0
    """Smallest area again, for tensorflow sampling: SimCLR's code has 0.1, its paper 0."""
    interpolation: crop.Interpolation = "bicubic"
    """How crops are resized."""
    flip: float = 0.5
    """Probability of the horizontal flip."""
    jitter: float = 0.8
    """Probability of the colour jitter."""
    strength: float = 1.0
    """Colour strength s: brightness, contrast, saturation 0.8 s, hue 0.2 s."""
    semantics: color.Semantics = "simclr"
    """Whose brightness, contrast and saturation."""
    jitter_order: JitterOrder = "image"
    """Whether each image draws the order of the jitter's ops, or a batch one."""
    grayscale: float = 0.2
    """Probability of grayscale."""
    blur: float = 0.5
    """Probability of the blur; its kernel is a tenth of the size, made odd."""
    blur_sigma: Range = (0.1, 2.0)
    """Smallest and largest sigma, pixels."""
    blur_padding: ops.Padding = "reflect"
    """Beyond the edge: reflected, or zeros as in SimCLR's code."""
    mean: Channels | None = None
    """Subtracted last, a number a channel; None: nothing, as SimCLR's code."""
    std: Channels | None = None
    """Divided by last, a number a channel; None: nothing, as SimCLR's code."""

    @classmethod
    def small(cls, size: int = 32) -> "SimCLRViews":
        """For CIFAR-10 and its like (paper, B.9): strength 0.5 and no blur."""
        return cls(size=size, strength=0.5, blur=0.0)

    def branch(self) -> Branch:
        """The ops of both branches."""
        own = {field.name for field in dataclasses.fields(Branch)}
        same = {name: value for name, value in vars(self).items() if name in own}
        most = 0.8 * self.strength
        return Branch(
            **same,
            brightness=most,
            contrast=most,
            saturation=most,
            hue=0.2 * self.strength,
            blur_kernel=max(1, self.size // 10),
        )


class View(NamedTuple):
    """What was drawn for one view of one image; None where the op is not in the program."""

    box: Float[Array, "4"]
    flip: Bool[Array, ""] | None
    jitter: Jitter | None
    grayscale: Bool[Array, ""] | None
    sigma: Float[Array, ""] | None
    solarize: Bool[Array, ""] | None


def sample_view(
    key: Key[Array, ""],
    height: int,
    width: int,
    branch: Branch,
    *,
    image_aspect: float | Float[Array, ""] | None = None,
    order: Int[Array, "4"] | None = None,
) -> View:
    """Draw one view of a canvas of `height` x `width` whose true width / height is `image_aspect`; a key for each op."""
    keys = jax.random.split(key, 8)
    box = crop.sample_crop(
        keys[0],
        height,
        width,
        area=branch.crop_area,
        aspect=branch.crop_aspect,
        image_aspect=image_aspect,
        sampling=branch.crop_sampling,
        min_covered=branch.crop_min_covered,
    )
    strengths = {name: getattr(branch, name) for name in color.OPS}
    jitter = None
    if branch.jitter > 0 and any(strengths.values()):
        jitter = sample_jitter(keys[1], **strengths, semantics=branch.semantics, probability=branch.jitter, order=order)
    flip, grayscale, solarize = (
        jax.random.bernoulli(key, probability) if probability > 0 else None
        for key, probability in zip(keys[2:5], (branch.flip, branch.grayscale, branch.solarize), strict=True)
    )
    sigma = None
    if branch.blur > 0:
        sigma = ops.sample_blur(keys[5], probability=branch.blur, sigma=branch.blur_sigma)
    return View(box, flip, jitter, grayscale, sigma, solarize)


def render_view(
    image: Float[Array, "h w 3"], view: View, branch: Branch
) -> Float[Array, "{branch.size} {branch.size} 3"]:
    """The view that was drawn."""
    size = branch.size
    planes = crop.crop_planes(image, view.box, size, method=branch.interpolation, flip=view.flip)
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


def simclr_view(
    key: Key[Array, ""],
    image: Float[Array, "h w 3"] | UInt8[Array, "h w 3"],
    recipe: SimCLRViews,
    *,
    image_aspect: float | Float[Array, ""] | None = None,
    order: Int[Array, "4"] | None = None,
) -> Float[Array, "{recipe.size} {recipe.size} 3"]:
    """One view of one image (uint8 is scaled to [0, 1]).

    `image_aspect` is the true width / height of a squashed image; `order` is the jitter's, for a whole batch.
    """
    branch = recipe.branch()
    height, width, _ = image.shape
    view = sample_view(key, height, width, branch, image_aspect=image_aspect, order=order)
    return render_view(_to_float(image), view, branch)


def simclr_views(
    key: Key[Array, ""],
    images: Float[Array, "n h w 3"] | UInt8[Array, "n h w 3"],
    recipe: SimCLRViews,
    *,
    aspects: Float[Array, " n"] | None = None,
) -> tuple[Float[Array, "n {recipe.size} {recipe.size} 3"], Float[Array, "n {recipe.size} {recipe.size} 3"]]:
    """Two views of each image (uint8 is scaled to [0, 1]); `aspects` are the true widths / heights of squashed images."""
    key_images, key_orders = jax.random.split(key)
    orders = jax.random.split(key_orders)

    def views(keys: Key[Array, " n"], key_order: Key[Array, ""]) -> Array:
        order = sample_order(key_order) if recipe.jitter_order == "batch" else None

        def one(key: Key[Array, ""], image: Array, aspect: Array | None) -> Array:
            return simclr_view(key, image, recipe, image_aspect=aspect, order=order)

        return jax.vmap(one, in_axes=(0, 0, None if aspects is None else 0))(keys, images, aspects)

    first, second = view_keys(key_images, len(images))
    return views(first, orders[0]), views(second, orders[1])


def view_keys(key: Key[Array, ""], images: int, *, views: int = 2) -> Key[Array, "{views} {images}"]:
    """A key for each view of each image: a key shared by a batch would give all of its images the same draws."""
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
    """The deterministic view that features are evaluated on: the central square, resized, normalised as the views.

    The square's side is `central` times the true image's shorter side, `aspects` being the true widths / heights (None:
    the images are not squashed). `central=None` is all of an image that is already `size` x `size` (CIFAR's protocol,
    where nothing is resized) and 0.875 of any other: SimCLR's central crop, and DINO's resize to 256, crop to 224.
    Raises ValueError for a `central` outside (0, 1], or as `crop_and_resize` and `normalize` do.
    """
    _, height, width, _ = images.shape
    same = height == width == size
    if central is None:
        central = 1.0 if same else 0.875
    if not 0 < central <= 1:
        raise ValueError(f"central is {central}; it has to be in (0, 1], a share of the shorter side.")

    def one(image: Array, aspect: Array) -> Array:
        image = _to_float(image)
        if not (same and central == 1 and aspects is None):
            sides = jnp.stack([height * jnp.minimum(1.0, aspect), width * jnp.minimum(1.0, 1 / aspect)])
            sides = jnp.maximum(jnp.round(central * sides), 1.0)
            corner = jnp.floor((jnp.array([height, width]) - sides) / 2)
            box = jnp.concatenate([corner, sides])
            image = jnp.clip(crop.crop_and_resize(image, box, size, method=interpolation), 0.0, 1.0)
        return _normalized(image, mean, std)

    return jax.vmap(one)(images, jnp.full(len(images), width / height) if aspects is None else aspects)


def check_views(recipe: Any, canvas: int, *, prefix: str = "method.views") -> None:
    """Raise InputError, naming the field as on the command line, for a recipe that `canvas` x `canvas` images cannot have.

    Any recipe with fields of these names can be checked.
    """
    fields = vars(recipe)

    def check(name: str, right: bool, wanted: str) -> None:
        if name in fields and not right:
            raise InputError(f"{prefix}.{name} is {fields[name]}; it has to be {wanted}.")

    def is_range(name: str, most: float = float("inf")) -> bool:
        low, high = fields.get(name, (1, 1))
        return 0 < low <= high <= most

    check("size", 1 <= recipe.size <= canvas, f"from 1 to {canvas} pixels, the size that the images are kept in")
    check("crop_area", is_range("crop_area", 1.0), "two shares in (0, 1], the smaller first")
    for name in ("crop_aspect", "blur_sigma"):
        check(name, is_range(name), "two positive numbers, the smaller first")
    for name in ("flip", "jitter", "grayscale", "blur", "solarize"):
        check(name, 0 <= fields.get(name, 0) <= 1, "a probability in [0, 1]")
    choices = {"crop_sampling": crop.Sampling, "interpolation": crop.Interpolation, "semantics": color.Semantics}
    choices |= {"jitter_order": JitterOrder, "blur_padding": ops.Padding}
    for name, kind in choices.items():
        check(name, fields.get(name) in get_args(kind), f"one of {', '.join(get_args(kind))}")
    covered = fields.get("crop_min_covered", 0)
    check("crop_min_covered", 0 <= covered <= recipe.crop_area[1], "at least 0, and at most the largest crop_area")
    check(
        "strength", 0 <= fields.get("strength", 0) <= 2.5, "in [0, 2.5], as hues turn by up to 0.2 of it, at most 0.5"
    )
    for name in ("mean", "std"):
        value = fields.get(name)
        check(name, value is None or len(value) == 3, "three numbers, one a channel")
    check("std", not fields.get("std") or min(fields["std"]) > 0, "three positive numbers, one a channel")


def _to_float(images: Array) -> Array:
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images


def _normalized(image: Float[Array, "h w 3"], mean: Channels | None, std: Channels | None) -> Float[Array, "h w 3"]:
    if mean is None and std is None:
        return image
    return ops.normalize(image, mean=mean or (0.0,) * 3, std=std or (1.0,) * 3)
