"""The methods, one file each, and the table that the scripts look them up in."""

from collections.abc import Callable
from typing import Any

from sslax.methods.barlow_twins import BarlowTwins, barlow_twins
from sslax.methods.base import (
    Batch,
    Method,
    Output,
    Setup,
    attention_with,
    embed_with,
    on_backbone,
    patches_with,
    project_with,
    spread,
)
from sslax.methods.byol import BYOL, byol
from sslax.methods.dino import DINO, dino
from sslax.methods.dinov2 import DINOv2, dinov2
from sslax.methods.ibot import IBOT, ibot
from sslax.methods.lejepa import LeJEPA, lejepa
from sslax.methods.mae import MAE, mae
from sslax.methods.moco_v3 import MoCoV3, moco_v3
from sslax.methods.nnclr import NNCLR, nnclr
from sslax.methods.simclr import SimCLR, simclr
from sslax.methods.simsiam import SimSiam, simsiam
from sslax.methods.swav import SwAV, swav
from sslax.methods.vicreg import VICReg, vicreg

__all__ = [
    "BYOL",
    "DINO",
    "IBOT",
    "MAE",
    "METHODS",
    "NNCLR",
    "BarlowTwins",
    "Batch",
    "DINOv2",
    "LeJEPA",
    "Method",
    "MoCoV3",
    "Output",
    "Setup",
    "SimCLR",
    "SimSiam",
    "SwAV",
    "VICReg",
    "attention_with",
    "barlow_twins",
    "byol",
    "dino",
    "dinov2",
    "embed_with",
    "ibot",
    "lejepa",
    "mae",
    "moco_v3",
    "nnclr",
    "on_backbone",
    "patches_with",
    "project_with",
    "simclr",
    "simsiam",
    "spread",
    "swav",
    "vicreg",
]

METHODS: dict[str, Callable[[Any, Setup], Method]] = {
    SimCLR.NAME: simclr,
    BYOL.NAME: byol,
    DINO.NAME: dino,
    SimSiam.NAME: simsiam,
    BarlowTwins.NAME: barlow_twins,
    VICReg.NAME: vicreg,
    MoCoV3.NAME: moco_v3,
    SwAV.NAME: swav,
    NNCLR.NAME: nnclr,
    IBOT.NAME: ibot,
    DINOv2.NAME: dinov2,
    MAE.NAME: mae,
    LeJEPA.NAME: lejepa,
}
