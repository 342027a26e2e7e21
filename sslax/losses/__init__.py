"""Losses as pure functions of arrays, compiled wherever they are called: one value an example, or one of the batch."""

from sslax.losses.assignment import sinkhorn_knopp, swav
from sslax.losses.contrastive import nt_xent
from sslax.losses.contrastive_byol import byol_contrastive
from sslax.losses.contrastive_keys import info_nce
from sslax.losses.dispersion import koleo, sigreg
from sslax.losses.distillation import byol, dino, dino_mse, simsiam, update_center
from sslax.losses.masked import ibot, mae
from sslax.losses.pairwise import margin_triplet, nt_logistic
from sslax.losses.redundancy import (
    BarlowTwinsTerms,
    VICRegTerms,
    barlow_twins,
    barlow_twins_terms,
    vicreg,
    vicreg_terms,
)

__all__ = [
    "BarlowTwinsTerms",
    "VICRegTerms",
    "barlow_twins",
    "barlow_twins_terms",
    "byol",
    "byol_contrastive",
    "dino",
    "dino_mse",
    "ibot",
    "info_nce",
    "koleo",
    "mae",
    "margin_triplet",
    "nt_logistic",
    "nt_xent",
    "sigreg",
    "simsiam",
    "sinkhorn_knopp",
    "swav",
    "update_center",
    "vicreg",
    "vicreg_terms",
]
