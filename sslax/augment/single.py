"""The view recipe of methods that see one view of an image."""

import dataclasses
from typing import Any

from sslax.augment import crop
from sslax.augment.records import Branch, Channels, JitterOrder, Range
from sslax.augment.views import IMAGENET_MEAN, IMAGENET_STD


@dataclasses.dataclass(frozen=True)
class MAEViews:
    """MAE's view (He 2022, section 4, "simple augmentation" of the released `main_pretrain.py`): a crop and a flip."""

    size: int = 224
    """Side of the view in pixels."""
    crop_area: Range = (0.2, 1.0)
    """Smallest and largest crop, as a share of the image's area."""
    crop_aspect: Range = (3 / 4, 4 / 3)
    """Narrowest and widest crop, as width / height."""
    interpolation: crop.Interpolation = "bicubic"
    """Interpolation for resizing crops."""
    flip: float = 0.5
    """Probability of the horizontal flip."""
    mean: Channels | None = IMAGENET_MEAN
    """Mean per channel, subtracted after all ops; None subtracts nothing."""
    std: Channels | None = IMAGENET_STD
    """Standard deviation per channel, divided by after all ops; None divides by nothing."""

    @property
    def jitter_order(self) -> JitterOrder:
        """There is no jitter."""
        return "image"

    def branches(self) -> dict[str, Branch]:
        """The ops of the view."""
        ops: dict[str, Any] = {
            "jitter": 0.0,
            "brightness": 0.0,
            "contrast": 0.0,
            "saturation": 0.0,
            "hue": 0.0,
            "grayscale": 0.0,
        }
        ops |= {"semantics": "torchvision", "crop_sampling": "torchvision", "crop_min_covered": 0.0}
        ops |= {"blur": 0.0, "blur_sigma": (0.1, 2.0), "blur_kernel": 1, "blur_padding": "reflect"}
        return {"view": Branch(**vars(self), **ops)}
