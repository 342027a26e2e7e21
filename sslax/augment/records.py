"""The two records of a branch's views: what its ops are, and what was drawn for one view of one image."""

import dataclasses
from typing import Any, Literal, NamedTuple

from jaxtyping import Array, Bool, Float

from sslax.augment import color, crop, ops
from sslax.augment.jitter import Jitter

Channels = tuple[float, float, float]
Range = tuple[float, float]
JitterOrder = Literal["image", "batch"]
Op = Literal["crop", "cutout", "color", "sobel", "noise", "blur", "rotate"]


@dataclasses.dataclass(frozen=True)
class Branch:
    """One branch's ops in the order they are applied. A probability or a strength of 0 leaves an op out.

    `blur` and `solarize` may be traced, for branches that share a program and differ in them alone.
    """

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
    blur: ops.Scalar
    blur_sigma: Range
    blur_kernel: int
    blur_padding: ops.Padding
    mean: Channels | None
    std: Channels | None
    solarize: ops.Scalar = 0.0
    composed: tuple[Op, ...] | None = None
    """None: all of the above, in the usual order. Else these alone, in this order, after a crop that an image's branches
    of this kind share."""


class View(NamedTuple):
    """What was drawn for one view of one image; None where the op is not in the program."""

    box: Float[Array, "4"]
    flip: Bool[Array, ""] | None
    jitter: Jitter | None
    grayscale: Bool[Array, ""] | None
    sigma: Float[Array, ""] | None
    solarize: Bool[Array, ""] | None
    composed: tuple[Any, ...] = ()
