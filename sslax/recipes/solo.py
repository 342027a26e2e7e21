"""What the recipes that follow solo-learn have in common.

Source: vturrisi/solo-learn, `scripts/pretrain/cifar/*.yaml` and `scripts/pretrain/imagenet-100/mocov3.yaml`, with the code that
they run, revision 9187ea3. docs/recipes.md compares number by number.
"""

import dataclasses

from sslax.augment import BYOLViews
from sslax.config import NetworkConfig, OptimizerConfig
from sslax.data.known import KNOWN

# `augmentations/asymmetric.yaml` for CIFAR-10: BYOL's without blur.
VIEWS_32 = BYOLViews(
    size=32,
    semantics="torchvision",
    blur=(0.0, 0.0),
    mean=KNOWN["cifar10"].mean,
    std=KNOWN["cifar10"].std,
)

# torchvision's `resnet18()`; for images of 32 pixels its stem is replaced by a 3x3 convolution.
RESNET18 = NetworkConfig(name="resnet18", initial="torchvision", zero_residual=False)


def views_32(views: BYOLViews, name: str) -> BYOLViews:
    """`views` with the channels' statistics of another set of images, by the name that it is known by."""
    return dataclasses.replace(views, mean=KNOWN[name].mean, std=KNOWN[name].std)


def lars(weight_decay: float) -> OptimizerConfig:
    """LARS as all of its recipes have it: 0.3 for 256 images, trust coefficient .02, each rate clipped at the scheduled one."""
    return OptimizerConfig(
        name="lars",
        lr=0.3,
        lr_scaling="linear",
        start_lr=3e-5,
        warmup="dino",
        weight_decay=weight_decay,
        lr_after_momentum=True,
        trust_coefficient=0.02,
        clip_trust=True,
    )
