"""What the recipes that follow lightly's benchmarks have in common.

Source: lightly-ai/lightly, `docs/source/getting_started/benchmarks/cifar10_benchmark.py` and `imagenette_benchmark.py`, each at
the revision that its table was measured with, 42a6a92 and 3ea0736. docs/recipes.md compares number by number.
"""

import dataclasses

from sslax.augment import IMAGENET_MEAN, IMAGENET_STD, BYOLViews, SimCLRViews
from sslax.config import NetworkConfig, OptimizerConfig

# The transform that both benchmarks give to SimCLR and, at that time, to BYOL: half of SimCLR's colour strength, torchvision's
# ops.
VIEWS_32 = SimCLRViews(
    size=32,
    strength=0.5,
    blur=0.0,
    semantics="torchvision",
    crop_sampling="torchvision",
    interpolation="bilinear",
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
)

# The same transform for methods whose options take BYOL's views: without solarisation both branches are alike.
BYOL_VIEWS_32 = BYOLViews(
    size=32,
    saturation=0.4,
    semantics="torchvision",
    interpolation="bilinear",
    blur=(0.0, 0.0),
    solarize=(0.0, 0.0),
)
BYOL_VIEWS_128 = dataclasses.replace(BYOL_VIEWS_32, size=128, blur=(0.5, 0.5))

# `ResNetGenerator("resnet-18")`: torch's defaults. The benchmark takes its children one by one, so the stem's ReLU, which is
# none of them, is lost.
RESNET18_32 = NetworkConfig(name="resnet18", initial="torch", zero_residual=False, stem_relu=False)
# torchvision's `resnet18()`.
RESNET18_128 = NetworkConfig(name="resnet18", initial="torchvision", zero_residual=False)


def sgd(lr: float) -> OptimizerConfig:
    """The benchmarks' optimiser at `lr` for 256 images: decay on everything, no warmup, a cosine stepped once an epoch."""
    return OptimizerConfig(
        name="sgd",
        lr=lr,
        lr_scaling="linear",
        warmup_epochs=0.0,
        schedule="epoch",
        weight_decay=5e-4,
        decay_all=True,
    )
