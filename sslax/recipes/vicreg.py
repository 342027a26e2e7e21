"""VICReg's configurations. Each header is a lab note: command, cost, what was seen."""

import dataclasses

from sslax.methods import VICReg
from sslax.recipes.byol import BYOL_DIGITS

# sslax pretrain vicreg-digits
#
# VICReg for a first look, with BYOL's views, network and optimiser for the digits.
VICREG_DIGITS = dataclasses.replace(
    BYOL_DIGITS,
    method=VICReg(
        views=BYOL_DIGITS.method.views,
        projector_hidden=256,
        projector_dim=256,
    ),
)
