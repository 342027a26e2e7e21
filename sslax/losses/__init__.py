"""Losses as pure functions of arrays: one value an example, nothing reduced, compiled wherever they are called."""

from sslax.losses.contrastive import nt_xent
from sslax.losses.distillation import byol, dino, update_center
from sslax.losses.pairwise import margin_triplet, nt_logistic

__all__ = ["byol", "dino", "margin_triplet", "nt_logistic", "nt_xent", "update_center"]
