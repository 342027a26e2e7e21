"""Barlow Twins' configurations. Each header is a lab note: command, cost, what was seen."""

import dataclasses

from sslax.methods import BarlowTwins
from sslax.recipes.byol import BYOL_DIGITS

# sslax pretrain barlow-twins-digits
#
# Barlow Twins for a first look, with BYOL's views, network and optimiser for the digits.
BARLOW_TWINS_DIGITS = dataclasses.replace(
    BYOL_DIGITS,
    method=BarlowTwins(
        views=BYOL_DIGITS.method.views,
        projector_hidden=256,
        projector_dim=256,
        off_diagonal=0.02,
    ),
)
