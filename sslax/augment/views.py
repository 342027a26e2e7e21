"""The view recipes of the methods: frozen dataclasses with a field for each number.

A recipe's `branches()` are the views of an image, by name; `make_views` makes them for any recipe.
Sizes are in pixels, probabilities in [0, 1], areas are shares of the image's area, aspects are width / height.
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
    """The interface of a recipe for `make_views`."""

    @property
    def jitter_order(self) -> JitterOrder: ...

    def branches(self) -> Mapping[str, Branch]: ...


@dataclasses.dataclass(frozen=True)
class SimCLRViews:
    """SimCLR's views (Chen 2020, appendix A); both views use the same ops. Probabilities are in [0, 1]."""

    size: int = 224
    """Side of a view in pixels."""
    crop_area: Range = (0.08, 1.0)
    """Smallest and largest crop, as a share of the image's area."""
    crop_aspect: Range = (3 / 4, 4 / 3)
    """Narrowest and widest crop, as width / height."""
    crop_sampling: crop.Sampling = "tensorflow"
    """Crop sampling: tensorflow, as in SimCLR's code, or torchvision."""
    crop_min_covered: float = 0.0
    """Minimum crop area for tensorflow sampling, in addition to crop_area: 0.1 in SimCLR's code, 0 in its paper."""
    interpolation: crop.Interpolation = "bicubic"
    """Interpolation for resizing crops."""
    flip: float = 0.5
    """Probability of the horizontal flip."""
    jitter: float = 0.8
    """Probability of the colour jitter."""
    strength: float = 1.0
    """Colour strength s: brightness, contrast, saturation 0.8 s, hue 0.2 s."""
    semantics: color.Semantics = "simclr"
    """Definition of the brightness, contrast and saturation ops: torchvision's, SimCLR's or TensorFlow's."""
    jitter_order: JitterOrder = "image"
    """Order of the jitter's ops: drawn for each image, or once per batch."""
    grayscale: float = 0.2
    """Probability of grayscale."""
    blur: float = 0.5
    """Probability of the blur; its kernel is a tenth of the size, rounded up to an odd number."""
    blur_sigma: Range = (0.1, 2.0)
    """Smallest and largest sigma in pixels."""
    blur_padding: ops.Padding = "reflect"
    """Padding of the blur: reflect, or zeros as in SimCLR's code."""
    mean: Channels | None = None
    """Mean per channel, subtracted after all ops; None subtracts nothing, as in SimCLR's code."""
    std: Channels | None = None
    """Standard deviation per channel, divided by after all ops; None divides by nothing, as in SimCLR's code."""
    one_branch: tuple[Op, ...] = ()
    """One or two ops, in this order, for view 1 only, after a crop that both views share; view 2 is that crop. This is the
    setting of the paper's figure 5. Empty is standard SimCLR."""

    @classmethod
    def small(cls, size: int = 32) -> "SimCLRViews":
        """For CIFAR-10 and similar sets (paper, B.9): strength 0.5 and no blur."""
        return cls(size=size, strength=0.5, blur=0.0)

    def branch(self) -> Branch:
        """The ops of each view."""
        most = 0.8 * self.strength
        drawn = {"brightness": most, "contrast": most, "saturation": most, "hue": 0.2 * self.strength}
        return Branch(**_shared(self, **drawn, blur_kernel=max(1, self.size // 10)))

    def branches(self) -> dict[str, Branch]:
        """The ops of both views; they are equal unless `one_branch` is set."""
        if not self.one_branch:
            return {"view 1": self.branch(), "view 2": self.branch()}
        # A requested blur must have an effect on small images too, so the kernel has at least three pixels.
        alone = dataclasses.replace(self.branch(), blur_kernel=max(3, self.size // 10))
        return {
            "view 1": dataclasses.replace(alone, composed=self.one_branch),
            "view 2": dataclasses.replace(alone, composed=()),
        }


@dataclasses.dataclass(frozen=True)
class BYOLViews:
    """BYOL's views (Grill 2020, appendix B), two branches that differ in blur and solarisation."""

    size: int = 224
    """Side of a view in pixels."""
    crop_area: Range = (0.08, 1.0)
    """Smallest and largest crop, as a share of the image's area."""
    crop_aspect: Range = (3 / 4, 4 / 3)
    """Narrowest and widest crop, as width / height."""
    crop_sampling: crop.Sampling = "torchvision"
    """Crop sampling: torchvision, with log-uniform aspects as in the paper, or tensorflow."""
    crop_min_covered: float = 0.0
    """Minimum crop area for tensorflow sampling, in addition to crop_area."""
    interpolation: crop.Interpolation = "bicubic"
    """Interpolation for resizing crops."""
    flip: float = 0.5
    """Probability of the horizontal flip."""
    jitter: float = 0.8
    """Probability of the colour jitter."""
    brightness: float = 0.4
    """Maximum change of the brightness."""
    contrast: float = 0.4
    """Maximum change of the contrast."""
    saturation: float = 0.2
    """Maximum change of the saturation."""
    hue: float = 0.1
    """Maximum change of the hue, in turns."""
    semantics: color.Semantics = "tensorflow"
    """Definition of the brightness, contrast and saturation ops: torchvision's, SimCLR's or TensorFlow's."""
    jitter_order: JitterOrder = "image"
    """Order of the jitter's ops: drawn for each image, or once per batch."""
    grayscale: float = 0.2
    """Probability of grayscale."""
    blur: Range = (1.0, 0.1)
    """Probability of the blur in view 1 and in view 2; its kernel is a tenth of the size, rounded up to an odd number."""
    blur_sigma: Range = (0.1, 2.0)
    """Smallest and largest sigma in pixels."""
    blur_padding: ops.Padding = "reflect"
    """Padding of the blur: reflect, or zeros as in BYOL's code."""
    solarize: Range = (0.0, 0.2)
    """Probability of the solarisation in view 1 and in view 2."""
    mean: Channels | None = IMAGENET_MEAN
    """Mean per channel, subtracted after all ops; None subtracts nothing."""
    std: Channels | None = IMAGENET_STD
    """Standard deviation per channel, divided by after all ops; None divides by nothing."""

    @classmethod
    def small(cls, size: int = 32) -> "BYOLViews":
        """For images of 32 pixels: without blur, as SimCLR does for CIFAR-10."""
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
    """Side of a global crop in pixels."""
    global_area: Range = (0.4, 1.0)
    """Smallest and largest global crop, as a share of the image's area."""
    local_size: int = 96
    """Side of a local crop in pixels."""
    local_area: Range = (0.05, 0.4)
    """Smallest and largest local crop, as a share of the image's area."""
    local_crops: int = 8
    """Number of local crops; 0 is DINO without multi-crop."""
    crop_aspect: Range = (3 / 4, 4 / 3)
    """Narrowest and widest crop, as width / height."""
    interpolation: crop.Interpolation = "bicubic"
    """Interpolation for resizing crops."""
    flip: float = 0.5
    """Probability of the horizontal flip."""
    jitter: float = 0.8
    """Probability of the colour jitter."""
    brightness: float = 0.4
    """Maximum change of the brightness."""
    contrast: float = 0.4
    """Maximum change of the contrast."""
    saturation: float = 0.2
    """Maximum change of the saturation."""
    hue: float = 0.1
    """Maximum change of the hue, in turns."""
    semantics: color.Semantics = "torchvision"
    """Definition of the brightness, contrast and saturation ops: torchvision's, SimCLR's or TensorFlow's."""
    jitter_order: JitterOrder = "image"
    """Order of the jitter's ops: drawn for each image, or once per batch."""
    grayscale: float = 0.2
    """Probability of grayscale."""
    blur: tuple[float, float, float] = (1.0, 0.1, 0.5)
    """Probability of the blur in global crop 1, in global crop 2 and in local crops."""
    blur_sigma: Range = (0.1, 2.0)
    """Smallest and largest sigma in pixels; the kernel's radius is three times the largest."""
    blur_padding: ops.Padding = "reflect"
    """Padding of the blur: reflect, or zeros."""
    solarize: Range = (0.0, 0.2)
    """Probability of the solarisation in global crop 1 and in global crop 2."""
    mean: Channels | None = IMAGENET_MEAN
    """Mean per channel, subtracted after all ops; None subtracts nothing."""
    std: Channels | None = IMAGENET_STD
    """Standard deviation per channel, divided by after all ops; None divides by nothing."""

    @classmethod
    def small(cls, size: int = 32, *, local_crops: int = 4) -> "DINOViews":
        """For images of 32 pixels: local crops with half the side, and no blur."""
        return cls(size=size, local_size=size // 2, local_crops=local_crops, blur=(0.0, 0.0, 0.0))

    @classmethod
    def swav(cls) -> "DINOViews":
        """SwAV's crops for ImageNet (`src/multicropdataset.py` of its release): SimCLR's colours in torchvision's way."""
        return cls(
            global_area=(0.14, 1.0),
            local_area=(0.05, 0.14),
            local_crops=6,
            interpolation="bilinear",
            brightness=0.8,
            contrast=0.8,
            saturation=0.8,
            hue=0.2,
            blur=(0.5, 0.5, 0.5),
            solarize=(0.0, 0.0),
            std=(0.228, 0.224, 0.225),
        )

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
    """A branch's fields: the recipe's fields of the same names, and the given ones."""
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
      key: PRNG key; each view of each image uses its own key, derived from it.
      images: uint8 is scaled to [0, 1].
      recipe: any object with `branches()` and `jitter_order`.
      aspects: original widths / heights of squashed images; None for images that are not squashed.

    Returns:
      One array of views [n, size, size, 3] per branch, with the branch's size.

    Raises:
      ValueError: as `branch_views`.
      TypeError: as `branch_views`, and on an object that is not a recipe.
    """
    if not isinstance(recipe, Recipe):
        raise TypeError(f"recipe is {recipe!r}; it must have branches() and jitter_order, as SimCLRViews has.")
    branches = tuple(recipe.branches().values())
    return branch_views(key, images, branches, jitter_order=recipe.jitter_order, aspects=aspects)


def view_sizes(recipe: Recipe) -> tuple[int, ...]:
    """The distinct sides of the recipe's views in pixels, the largest first."""
    return tuple(sorted({branch.size for branch in recipe.branches().values()}, reverse=True))
