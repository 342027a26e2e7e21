"""The source of each named configuration, number by number; `python -m experiments.audit` compares them."""

from experiments.sources import (
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
from experiments.sources.rows import Row, Source
from sslax.recipes import CONFIGS

_MODULES = (simclr, byol, dino, simsiam, barlow_twins, vicreg, moco_v3, swav, nnclr, ibot, dinov2, mae, lejepa)
_KNOWN: dict[str, Source] = {name: source for module in _MODULES for name, source in module.SOURCES.items()}
# In the order of the configurations.
SOURCES: dict[str, Source] = {name: _KNOWN[name] for name in CONFIGS}

__all__ = ["SOURCES", "Row", "Source"]
