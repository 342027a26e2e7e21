"""The methods, one file each, and the table that the scripts look them up in."""

from collections.abc import Callable
from typing import Any

from sslax.methods.base import (
    Batch,
    Method,
    Output,
    Setup,
    attention_with,
    embed_with,
    on_backbone,
    project_with,
    spread,
)
from sslax.methods.byol import BYOL, byol
from sslax.methods.dino import DINO, dino
from sslax.methods.moco_v3 import MoCoV3, moco_v3
from sslax.methods.nnclr import NNCLR, nnclr
from sslax.methods.simclr import SimCLR, simclr
from sslax.methods.swav import SwAV, swav

__all__ = [
    "BYOL",
    "DINO",
    "METHODS",
    "NNCLR",
    "Batch",
    "Method",
    "MoCoV3",
    "Output",
    "Setup",
    "SimCLR",
    "SwAV",
    "attention_with",
    "byol",
    "dino",
    "embed_with",
    "moco_v3",
    "nnclr",
    "on_backbone",
    "project_with",
    "simclr",
    "spread",
    "swav",
]

METHODS: dict[str, Callable[[Any, Setup], Method]] = {
    SimCLR.NAME: simclr,
    BYOL.NAME: byol,
    DINO.NAME: dino,
    MoCoV3.NAME: moco_v3,
    SwAV.NAME: swav,
    NNCLR.NAME: nnclr,
}
