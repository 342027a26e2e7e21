"""The records of a branch's views: the configuration of its ops, and the sampled parameters of one view of one image."""

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
    """One branch's ops, in the order of their application. A probability or a strength of 0 removes an op.

    `blur` and `solarize` may be traced, for branches that share a program and differ only in these.
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
    """None: all ops above, in the usual order. Otherwise only these ops, in this order, after a crop that all such branches of
    an image share."""


class View(NamedTuple):
    """The sampled parameters of one view of one image; None for an op that is not in the program."""

    box: Float[Array, "4"]
    flip: Bool[Array, ""] | None
    jitter: Jitter | None
    grayscale: Bool[Array, ""] | None
    sigma: Float[Array, ""] | None
    solarize: Bool[Array, ""] | None
    composed: tuple[Any, ...] = ()
