"""Augmentation: pure functions of (key, image), and the recipes that say what each method shows each branch."""

from sslax.augment.color import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    random_grayscale,
    to_grayscale,
)
from sslax.augment.crop import crop_and_resize, random_resized_crop, sample_crop
from sslax.augment.jitter import Jitter, color_jitter, sample_jitter, sample_order
from sslax.augment.ops import (
    gaussian_blur,
    normalize,
    random_apply,
    random_blur,
    random_flip,
    random_solarize,
    sample_blur,
    solarize,
)
from sslax.augment.views import (
    Branch,
    SimCLRViews,
    View,
    check_views,
    eval_view,
    render_view,
    sample_view,
    simclr_view,
    simclr_views,
    view_keys,
)

__all__ = [
    "Branch",
    "Jitter",
    "SimCLRViews",
    "View",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "check_views",
    "color_jitter",
    "crop_and_resize",
    "eval_view",
    "gaussian_blur",
    "normalize",
    "random_apply",
    "random_blur",
    "random_flip",
    "random_grayscale",
    "random_resized_crop",
    "random_solarize",
    "render_view",
    "sample_blur",
    "sample_crop",
    "sample_jitter",
    "sample_order",
    "sample_view",
    "simclr_view",
    "simclr_views",
    "solarize",
    "to_grayscale",
    "view_keys",
]
