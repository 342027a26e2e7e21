"""The view recipe of methods that give all crops of an image the same ops."""

import dataclasses

from sslax.augment import color, crop, ops
from sslax.augment.records import Branch, Channels, JitterOrder, Range
from sslax.augment.views import IMAGENET_MEAN, IMAGENET_STD


@dataclasses.dataclass(frozen=True)
class LeJEPAViews:
    """LeJEPA's multi-crop (README.md of its release): global and local crops, which differ in size and area alone."""

    size: int = 224
    """Side of a global crop in pixels."""
    global_area: Range = (0.3, 1.0)
    """Smallest and largest global crop, as a share of the image's area."""
    global_crops: int = 2
    """Number of global crops, at least 1."""
    local_size: int = 96
    """Side of a local crop in pixels; 98 in the release, whose patches have 14."""
    local_area: Range = (0.05, 0.3)
    """Smallest and largest local crop, as a share of the image's area."""
    local_crops: int = 6
    """Number of local crops; 0 is none."""
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
    blur: float = 0.5
    """Probability of the blur."""
    blur_kernel: int = 13
    """Width of the blur's kernel in pixels, an odd number."""
    blur_sigma: Range = (0.1, 2.0)
    """Smallest and largest sigma in pixels."""
    blur_padding: ops.Padding = "reflect"
    """Padding of the blur: reflect, or zeros."""
    solarize: float = 0.2
    """Probability of the solarisation."""
    mean: Channels | None = IMAGENET_MEAN
    """Mean per channel, subtracted after all ops; None subtracts nothing."""
    std: Channels | None = IMAGENET_STD
    """Standard deviation per channel, divided by after all ops; None divides by nothing."""

    def branches(self) -> dict[str, Branch]:
        """The ops of each crop, the global ones first."""
        names = {field.name for field in dataclasses.fields(Branch)}
        shared = {name: value for name, value in vars(self).items() if name in names}
        shared |= {"crop_sampling": "torchvision", "crop_min_covered": 0.0}
        large = Branch(**shared, crop_area=self.global_area)
        small = Branch(**shared | {"size": self.local_size}, crop_area=self.local_area)
        return {f"global {place + 1}": large for place in range(self.global_crops)} | {
            f"local {place + 1}": small for place in range(self.local_crops)
        }
