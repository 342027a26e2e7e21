"""Losses as pure functions of arrays: one value an example, nothing reduced, compiled wherever they are called."""

from sslax.losses.contrastive import nt_xent
from sslax.losses.distillation import byol, dino, update_center

__all__ = ["byol", "dino", "nt_xent", "update_center"]
