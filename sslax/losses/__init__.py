"""Losses as pure functions of arrays: one value an example, nothing reduced, compiled wherever they are called."""

from sslax.losses.contrastive import nt_xent as nt_xent

__all__ = ["nt_xent"]
