"""Losses as pure functions of arrays: one value an example, nothing reduced, compiled wherever they are called."""

from sslax.losses.assignment import sinkhorn_knopp
from sslax.losses.contrastive import nt_xent
from sslax.losses.contrastive_byol import byol_contrastive
from sslax.losses.distillation import byol, dino, dino_mse, update_center
from sslax.losses.pairwise import margin_triplet, nt_logistic

__all__ = [
    "byol",
    "byol_contrastive",
    "dino",
    "dino_mse",
    "margin_triplet",
    "nt_logistic",
    "nt_xent",
    "sinkhorn_knopp",
    "update_center",
]
