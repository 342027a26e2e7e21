"""The named configurations, METHOD-DATASET, a file for each method."""

from sslax.config import Config
from sslax.recipes import (
    barlow_twins,
    byol,
    dino,
    dinov2,
    ibot,
    lejepa,
    mae,
    moco_v3,
    nnclr,
    simclr,
    simsiam,
    swav,
    vicreg,
)
from sslax.recipes.byol import BYOL_DIGITS
from sslax.recipes.simclr import SIMCLR_DIGITS

_MODULES = (simclr, byol, dino, simsiam, barlow_twins, vicreg, moco_v3, swav, nnclr, ibot, dinov2, mae, lejepa)

# The first is what the script takes where none is named.
CONFIGS: dict[str, Config] = {name: config for module in _MODULES for name, config in module.CONFIGS.items()}

__all__ = ["BYOL_DIGITS", "CONFIGS", "SIMCLR_DIGITS"]
