"""What each method shows each branch: the recipes, frozen dataclasses with a field for each number.

A recipe's `branches()` are the views that it makes of an image, by name; `make_views` makes them, whatever the recipe.
Sizes are pixels, probabilities in [0, 1], areas shares of the image's area, aspects width / height.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Float, Key, UInt8

from sslax.augment import color, crop, ops
from sslax.augment.branch import branch_views
from sslax.augment.records import Branch, Channels, JitterOrder, Op, Range

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@runtime_checkable
class Recipe(Protocol):
    """What `make_views` needs of a recipe."""

    @property
    def jitter_order(self) -> JitterOrder: ...

    def branches(self) -> Mapping[str, Branch]: ...


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
    one_branch: tuple[Op, ...] = ()
    """Ops of view 1 alone, one or two in this order, after a crop that both views share; view 2 is that crop: the setting
    of the paper's figure 5. Empty is SimCLR."""

    @classmethod
    def small(cls, size: int = 32) -> "SimCLRViews":
        """For CIFAR-10 and its like (paper, B.9): strength 0.5 and no blur."""
        return cls(size=size, strength=0.5, blur=0.0)

    def branch(self) -> Branch:
        """The ops of either view."""
        most = 0.8 * self.strength
        drawn = {"brightness": most, "contrast": most, "saturation": most, "hue": 0.2 * self.strength}
        return Branch(**_shared(self, **drawn, blur_kernel=max(1, self.size // 10)))

    def branches(self) -> dict[str, Branch]:
        """The ops of both views, which are the same but for `one_branch`."""
        if not self.one_branch:
            return {"view 1": self.branch(), "view 2": self.branch()}
        # A blur that is asked for is to be seen on small images too: at least a kernel of three.
        alone = dataclasses.replace(self.branch(), blur_kernel=max(3, self.size // 10))
        return {
            "view 1": dataclasses.replace(alone, composed=self.one_branch),
            "view 2": dataclasses.replace(alone, composed=()),
        }


@dataclasses.dataclass(frozen=True)
class BYOLViews:
    """BYOL's views (Grill 2020, appendix B), two branches that differ in blur and solarisation."""

    size: int = 224
    """Side of a view, pixels."""
    crop_area: Range = (0.08, 1.0)
    """Smallest and largest crop, share of the image's area."""
    crop_aspect: Range = (3 / 4, 4 / 3)
    """Narrowest and widest crop, width / height."""
    crop_sampling: crop.Sampling = "torchvision"
    """How crops are drawn: torchvision's logarithmic aspects, as the paper says, or tensorflow."""
    crop_min_covered: float = 0.0
    """Smallest area again, for tensorflow sampling."""
    interpolation: crop.Interpolation = "bicubic"
    """How crops are resized."""
    flip: float = 0.5
    """Probability of the horizontal flip."""
    jitter: float = 0.8
    """Probability of the colour jitter."""
    brightness: float = 0.4
    """Largest change of the brightness."""
    contrast: float = 0.4
    """Largest change of the contrast."""
    saturation: float = 0.2
    """Largest change of the saturation."""
    hue: float = 0.1
    """Largest change of the hue, turns."""
    semantics: color.Semantics = "tensorflow"
    """Whose brightness, contrast and saturation."""
    jitter_order: JitterOrder = "image"
    """Whether each image draws the order of the jitter's ops, or a batch one."""
    grayscale: float = 0.2
    """Probability of grayscale."""
    blur: Range = (1.0, 0.1)
    """Probability of the blur in view 1 and in view 2; its kernel is a tenth of the size, made odd."""
    blur_sigma: Range = (0.1, 2.0)
    """Smallest and largest sigma, pixels."""
    blur_padding: ops.Padding = "reflect"
    """Beyond the edge: reflected, or zeros as in BYOL's code."""
    solarize: Range = (0.0, 0.2)
    """Probability of the solarisation in view 1 and in view 2."""
    mean: Channels | None = IMAGENET_MEAN
    """Subtracted last, a number a channel; None: nothing."""
    std: Channels | None = IMAGENET_STD
    """Divided by last, a number a channel; None: nothing."""

    @classmethod
    def small(cls, size: int = 32) -> "BYOLViews":
        """For images of 32 pixels: without blur, as SimCLR's for CIFAR-10."""
        return cls(size=size, blur=(0.0, 0.0))

    def branches(self) -> dict[str, Branch]:
        """The ops of both views."""
        kernel = max(1, self.size // 10)
        return {
            f"view {place + 1}": Branch(
                **_shared(self, blur=self.blur[place], solarize=self.solarize[place], blur_kernel=kernel)
            )
            for place in (0, 1)
        }


@dataclasses.dataclass(frozen=True)
class DINOViews:
    """DINO's multi-crop (Caron 2021, section 3.1 and appendix E): two global crops and small local ones.

    Without local crops the paper's global area is (0.14, 1).
    """

    size: int = 224
    """Side of a global crop, pixels."""
    global_area: Range = (0.4, 1.0)
    """Smallest and largest global crop, share of the image's area."""
    local_size: int = 96
    """Side of a local crop, pixels."""
    local_area: Range = (0.05, 0.4)
    """Smallest and largest local crop, share of the image's area."""
    local_crops: int = 8
    """How many local crops; 0 is DINO without multi-crop."""
    crop_aspect: Range = (3 / 4, 4 / 3)
    """Narrowest and widest crop, width / height."""
    interpolation: crop.Interpolation = "bicubic"
    """How crops are resized."""
    flip: float = 0.5
    """Probability of the horizontal flip."""
    jitter: float = 0.8
    """Probability of the colour jitter."""
    brightness: float = 0.4
    """Largest change of the brightness."""
    contrast: float = 0.4
    """Largest change of the contrast."""
    saturation: float = 0.2
    """Largest change of the saturation."""
    hue: float = 0.1
    """Largest change of the hue, turns."""
    semantics: color.Semantics = "torchvision"
    """Whose brightness, contrast and saturation."""
    jitter_order: JitterOrder = "image"
    """Whether each image draws the order of the jitter's ops, or a batch one."""
    grayscale: float = 0.2
    """Probability of grayscale."""
    blur: tuple[float, float, float] = (1.0, 0.1, 0.5)
    """Probability of the blur in global crop 1, in global crop 2 and in local crops."""
    blur_sigma: Range = (0.1, 2.0)
    """Smallest and largest sigma, pixels; the kernel reaches three of the largest."""
    blur_padding: ops.Padding = "reflect"
    """Beyond the edge: reflected, or zeros."""
    solarize: Range = (0.0, 0.2)
    """Probability of the solarisation in global crop 1 and in global crop 2."""
    mean: Channels | None = IMAGENET_MEAN
    """Subtracted last, a number a channel; None: nothing."""
    std: Channels | None = IMAGENET_STD
    """Divided by last, a number a channel; None: nothing."""

    @classmethod
    def small(cls, size: int = 32, *, local_crops: int = 4) -> "DINOViews":
        """For images of 32 pixels: local crops of half the side, and no blur."""
        return cls(size=size, local_size=size // 2, local_crops=local_crops, blur=(0.0, 0.0, 0.0))

    def branches(self) -> dict[str, Branch]:
        """The ops of each crop, the global ones first."""
        kernel = 2 * math.ceil(3 * self.blur_sigma[1]) + 1
        shared = {"blur_kernel": kernel, "crop_sampling": "torchvision", "crop_min_covered": 0.0}
        crops = {
            f"global {place + 1}": Branch(
                **_shared(
                    self,
                    crop_area=self.global_area,
                    blur=self.blur[place],
                    solarize=self.solarize[place],
                    **shared,
                )
            )
            for place in (0, 1)
        }
        local = {"size": self.local_size, "crop_area": self.local_area, "blur": self.blur[2], "solarize": 0.0}
        for place in range(self.local_crops):
            crops[f"local {place + 1}"] = Branch(**_shared(self, **local, **shared))
        return crops


def _shared(recipe: Any, **own: Any) -> dict[str, Any]:
    """A branch's fields: those of the recipe of the same name, and the branch's own."""
    names = {field.name for field in dataclasses.fields(Branch)}
    return {name: value for name, value in vars(recipe).items() if name in names} | own


def make_views(
    key: Key[Array, ""],
    images: Float[Array, "n h w 3"] | UInt8[Array, "n h w 3"],
    recipe: Recipe,
    *,
    aspects: Float[Array, " n"] | None = None,
) -> tuple[Float[Array, "n _ _ 3"], ...]:
    """All views of each image, in the order of the recipe's branches.

    Args:
      key: each view of each image draws from a key of its own.
      images: uint8 is scaled to [0, 1].
      recipe: any with `branches()` and `jitter_order`.
      aspects: true widths / heights of squashed images; None: not squashed.

    Returns:
      For each branch, views [n, size, size, 3] of the branch's size.

    Raises:
      ValueError: as `branch_views`.
      TypeError: as `branch_views`, and on what is no recipe.
    """
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe is {recipe!r}; it must have branches() and jitter_order, as SimCLRViews has.")
    branches = tuple(recipe.branches().values())
    return branch_views(key, images, branches, jitter_order=recipe.jitter_order, aspects=aspects)


def view_sizes(recipe: Recipe) -> tuple[int, ...]:
    """The sides of the recipe's views, pixels, each once, the largest first."""
    return tuple(sorted({branch.size for branch in recipe.branches().values()}, reverse=True))
