"""Losses as pure functions of arrays: one value an example, nothing reduced, compiled wherever they are called."""

from sslax.losses.contrastive import nt_xent
from sslax.losses.contrastive_byol import byol_contrastive
from sslax.losses.distillation import byol, dino, update_center

__all__ = ["byol", "byol_contrastive", "dino", "nt_xent", "update_center"]
