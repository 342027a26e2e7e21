"""Augmentation: pure functions of (key, image), and the view recipes of each method."""

from sslax.augment.branch import branch_view, branch_views, eval_view, render_view, sample_view, view_keys
from sslax.augment.check import check_views
from sslax.augment.color import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    random_grayscale,
    to_grayscale,
)
from sslax.augment.crop import crop_and_resize, random_resized_crop, sample_crop
from sslax.augment.distortions import cutout, gaussian_noise, random_rotate, sobel
from sslax.augment.jitter import Jitter, color_jitter, sample_jitter, sample_order
from sslax.augment.multicrop import LeJEPAViews
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
from sslax.augment.records import Branch, View
from sslax.augment.single import MAEViews
from sslax.augment.views import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    BYOLViews,
    DINOViews,
    SimCLRViews,
    make_views,
    view_sizes,
)

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "BYOLViews",
    "Branch",
    "DINOViews",
    "Jitter",
    "LeJEPAViews",
    "MAEViews",
    "SimCLRViews",
    "View",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "branch_view",
    "branch_views",
    "check_views",
    "color_jitter",
    "crop_and_resize",
    "cutout",
    "eval_view",
    "gaussian_blur",
    "gaussian_noise",
    "make_views",
    "normalize",
    "random_apply",
    "random_blur",
    "random_flip",
    "random_grayscale",
    "random_resized_crop",
    "random_rotate",
    "random_solarize",
    "render_view",
    "sample_blur",
    "sample_crop",
    "sample_jitter",
    "sample_order",
    "sample_view",
    "sobel",
    "solarize",
    "to_grayscale",
    "view_keys",
    "view_sizes",
]
