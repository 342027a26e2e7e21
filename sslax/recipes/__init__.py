"""The named configurations, METHOD-DATASET, a file for each method."""

from sslax.config import Config
from sslax.recipes.byol import (
    BYOL_CIFAR10,
    BYOL_CIFAR100,
    BYOL_DIGITS,
    BYOL_IMAGENET,
    BYOL_IMAGENETTE,
    BYOL_STL10,
)
from sslax.recipes.dino import (
    DINO_CIFAR10,
    DINO_CIFAR100,
    DINO_DIGITS,
    DINO_IMAGENET,
    DINO_IMAGENETTE,
    DINO_STL10,
)
from sslax.recipes.moco_v3 import MOCO_V3_DIGITS
from sslax.recipes.nnclr import NNCLR_DIGITS
from sslax.recipes.simclr import (
    SIMCLR_CIFAR10,
    SIMCLR_CIFAR10_LONG,
    SIMCLR_CIFAR100,
    SIMCLR_DIGITS,
    SIMCLR_IMAGENET,
    SIMCLR_IMAGENETTE,
    SIMCLR_STL10,
)
from sslax.recipes.swav import SWAV_DIGITS

# The first is what the script takes where none is named.
CONFIGS: dict[str, Config] = {
    "simclr-digits": SIMCLR_DIGITS,
    "simclr-cifar10": SIMCLR_CIFAR10,
    "simclr-cifar10-long": SIMCLR_CIFAR10_LONG,
    "simclr-imagenette": SIMCLR_IMAGENETTE,
    "simclr-imagenet": SIMCLR_IMAGENET,
    "simclr-cifar100": SIMCLR_CIFAR100,
    "simclr-stl10": SIMCLR_STL10,
    "byol-digits": BYOL_DIGITS,
    "byol-cifar10": BYOL_CIFAR10,
    "byol-imagenette": BYOL_IMAGENETTE,
    "byol-imagenet": BYOL_IMAGENET,
    "byol-cifar100": BYOL_CIFAR100,
    "byol-stl10": BYOL_STL10,
    "dino-digits": DINO_DIGITS,
    "dino-cifar10": DINO_CIFAR10,
    "dino-imagenette": DINO_IMAGENETTE,
    "dino-imagenet": DINO_IMAGENET,
    "dino-cifar100": DINO_CIFAR100,
    "dino-stl10": DINO_STL10,
    "moco-v3-digits": MOCO_V3_DIGITS,
    "swav-digits": SWAV_DIGITS,
    "nnclr-digits": NNCLR_DIGITS,
}

__all__ = [
    "BYOL_CIFAR10",
    "BYOL_CIFAR100",
    "BYOL_DIGITS",
    "BYOL_IMAGENET",
    "BYOL_IMAGENETTE",
    "BYOL_STL10",
    "CONFIGS",
    "DINO_CIFAR10",
    "DINO_CIFAR100",
    "DINO_DIGITS",
    "DINO_IMAGENET",
    "DINO_IMAGENETTE",
    "DINO_STL10",
    "MOCO_V3_DIGITS",
    "NNCLR_DIGITS",
    "SIMCLR_CIFAR10",
    "SIMCLR_CIFAR10_LONG",
    "SIMCLR_CIFAR100",
    "SIMCLR_DIGITS",
    "SIMCLR_IMAGENET",
    "SIMCLR_IMAGENETTE",
    "SIMCLR_STL10",
    "SWAV_DIGITS",
]
